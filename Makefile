# Everything here sets up what it needs by itself: a virtual environment in .venv, Kafka's jars and a Java in the cache.
# It takes make and Python 3.11 or later; another interpreter is named with PYTHON=python3.12.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
ROWS ?=
SECONDS ?= 60
# How many processes run tests side by side, each with brokers of its own (up to 5 GB): auto is one more than there are
# cores, four at most and no more than the memory bears (tests/support/workers.py); 0 runs them in this process, as --pdb
# and -s want it.
TEST_WORKERS ?= auto
# Where this is set, each of the many commands that tests start would compile all of kafkeep anew.
export PYTHONDONTWRITEBYTECODE :=
PARALLEL := -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help setup kafka stores demo test test-stores check fuzz bench bench-idle bench-model bench-recovery bench-metadata bench-state bench-stores bench-workers bench-startup exactness faults kills soak clean
.DEFAULT_GOAL := help
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## the environment alone; .venv/bin/kafkeep works afterwards

$(READY): requirements.lock pyproject.toml tools/setup_environment.py tools/build_native.py $(wildcard src/kafkeep/native/*.[ch])
	@command -v $(PYTHON) >/dev/null || { echo "setup: there is no $(PYTHON); kafkeep needs Python 3.11 or later" >&2; exit 1; }
	$(PYTHON) tools/setup_environment.py $(VENV)
	@touch $@

kafka: $(READY) ## Kafka's jars and a Java, fetched once into the cache
	@$(BIN)/kafkeep lab fetch >/dev/null

stores: $(READY) ## an S3 service for tests (versitygw), built once into the cache
	@$(BIN)/python -m tests.support.versitygw >/dev/null

demo: kafka ## back up a real cluster, lose its topics, restore them elsewhere, prove that nothing changed
	$(BIN)/python -m demo.run $(ARGS)

test: kafka stores ## every test, real brokers included; ARGS="-k word" narrows it, TEST_WORKERS=0 uses one process
	$(BIN)/pytest -m "not soak" --ignore tests/stores $(PARALLEL) $(ARGS)

test-stores: kafka ## the same contract in Azurite, fake-gcs-server and MinIO, brought first (needs npm); fails without one
	@timeout 1800 $(BIN)/python -m tests.support.object_servers
	timeout 900 $(BIN)/pytest tests/stores $(ARGS)

check: $(READY) ## lint, format, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(READY) ## changed inputs for every parser for 60 seconds; SECONDS=600 for longer, ARGS="--seed 1" to repeat
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

bench: kafka ## figures beside cp, raw produce and other programs; ARGS="--quick", BENCH_OSO=/path/to/kafka-backup
	$(BIN)/python -m bench $(ARGS)

bench-idle: kafka ## what a following backup of 10 000 partitions costs per round; ARGS="--quick" for a tenth of it
	$(BIN)/python -m bench.idle $(ARGS)

bench-model: $(READY) ## a cluster of 1 PB on paper; ARGS="--brokers 50 --partitions 100000" for another one
	@$(BIN)/python -m bench.model $(ARGS)

bench-recovery: kafka ## how long until an empty cluster is what the lost one was; ARGS="--quick" for a tenth of it
	$(BIN)/python -m bench.recovery_times $(ARGS)

bench-metadata: kafka ## figures of `kafkeep metadata` on a cluster of 10 000 partitions; ARGS="--quick" for a small one
	$(BIN)/python -m bench.metadata_scale $(ARGS)

bench-state: $(READY) ## opening a repository of 10 000 partitions and 10 million runs, hours of one core; ARGS="--quick"
	$(BIN)/python -m bench.state_scale $(ARGS)

bench-workers: $(READY) ## what a second thread, process or Dask worker brings with one large partition; ARGS="--mib 128 --rounds 1"
	@$(BIN)/python -m bench.workers $(ARGS)

bench-startup: kafka ## processor time of commands that have next to nothing to do; ARGS="--markdown --rounds 20"
	@$(BIN)/python -m bench.startup $(ARGS)

bench-stores: kafka ## what a bucket of MinIO takes and gives, with and without encryption, beside rclone; ARGS="--quick"
	$(BIN)/python -m bench.store_rates $(ARGS)

exactness: kafka ## what an independent consumer finds after restores: docs/exactness.md anew
	$(BIN)/pytest tests/proof $(PARALLEL) --write-exactness docs/exactness.md $(ARGS)

faults: kafka stores ## docs/faults.md anew, with full counts; ROWS="C1 I1" for a part of it
	$(BIN)/pytest -m "fault and not soak" $(PARALLEL) --timeout=1800 --fault-counts=full --fault-rows="$(ROWS)" --write-faults=docs/faults.md $(ARGS)

kills: kafka ## commands killed at random moments: 200 at a folder, 200 at MinIO (brought first), half an hour
	@timeout 1800 $(BIN)/python -m tests.support.object_servers minio >/dev/null
	KILLS=200 KILLS_SECONDS=1800 $(BIN)/pytest tests/faults/test_random_kills.py tests/stores/test_kills_elsewhere.py -k "folder or elsewhere" -s $(ARGS)

soak: kafka ## long and bounded tests; SOAK_SECONDS=60 makes the ten minutes shorter
	$(BIN)/pytest -m soak -s --timeout=0 $(ARGS)
	$(BIN)/pytest tests/property -q $(PARALLEL) --hypothesis-profile soak --show-capture=no --timeout=0 $(ARGS)

clean: ## remove the environment and caches of tools; Kafka's jars stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests demo bench tools -name __pycache__ -type d -prune -exec rm -rf {} +
