"""What threads and processes make of a broker that is never the limit: `python -m bench.replay_broker`.

The broker is a process of its own that answers each Fetch out of one file in memory, by sendfile, whatever partition is
asked for. It speaks ApiVersions and Fetch 11 alone: the coordinator is given plan and topology ready made. Told to, it gives
each connection a number of bytes per second and no more, as a broker far away does: there one connection carries its window
once per round trip, however wide the line is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.plan import CapturePlan, PartitionPlan
from kafkeep.capture.reading import Reading
from kafkeep.elsewhere import HERE, StorePlace, Workforce
from kafkeep.events import ignore
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.topology import Broker, PartitionTopology, TopicTopology, Topology
from kafkeep.kafka.wire.records import Record, encode
from kafkeep.model import NO_TOPIC_ID, Generation, GenerationOpened
from kafkeep.repository.identities import Identity
from kafkeep.repository.keyring import NewEncryption
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.work.executor import Executor
from kafkeep.work.processes import ProcessExecutor

MIB: Final = 1024 * 1024
TOPIC: Final = "replayed"
FETCH, API_VERSIONS, VERSION = 1, 18, 11
RECORDS, RECORD_BYTES = 16, 1000
_BURST_SECONDS: Final = 0.2
"""How far a connection that was slower than its rate may make up for it."""
_BEFORE_TOPICS: Final = struct.Struct(">iiiibii")
_PARTITION: Final = struct.Struct(">iiqqi")


@dataclass(frozen=True, slots=True)
class Log:
    """Batches of one size with running offsets, in a file."""

    path: str
    batches: int
    batch_bytes: int

    @property
    def end(self) -> int:
        return self.batches * RECORDS


def write_log(folder: Path, size: int) -> Log:
    """About `size` bytes; the base offset is the one part of a batch that its checksum leaves out."""
    dice = random.Random(1)
    words = [dice.randbytes(6).hex().encode() for _ in range(200)]
    values = [b" ".join(dice.choices(words, k=RECORD_BYTES // 13)) for _ in range(RECORDS)]
    batch = encode([Record(at, 1_700_000_000_000, b"key", value, ()) for at, value in enumerate(values)])
    count = max(1, size // len(batch))
    path = folder / "log"
    with path.open("wb") as stream:
        for number in range(count):
            stream.write(struct.pack(">q", number * RECORDS) + batch[8:])
    return Log(str(path), count, len(batch))


def serve(log: Log, port: Connection, rate: int | None = None) -> None:
    """The broker's process: a thread for each connection, until it is ended; `rate`: bytes per second of each."""
    server = socket.create_server(("127.0.0.1", 0))
    port.send(server.getsockname()[1])
    file = os.open(log.path, os.O_RDONLY)
    while True:
        peer, _ = server.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer_all, args=(peer, file, log, rate), daemon=True).start()


def _answer_all(peer: socket.socket, file: int, log: Log, rate: int | None) -> None:
    due = time.monotonic()
    with closing(peer), closing(peer.makefile("rb")) as stream:
        while size := stream.read(4):
            request = stream.read(int.from_bytes(size, "big"))
            key, version, correlation, name = struct.unpack_from(">hhih", request)
            if key == API_VERSIONS:
                peer.sendall(_versions(version, correlation))
            else:
                sent = _fetched(peer, file, log, request[10 + max(name, 0) :], correlation)
                if rate is not None:
                    due = max(due, time.monotonic() - _BURST_SECONDS) + sent / rate
                    time.sleep(max(0.0, due - time.monotonic()))


def _versions(version: int, correlation: int) -> bytes:
    apis = ((API_VERSIONS, 0, 3), (FETCH, 4, VERSION))
    if version >= 3:
        body = b"".join(struct.pack(">hhhB", *api, 0) for api in apis)
        answer = struct.pack(">ihB", correlation, 0, len(apis) + 1) + body + struct.pack(">iB", 0, 0)
    else:
        body = b"".join(struct.pack(">hhh", *api) for api in apis)
        answer = struct.pack(">ihi", correlation, 0, len(apis)) + body + (struct.pack(">i", 0) if version else b"")
    return struct.pack(">i", len(answer)) + answer


def _fetched(peer: socket.socket, file: int, log: Log, body: bytes, correlation: int) -> int:
    """All of an answer is for the first partition that was asked for, as with a broker that has much to send. Returns its
    size."""
    _, _, _, most, _, _, _ = _BEFORE_TOPICS.unpack_from(body)
    at = _BEFORE_TOPICS.size + 4
    (length,) = struct.unpack_from(">h", body, at)
    topic = body[at : at + 2 + length]
    partition, _, offset, _, _ = _PARTITION.unpack_from(body, at + 2 + length + 4)
    first = offset // RECORDS
    size: int = min(max(1, most // log.batch_bytes), log.batches - first) * log.batch_bytes
    head = struct.pack(">iihii", correlation, 0, 0, 0, 1) + topic + struct.pack(">i", 1)
    head += struct.pack(">ihqqqiii", partition, 0, log.end, log.end, 0, 0, -1, size)
    peer.sendall(struct.pack(">i", len(head) + size) + head)
    place, left = first * log.batch_bytes, size
    while left:
        sent = os.sendfile(peer.fileno(), file, place, left)
        place, left = place + sent, left - sent
    return size


def now() -> datetime:
    return datetime.now(UTC)


def plan_of(log: Log, partitions: int) -> CapturePlan:
    generations = [Generation(TOPIC, NO_TOPIC_ID, number, 0) for number in range(partitions)]
    parts = tuple(
        PartitionPlan(
            generation=generation,
            start=0,
            stop=log.end,
            leader=1,
            leader_epoch=0,
            last_fetched_epoch=-1,
            log_start=0,
            high_watermark=log.end,
            last_stable_offset=log.end,
            opened=GenerationOpened(generation, 0, "first-seen"),
        )
        for generation in generations
    )
    return CapturePlan(partitions=parts, closed=(), failures=())


def topology_of(port: int, partitions: int) -> Topology:
    listed = tuple(PartitionTopology(number, 1, 0, (1,), (1,), 0) for number in range(partitions))
    topic = TopicTopology(TOPIC, NO_TOPIC_ID, False, listed, 0)
    return Topology("replay", 1, {1: Broker(1, "127.0.0.1", port, None)}, {TOPIC: topic})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is read, and into what."""

    partitions: int = 1
    connections: int = 1
    compression: str = "none"
    encrypt: bool = False


def timed(folder: Path, log: Log, port: int, case: Case, executor: Executor | None) -> tuple[float, int]:
    """Seconds and bytes of one backup by workers that are there already, or by threads of this process."""
    place = folder / "repository"
    encryption = NewEncryption((Identity.generate().recipient("bench"),)) if case.encrypt else None
    with ExitStack() as stack:
        repository = stack.enter_context(
            Repository.init(
                LocalStore(str(place)),
                now=now,
                rng=random.SystemRandom(),
                compression=case.compression,
                encryption=encryption,
            )
        )
        force = HERE if executor is None else Workforce(executor=executor, place=StorePlace(url=str(place)))
        config = ClusterConfig(name="replay", bootstrap=(f"127.0.0.1:{port}",))
        reading = Reading(
            stack.enter_context(Cluster(config)),
            repository,
            BackupOptions(connections_per_broker=case.connections),
            deletes_by_retention={},
            started=now(),
            workers=force,
            now=now,
            sink=ignore,
            stop=threading.Event(),
        )
        began = time.monotonic()
        _, failures = reading.bring_up_to_cut(plan_of(log, case.partitions), topology_of(port, case.partitions))
        reading.flush()
        seconds = time.monotonic() - began
    size = sum(run.raw_bytes for run in reading.tally.runs)
    if failures or size != case.partitions * log.batches * log.batch_bytes:
        raise SystemExit(f"not all was read: {size} bytes, {failures}")
    shutil.rmtree(place)
    return seconds, size


@contextmanager
def replaying(folder: Path, size: int, rate: int | None = None) -> Iterator[tuple[Log, int, int]]:
    """A broker with about `size` bytes in each partition: its log, port and process id."""
    log = write_log(folder, size)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    broker = context.Process(target=serve, args=(log, theirs, rate), daemon=True)
    broker.start()
    try:
        yield log, ours.recv(), broker.pid or 0
    finally:
        broker.kill()
        broker.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=128, help="of each partition")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="0 for threads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compression", choices=("none", "zstd"), default="none")
    parser.add_argument("--encrypt", action="store_true")
    parser.add_argument("--rate", type=int, help="bytes per second of each connection")
    parser.add_argument("--folder", default="/dev/shm", help="where log and repositories lie for the time")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kafkeep-replay-", dir=given.folder))
    case = Case(
        partitions=given.partitions,
        connections=given.connections,
        compression=given.compression,
        encrypt=given.encrypt,
    )
    try:
        with replaying(folder, given.mib * MIB, given.rate) as (log, port, _):
            for _ in range(given.rounds):
                for workers in given.workers:
                    with ProcessExecutor(workers) if workers else nullcontext() as executor:
                        seconds, size = timed(folder, log, port, case, executor)
                    who = f"processes {workers}" if workers else "threads"
                    print(f"{who:<14} {seconds:7.2f} s  {size / seconds / 1e9:6.2f} GB/s", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"largest process besides this one: {largest:.0f} MiB; load {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
