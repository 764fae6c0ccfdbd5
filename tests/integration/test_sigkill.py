"""C6, C11: the real command ends at any moment, by a signal or for lack of memory, beside a working cluster.

Whatever happens to it, at the end every acknowledged record is in the archive once and in order, and no aborted one.
"""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.kafka import KafkaCluster, create_topic, produce, unique
from tests.support.oracle import assert_whole
from tests.support.oracle_load import Load, samples
from tests.support.proof_command import prove
from tests.support.sweep import now, open_repository
from tests.support.sweep_command import Kafkeep

from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore

pytestmark = pytest.mark.integration

LONGEST_END_SECONDS = 30.0


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    return Kafkeep(tmp_path / "home", inside=True)


@pytest.fixture(scope="module")
def large(kafka_431: KafkaCluster) -> str:
    """40 MB to be read in small steps."""
    topic = unique("large")
    create_topic(kafka_431.client_properties, topic, partitions=4)
    produce(
        kafka_431.client_properties,
        topic,
        samples(40_000, partitions=4, size=1000),
        codec="none",
        batch_num_messages=50,
    )
    return topic


SIGNALS = 4
HELD_BACK = ("--limit-upload", "4MiB")
"""Of 40 MB: seconds after its first packs, whoever sends it a signal meets it at work."""


def slow_backup(repository: Path, kafka: KafkaCluster, topic: str) -> list[str]:
    """Many small answers and packs."""
    steps = ["--connections", "1", "--fetch-size", "64KiB", "--pack-size", "1MiB"]
    return ["backup", "--repo", str(repository), "--cluster", kafka.bootstrap, "--topics", topic, *steps]


@pytest.mark.fault("C6")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_c6_signal_ends_a_backup_with_a_clean_commit(
    kafkeep: Kafkeep, kafka_431: KafkaCluster, large: str, number: signal.Signals, tmp_path: Path, fault: Figures
) -> None:
    """What was read is committed, the next run goes on behind it, and at last all is there once."""
    repository = tmp_path / "repository"
    kafkeep("init", "--repo", str(repository), "--compression", "none").expect(0)
    dice = random.Random(number)
    covered = 0
    for _ in range(SIGNALS):
        with kafkeep.started(*slow_backup(repository, kafka_431, large), *HELD_BACK) as running:
            running.until("pack-stored", dice.randint(1, 3))
            began = time.monotonic()
            running.process.send_signal(number)
            last = running.end()
            assert time.monotonic() - began < LONGEST_END_SECONDS
        assert last["exit_code"] == 128 + number
        assert last["interrupted"] is True and last["point"] is None
        state = open_repository(LocalStore(repository)).state
        before, covered = covered, sum(known.next_offset for known in state.generations.values())
        assert covered > before, "what was durable when the signal came is committed"
        assert list((repository / "tmp").iterdir()) == []
    fault.figures(signals=SIGNALS)
    kafkeep(*slow_backup(repository, kafka_431, large)).expect(0, 4)
    prove(kafkeep, kafka_431, repository, {large: 4})


@pytest.mark.fault("C6")
@pytest.mark.timeout(1800)
def test_c6_signal_is_the_regular_end_of_a_following_backup(
    kafkeep: Kafkeep, kafka_431: KafkaCluster, tmp_path: Path, fault: Figures
) -> None:
    """Status 0, as docs/cli.md says: nothing went wrong. Asked at random moments under load, at once or while it waits."""
    plain, transactional = {unique("term.plain"): 2}, {unique("term.tx"): 1}
    for topic, partitions in (plain | transactional).items():
        create_topic(kafka_431.client_properties, topic, partitions=partitions)
    repository = tmp_path / "repository"
    kafkeep("init", "--repo", str(repository)).expect(0)
    given = [
        "backup",
        "--repo",
        str(repository),
        "--cluster",
        kafka_431.bootstrap,
        "--topics",
        ",".join(plain | transactional),
    ]
    dice = random.Random()
    longest = 0.0
    signals = fault.count(quick=6, full=90)
    with Load(kafka_431.bootstrap, plain=plain, transactional=transactional, records_per_second=2000) as load:
        for number in range(signals):
            with kafkeep.started(*given, "--follow", "--interval", "10ms" if number % 2 else "1h") as running:
                running.until("committed")
                time.sleep(dice.uniform(0, 0.5))
                began = time.monotonic()
                running.process.send_signal(signal.SIGTERM)
                last = running.end()
                longest = max(longest, time.monotonic() - began)
            assert last["exit_code"] == 0, last
            assert last["type"] == "summary" and last["rounds"] >= 1
            assert list((repository / "tmp").iterdir()) == []
    print(f"longest wait for the end {longest:.2f} s")
    assert longest < LONGEST_END_SECONDS
    fault.figures(signals=signals)
    kafkeep(*given).expect(0)
    found = prove(kafkeep, kafka_431, repository, plain | transactional)
    assert {partition: values for partition, values in found.items() if values} == load.ledger.committed()


@pytest.mark.fault("C6", signals=2)
def test_c6_second_signal_ends_at_once(kafkeep: Kafkeep, kafka_431: KafkaCluster, large: str, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    kafkeep("init", "--repo", str(repository), "--compression", "none").expect(0)
    with kafkeep.started(*slow_backup(repository, kafka_431, large), *HELD_BACK) as running:
        running.until("pack-stored")
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGTERM)
        assert running.end()["exit_code"] == 128 + signal.SIGTERM
    kafkeep(*slow_backup(repository, kafka_431, large)).expect(0)
    prove(kafkeep, kafka_431, repository, {large: 4})


def limited(kafkeep: Kafkeep, megabytes: int, *arguments: str) -> int:
    """The command with so much address space; its status, -9 when it had to be killed.

    CPython waits for ever in Thread.start() when a new thread gets no memory to begin with: no error reaches anybody.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))

    apply: Callable[[], None] = limit
    try:
        return kafkeep.plain("--json", *arguments, seconds=10, preexec_fn=apply).status
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


@pytest.mark.fault("C11")
@pytest.mark.timeout(1800)
def test_c11_backup_without_enough_memory(
    kafkeep: Kafkeep, kafka_431: KafkaCluster, large: str, tmp_path: Path, fault: Figures
) -> None:
    """It may fail in any way but by damage; with enough memory the next one goes on.

    Halving finds the least that suffices, so most tries fail late; others take a little less than that.
    """
    statuses: list[int] = []

    def attempt(megabytes: int) -> Path:
        repository = tmp_path / f"repository-{len(statuses)}"
        Repository.init(LocalStore(repository), now=now, rng=random.SystemRandom(), compression="none").close()
        statuses.append(limited(kafkeep, megabytes, *slow_backup(repository, kafka_431, large)))
        assert_whole(open_repository(LocalStore(repository)))
        return repository

    too_little, enough = 30, 600
    failed = tmp_path / "none"
    while enough - too_little > 1:
        megabytes = (too_little + enough) // 2
        repository = attempt(megabytes)
        if statuses[-1] == 0:
            enough = megabytes
        else:
            too_little, failed = megabytes, repository
    for less in range(fault.count(quick=0, full=15)):
        attempt(too_little - 2 * less)
    print(f"{too_little} MB are too little: statuses {statuses}")
    assert any(statuses)
    fault.figures(tries=len(statuses))
    kafkeep(*slow_backup(failed, kafka_431, large)).expect(0)
    prove(kafkeep, kafka_431, failed, {large: 4})
