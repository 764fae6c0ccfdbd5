"""Backups and restores by processes and by Dask workers on a real broker: the same content as by threads, and a worker that
is killed in the middle costs time alone.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.support.kafka import KafkaCluster, create_topic, produce, produce_transaction, unique
from tests.support.live import Live, now, until
from tests.support.operations import stored
from tests.support.oracle_load import samples

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup
from kafkeep.cli.key_sources import identity_text, write_key_file, writer_key_text
from kafkeep.elsewhere import HERE, StorePlace, Workforce
from kafkeep.events import Event, PackStored, Progress
from kafkeep.renaming import Rename
from kafkeep.repository.identities import Identity
from kafkeep.repository.keyring import Access, NewEncryption
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare, restore
from kafkeep.verify.run import verify
from kafkeep.work.dask import DaskExecutor
from kafkeep.work.dask_worker import KEY_FILE_VARIABLE
from kafkeep.work.processes import ProcessExecutor

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

MIB = 1024 * 1024
RECORDS = 4_000
WORKERS = 2
IDENTITY = Identity.generate()


@dataclass(frozen=True)
class Crew:
    """An executor, and the processes behind it."""

    executor: Any

    def killer(self) -> Callable[[], None]:
        """Ends one of the present processes; which one is asked for beforehand, so that nothing lies between."""
        if isinstance(self.executor, ProcessExecutor):
            victim = self.executor.pids[0]
        else:
            self.executor.client.wait_for_workers(WORKERS, timeout=60)  # one that a test before has killed comes again
            victim = next(iter(self.executor.client.run(os.getpid).values()))
        return lambda: os.kill(victim, signal.SIGKILL)

    def at(self, folder: Path, **limits: int) -> Workforce:
        return Workforce(executor=self.executor, place=StorePlace(url=str(folder), **limits))


@pytest.fixture(scope="module", params=["processes", "dask"])
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    with ProcessExecutor(WORKERS) if request.param == "processes" else DaskExecutor(None, WORKERS) as executor:
        yield Crew(executor)


@pytest.fixture(scope="module")
def topic(kafka_431: KafkaCluster) -> str:
    """4 MB in four partitions of one broker."""
    name = unique("workers")
    create_topic(kafka_431.client_properties, name, partitions=4)
    records = samples(RECORDS, partitions=4, size=1000)
    produce(kafka_431.client_properties, name, records, codec="none", batch_num_messages=50)
    return name


def new_repository(folder: Path) -> Repository:
    """Encrypted, and not compressed: of these records many packs shall come. Opened by somebody who may read them."""
    store, rng = LocalStore(str(folder)), random.SystemRandom()
    encryption = NewEncryption((IDENTITY.recipient("test"),))
    Repository.init(store, now=now, rng=rng, compression="none", encryption=encryption)
    return Repository.open(store, now=now, rng=rng, access=Access(identities=(IDENTITY,)))


def back_up(
    live: Live,
    repository: Repository,
    topic: str,
    workers: Workforce,
    hear: Callable[[Event], None] = lambda event: None,
    **options: Any,
) -> BackupResult:
    chosen = BackupOptions(topics=(topic,), settings=False, fetch_bytes=256 * 1024, pack_bytes=MIB // 2, **options)
    return backup(live.cluster, repository, chosen, now=now, workers=workers, sink=hear)


def assert_sound(repository: Repository) -> None:
    report = verify(repository, level="data")
    assert report.findings == ()


def at_first(kind: type[Event], do: Callable[[], None], *, after: int = 1) -> Callable[[Event], None]:
    """A sink that acts once, at the event of this kind with this number."""
    seen: list[Event] = []
    lock = threading.Lock()

    def hear(event: Event) -> None:
        if isinstance(event, kind):
            with lock:
                seen.append(event)
                due = len(seen) == after
            if due:
                do()

    return hear


def test_the_same_content_as_by_threads_and_back_again(live_4: Live, crew: Crew, topic: str, tmp_path: Path) -> None:
    by_threads, by_workers = new_repository(tmp_path / "threads"), new_repository(tmp_path / "workers")
    heard: list[Event] = []
    plain = back_up(live_4, by_threads, topic, HERE)
    result = back_up(live_4, by_workers, topic, crew.at(tmp_path / "workers"), heard.append)
    assert (result.records, result.raw_bytes, result.failures) == (RECORDS, plain.raw_bytes, ())
    assert sum(event.records for event in heard if isinstance(event, Progress)) == RECORDS
    assert stored(by_workers, result.point) == stored(by_threads, plain.point)
    assert_sound(by_workers)
    again = back_up(live_4, by_workers, topic, crew.at(tmp_path / "workers"))
    assert (again.nothing_new, again.packs) == (True, 0)

    assert result.point is not None
    chosen = RestoreOptions(topics=(topic,), renames=(Rename.parse(f"s/$/-by-{type(crew.executor).__name__}/"),))
    plan = prepare(live_4.cluster, by_workers, result.point, chosen, now=now)
    there = restore(
        live_4.cluster, by_workers, plan, chosen, now=now, workers=crew.at(tmp_path / "workers"), sink=heard.append
    )
    assert (there.records, there.failures) == (RECORDS, ())
    assert sum(e.records for e in heard if isinstance(e, Progress) and e.operation == "check") == RECORDS
    report = live_4.compare(by_workers, result.point, topics=(topic,), renames=chosen.renames)
    assert (report.records, report.different, report.failures) == (RECORDS, 0, ()), report


def test_a_worker_killed_in_a_backup_costs_time_alone(live_4: Live, crew: Crew, topic: str, tmp_path: Path) -> None:
    by_threads, by_workers = new_repository(tmp_path / "threads"), new_repository(tmp_path / "workers")
    plain = back_up(live_4, by_threads, topic, HERE)
    lost: list[str] = []

    def hear(event: Event) -> None:
        kill(event)
        if event.type == "retry":
            lost.append(str(event))

    kill = at_first(PackStored, crew.killer())
    result = back_up(live_4, by_workers, topic, crew.at(tmp_path / "workers"), hear, max_bytes_per_second=MIB)
    assert lost and "worker" in lost[0], "the worker ended before it was killed: nothing was tried"
    assert (result.records, result.failures, result.gaps) == (RECORDS, (), ())
    assert stored(by_workers, result.point) == stored(by_threads, plain.point)
    assert_sound(by_workers)


def test_a_worker_killed_in_a_restore_loses_and_doubles_nothing(
    live_4: Live, crew: Crew, topic: str, tmp_path: Path
) -> None:
    repository = new_repository(tmp_path / "workers")
    result = back_up(live_4, repository, topic, HERE)
    assert result.point is not None
    lost: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Progress) and event.operation == "restore":
            kill(event)
        if event.type == "retry":
            lost.append(str(event))

    kill = at_first(Progress, crew.killer())
    name = type(crew.executor).__name__
    chosen = RestoreOptions(
        topics=(topic,),
        renames=(Rename.parse(f"s/$/-after-{name}/"),),
        preflight="exist",
        request_bytes=64 * 1024,
        repack_bytes=0,
    )
    plan = prepare(live_4.cluster, repository, result.point, chosen, now=now)
    workers = crew.at(tmp_path / "workers", download=MIB)
    there = restore(live_4.cluster, repository, plan, chosen, now=now, workers=workers, sink=hear)
    assert lost and "worker" in lost[0], "the worker ended before it was killed: nothing was tried"
    assert (there.records, there.failures) == (RECORDS, ())
    report = live_4.compare(repository, result.point, topics=(topic,), renames=chosen.renames)
    assert (report.records, report.different, report.failures) == (RECORDS, 0, ()), report


def test_what_is_asked_to_stop_stops(live_4: Live, crew: Crew, topic: str, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "workers")
    stop = threading.Event()
    chosen = BackupOptions(topics=(topic,), settings=False, fetch_bytes=256 * 1024, max_bytes_per_second=MIB)
    result = backup(
        live_4.cluster,
        repository,
        chosen,
        now=now,
        workers=crew.at(tmp_path / "workers"),
        sink=at_first(Progress, stop.set),
        stop=stop,
    )
    assert result.interrupted
    assert 0 < result.records < RECORDS
    assert_sound(repository)


def test_a_consistent_point_holds_back_the_same(live_4: Live, crew: Crew, tmp_path: Path) -> None:
    """What tasks learn of transactions comes to the coordinator's ledger from other processes too."""
    name = unique("workers-transactions")
    create_topic(live_4.kafka.client_properties, name, partitions=2)
    for number in range(3):
        transaction = samples(20, partitions=2, seed=number)
        produce_transaction(
            live_4.kafka.client_properties, name, transaction, transactional_id=f"{name}-{number}", commit=number != 1
        )
    undecided = Producer({**live_4.kafka.client_properties, "transactional.id": f"{name}-open"})
    undecided.init_transactions(30)
    undecided.begin_transaction()
    for partition in (0, 1):
        undecided.produce(name, value=b"undecided", partition=partition)
    undecided.flush(30)
    by_threads, by_workers = new_repository(tmp_path / "threads"), new_repository(tmp_path / "workers")
    plain = back_up(live_4, by_threads, name, HERE, consistent="transactions")
    result = back_up(live_4, by_workers, name, crew.at(tmp_path / "workers"), consistent="transactions")
    undecided.abort_transaction(30)
    assert plain.point is not None and result.point is not None
    assert (result.failures, result.point.consistency) == ((), "transaction")
    assert result.point.cuts == plain.point.cuts
    assert any(cut.held_back for cut in result.point.cuts)
    assert stored(by_workers, result.point) == stored(by_threads, plain.point)


def has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_signal_to_the_whole_group_ends_the_command_as_ever(
    kafka_431: KafkaCluster, topic: str, tmp_path: Path
) -> None:
    """As a terminal sends it: to the workers too, which leave the answer to the command."""
    folder = str(tmp_path / "repository")
    command = [sys.executable, "-m", "kafkeep", "--json"]
    environment = os.environ | {"HOME": str(tmp_path), "KAFKEEP_CACHE": str(tmp_path / "cache")}
    subprocess.run([*command, "init", "--repo", folder], check=True, capture_output=True, env=environment)
    arguments = ["backup", "--repo", folder, "--cluster", kafka_431.bootstrap, "--topics", topic, "--no-settings"]
    arguments += ["--fetch-size", "128KiB", "--executor", "processes", "--workers", "2"]
    running = subprocess.Popen(
        [*command, *arguments, "--max-rate", "1MiB"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        assert running.stdout is not None
        while json.loads(running.stdout.readline())["type"] != "progress":
            assert time.monotonic() < deadline
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    last = json.loads(out.splitlines()[-1])
    assert (running.returncode, last["type"], last["exit_code"]) == (130, "summary", 130), err
    assert "Traceback" not in err
    until(lambda: not has_members(running.pid), seconds=60, what="the end of all its processes")
    ended = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, timeout=120)
    assert ended.returncode == 0, ended.stderr
    repository = Repository.open(LocalStore(folder), now=now, rng=random.SystemRandom())
    (found,) = {sum(len(records) for records in stored(repository, repository.point("latest")).values())}
    assert found == RECORDS


def test_the_command_and_a_scheduler_of_somebody_else(kafka_431: KafkaCluster, topic: str, tmp_path: Path) -> None:
    """Encrypted, so there is a key to be sent: sealed for workers that have the worker key, refused without."""
    import distributed

    identity, writer, worker = tmp_path / "identity", tmp_path / "writer", tmp_path / "worker"
    folder = str(tmp_path / "repository")
    write_key_file(identity, identity_text(IDENTITY), "identity")
    write_key_file(worker, "5f" * 32, "worker")
    made = Repository.init(
        LocalStore(folder), now=now, rng=random.SystemRandom(), encryption=NewEncryption((IDENTITY.recipient("test"),))
    )
    assert made.keyring is not None
    write_key_file(writer, writer_key_text(made.keyring.writer_key), "writer")
    environment = os.environ | {"HOME": str(tmp_path), "KAFKEEP_CACHE": str(tmp_path / "cache")}
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        env={KEY_FILE_VARIABLE: str(worker)},
    ) as cluster:
        command = [
            sys.executable,
            "-m",
            "kafkeep",
            "--json",
            "backup",
            "--repo",
            folder,
            "--cluster",
            kafka_431.bootstrap,
        ]
        command += ["--topics", topic, "--no-settings", "--writer-key-file", str(writer)]
        command += ["--executor", "dask", "--scheduler", cluster.scheduler_address]
        refused = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert (refused.returncode, "in clear" in refused.stderr) == (2, True), refused.stderr
        command += ["--worker-key-file", str(worker)]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["records"] == RECORDS
    opened = Repository.open(
        LocalStore(folder), now=now, rng=random.SystemRandom(), access=Access(identities=(IDENTITY,))
    )
    assert sum(len(found) for found in stored(opened, opened.point("latest")).values()) == RECORDS
