"""What a restore's hot path costs by itself, on a broker that is never the limit: `python -m bench.sink_broker`.

The broker is a process of its own that answers each Produce request and throws the records away unread. It speaks
ApiVersions and Produce 7 alone: partitions are given ready made. The repository lies in a local folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from bench import entry, workloads
from bench.workloads import Workload
from kafkeep.events import ignore
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.produce import BrokerProducer
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import NO_TOPIC_ID, Generation, GenerationOpened
from kafkeep.repository.drafts import Draft
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.restore.elsewhere import Producing
from kafkeep.restore.options import LARGEST_REPACK, UP_TO_FULL, RestoreOptions
from kafkeep.restore.plan import PartitionRestore, ProducerIdentity
from kafkeep.restore.preflight import THREADS, check_partition
from kafkeep.restore.produce import DONE, PartitionProgress, ProduceTask, produce_partitions
from kafkeep.restore.window import Window
from kafkeep.times import rfc3339
from kafkeep.work.threads import run_on_threads

MIB: Final = 1024 * 1024
PRODUCE, API_VERSIONS, VERSION = 0, 18, 7
_APPEND_BYTES: Final = 4 * MIB
_RECEIVE_BYTES: Final = MIB
_HEADER: Final = 61
_COUNT_AT: Final = 57
_DISCARD: Final = socket.MSG_TRUNC
"""What TCP of Linux throws away instead of copying it."""


def serve(port: Connection) -> None:
    """The broker's process: a thread for each connection, until it is ended."""
    server = socket.create_server(("127.0.0.1", 0))
    port.send(server.getsockname()[1])
    while True:
        peer, _ = server.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer_all, args=(peer,), daemon=True).start()


class _Incoming:
    """One connection's requests, read field by field."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._room = bytearray(_RECEIVE_BYTES)

    def take(self, size: int) -> bytes:
        """Raises EOFError at the end."""
        data = b""
        while len(data) < size:
            found = self._peer.recv(size - len(data))
            if not found:
                raise EOFError
            data += found
        return data

    def fields(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def text(self) -> bytes:
        """A nullable string as it stands."""
        length = self.take(2)
        return length + self.take(max(0, int.from_bytes(length, signed=True)))

    def discard(self, size: int) -> None:
        while size:
            found = self._peer.recv_into(self._room, min(size, _RECEIVE_BYTES), _DISCARD)
            if not found:
                raise EOFError
            size -= found


def _answer_all(peer: socket.socket) -> None:
    ends: dict[tuple[bytes, int], int] = {}
    incoming = _Incoming(peer)
    with closing(peer):
        while True:
            try:
                size, key, version, correlation = incoming.fields(">ihhi")
                name = incoming.text()
                if key == API_VERSIONS:
                    incoming.discard(size - 8 - len(name))
                    peer.sendall(_versions(correlation))
                else:
                    peer.sendall(_produced(incoming, version, correlation, ends))
            except (EOFError, ConnectionError):
                return


def _versions(correlation: int) -> bytes:
    apis = ((API_VERSIONS, 0, 0), (PRODUCE, 3, VERSION))
    body = b"".join(struct.pack(">hhh", *api) for api in apis)
    return struct.pack(">iihi", 10 + len(body), correlation, 0, len(apis)) + body


def _produced(incoming: _Incoming, version: int, correlation: int, ends: dict[tuple[bytes, int], int]) -> bytes:
    incoming.text()
    _, _, topics = incoming.fields(">hii")
    answer = struct.pack(">ii", correlation, topics)
    for _ in range(topics):
        topic = incoming.text()
        (partitions,) = incoming.fields(">i")
        answer += topic + struct.pack(">i", partitions)
        for _ in range(partitions):
            number, size = incoming.fields(">ii")
            header = incoming.take(_HEADER)
            incoming.discard(size - _HEADER)
            end = ends.get((topic, number), 0)
            ends[topic, number] = end + int.from_bytes(header[_COUNT_AT:])
            answer += struct.pack(">ihqq", number, 0, end, -1) + (struct.pack(">q", 0) if version >= 5 else b"")
    answer += struct.pack(">i", 0)
    return struct.pack(">i", len(answer)) + answer


def now() -> datetime:
    return datetime.now(UTC)


def filled(folder: Path, workload: Workload, size: int, compression: str) -> Repository:
    """A repository that holds about `size` bytes of the workload, in runs as large as packs."""
    repository = Repository.init(LocalStore(folder), now=now, rng=random.SystemRandom(), compression=compression)
    partitions = workload.filled_partitions()
    made = workloads.batches(workload)
    for partition in partitions:
        generation = Generation(partition.topic, NO_TOPIC_ID, partition.partition, 0)
        _fill(repository, generation, made, size // len(partitions))
    return repository


def _fill(repository: Repository, generation: Generation, made: Sequence[bytes], size: int) -> None:
    start = offset = done = 0
    while done < size:
        with repository.pack_writer() as writer:
            writer.begin_run(generation, offset)
            while done < size and writer.fits(_APPEND_BYTES):
                data = bytearray()
                while len(data) < _APPEND_BYTES and done < size:
                    batch = made[(offset // 7 + done) % len(made)]
                    data += struct.pack(">q", offset) + batch[8:]
                    offset += int.from_bytes(batch[_COUNT_AT:_HEADER])
                    done += len(batch)
                view = memoryview(data)
                writer.append(view, walk(view)[0])
            writer.end_run(offset)
            pack = writer.finish()
        opened = (GenerationOpened(generation, 0, "first-seen"),) if start == 0 else ()
        repository.commit(Draft(cluster_id="sink", started=rfc3339(now()), packs=(pack,), opened=opened))
        start = offset


def parts_of(repository: Repository) -> list[PartitionRestore]:
    return [
        PartitionRestore(
            source=generation,
            target=generation.topic_partition,
            start=0,
            stop=known.next_offset,
            runs=tuple(known.runs),
            held_back=(),
            window=Window(),
            most_records=sum(run.facts.records for run in known.runs),
            raw_bytes=sum(run.facts.raw_bytes for run in known.runs),
            gaps=(),
        )
        for generation, known in repository.state.generations.items()
    ]


@dataclass(frozen=True, slots=True)
class Restore:
    """What is timed: the parts of a restore's hot path, each by itself."""

    repository: Repository
    parts: Sequence[PartitionRestore]
    producing: Producing
    port: int

    def check(self) -> None:
        def one(part: PartitionRestore, emit: Callable[[None], None], cancelled: threading.Event) -> None:
            check_partition(self.repository, part, cancelled, ignore)

        for _ in run_on_threads(self.parts, one, threads=THREADS):
            pass

    def ready(self) -> None:
        for part in self.parts:
            for _ in self.producing.source(self.repository)(self._progress(part)):
                pass

    def produce(self) -> None:
        """Raises SystemExit unless every partition is done and all its records are acknowledged."""
        ended = produce_partitions(
            ProduceTask(1, tuple(map(self._progress, self.parts))),
            lambda partition: None,
            threading.Event(),
            batches=self.producing.source(self.repository),
            open_producer=lambda broker: BrokerProducer(
                ClusterConfig(name="sink", bootstrap=(f"127.0.0.1:{self.port}",)), "127.0.0.1", self.port
            ),
            request_bytes=RestoreOptions().request_bytes,
            sink=ignore,
            stop=threading.Event(),
        )
        wanted = {part.target: part.most_records for part in self.parts}
        if any(state.status != DONE or state.records != wanted[state.part.target] for state in ended):
            raise SystemExit(f"not all was produced: {[state.message for state in ended]}")

    def _progress(self, part: PartitionRestore) -> PartitionProgress:
        return PartitionProgress(part=part, target_id="", leader=1, opened=0, source_next=part.start, sequence=0)


def timed(what: str, work: Callable[[], None], size: int) -> None:
    gb = size / 1e9
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    work()
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    faults = after.ru_minflt - before.ru_minflt
    print(
        f"{what:<8} {size / 1e6 / seconds:7.0f} MB/s  {(user + system) / gb:6.3f} CPU-s/GB "
        f"(user {user / gb:.3f}, system {system / gb:.3f})  {faults / gb:8.0f} page faults/GB  "
        f"{after.ru_maxrss / 1024:.0f} MiB",
        flush=True,
    )


def measured(folder: Path, given: argparse.Namespace, port: int) -> None:
    workload = workloads.by_name(given.workload)
    with filled(folder / "repository", workload, given.mib * MIB, given.compression) as repository:
        parts = parts_of(repository)
        producing = Producing(
            identity=ProducerIdentity(4711, 0),
            repack_bytes=dict.fromkeys(workload.topics, LARGEST_REPACK),
            repack_rule=UP_TO_FULL,
        )
        restore = Restore(repository, parts, producing, port)
        size = sum(part.raw_bytes for part in parts)
        for _ in range(given.rounds):
            with repository.remembering_chunks():
                for stage in given.stages:
                    timed(stage, getattr(restore, stage), size)


def main() -> None:
    entry.clear_up_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", default="64k", choices=[workload.name for workload in workloads.WORKLOADS])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--stages", nargs="+", choices=("check", "ready", "produce"), default=("check", "ready", "produce")
    )
    parser.add_argument("--compression", choices=("none", "zstd"), default="none")
    parser.add_argument("--folder", help="where the repository lies for the time")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kafkeep-sink-", dir=given.folder))
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    broker = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    try:
        broker.start()
        measured(folder, given, ours.recv())
    finally:
        broker.kill()
        broker.join()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
