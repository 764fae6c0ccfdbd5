"""What is measured: the shapes of data, and the batches they are made of. Pure."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from kafkeep.kafka.wire.batch import HEADER_SIZE, crc32c
from kafkeep.kafka.wire.records import Record, encode
from kafkeep.model import TopicPartition

PARTITIONS: Final = 8
DISTINCT_BYTES: Final = 8 * 1024 * 1024
"""Different batches per workload, sent in turns: far enough apart that no compressor sees one twice."""
REPACKED_BYTES: Final = 1_000_000
"""Of the batches that the bound for restores is produced in."""
FIRST_MS: Final = 1_767_225_600_000
"""Time of the first record of every partition."""
STEP_MS: Final = 1000
"""From batch to batch of one partition."""

_NONE: Final = 0
_LZ4: Final = 3
_ZSTD: Final = 4
CODECS: Final = {_NONE: "none", _LZ4: "lz4", _ZSTD: "zstd"}
_TRIES: Final = 3
"""Of a number of records in a batch: more of them compress better."""
_TIMES: Final = struct.Struct(">qq")
_TIMES_AT: Final = 27
_CRC: Final = struct.Struct(">I")
_CRC_AT: Final = 17
_CHECKED_FROM: Final = 21
_KINDS: Final = ("order-created", "order-paid", "order-packed", "order-shipped", "order-returned", "address-changed")
_CITIES: Final = ("Aachen", "Bergen", "Cadiz", "Dublin", "Erfurt", "Florence", "Ghent", "Hamburg", "Izmir", "Jena")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One shape of data."""

    name: str
    title: str
    codec: int = _NONE
    record_bytes: int
    """Of one record's value."""
    batch_bytes: int
    """Of one batch on the wire, within a few per cent."""
    share: float = 1.0
    """Part of the asked size that this workload gets."""
    most_rounds: int = 3
    """What takes long or varies little is measured less often."""
    topic_count: int = 1
    partitions: int = PARTITIONS
    """Of each topic."""
    filled: int | None = None
    """Partitions that hold records, evenly spread; None for all."""
    small_batches: bool = False
    """Whether a restore puts neighbouring batches together."""
    on_executors: bool = False
    """Whether kafkeep runs over processes and Dask here, too."""
    least_of_copy: float | None = None
    """What a backup promises here, as a part of cp and sync."""
    least_of_drop: float | None = None
    """The same as a part of the fetch that only drops."""
    most_cpu: float | None = None
    """CPU-seconds per GB that a backup promises not to exceed."""
    least_times_oso: float = 4.0
    """Promised CPU efficiency, in multiples of osodevops/kafka-backup's."""

    @property
    def topic(self) -> str:
        """The only topic, or the beginning of all names."""
        return f"bench-{self.name}"

    @property
    def topics(self) -> tuple[str, ...]:
        return named(self.topic, self.topic_count)

    @property
    def partition_count(self) -> int:
        return self.topic_count * self.partitions

    @property
    def is_wide(self) -> bool:
        """Whether it needs a broker for thousands of partitions."""
        return self.partition_count >= 500

    @property
    def is_vast(self) -> bool:
        """Whether one broker cannot hold it twice: each partition takes an open file, and often 20 000 are allowed."""
        return self.partition_count >= 5000

    @property
    def is_large(self) -> bool:
        """Whether its batches are as large as those of the bound for restores."""
        return self.batch_bytes >= REPACKED_BYTES

    def filled_partitions(self) -> list[TopicPartition]:
        everything = [TopicPartition(topic, number) for topic in self.topics for number in range(self.partitions)]
        return everything if self.filled is None else everything[:: len(everything) // self.filled][: self.filled]


def named(prefix: str, count: int) -> tuple[str, ...]:
    """The prefix alone for one topic, numbered names for several."""
    return (prefix,) if count == 1 else tuple(f"{prefix}.{number:04d}" for number in range(count))


_64K: Final = 64 * 1024
WORKLOADS: Final = (
    Workload(
        name="64k",
        title="1 KB records, 64 KB batches",
        record_bytes=1000,
        batch_bytes=_64K,
        on_executors=True,
        least_of_copy=0.7,
        most_cpu=0.8,
        least_times_oso=6.0,
    ),
    Workload(
        name="64k-lz4",
        title="1 KB records, 64 KB lz4 batches",
        codec=_LZ4,
        record_bytes=1000,
        batch_bytes=_64K,
        most_rounds=2,
        least_of_copy=0.7,
        most_cpu=0.8,
        least_times_oso=6.0,
    ),
    Workload(
        name="64k-zstd",
        title="1 KB records, 64 KB zstd batches",
        codec=_ZSTD,
        record_bytes=1000,
        batch_bytes=_64K,
        share=0.5,
        most_rounds=2,
        most_cpu=0.8,
        least_times_oso=6.0,
    ),
    Workload(
        name="2k",
        title="100-byte records, 2 KB batches",
        record_bytes=100,
        batch_bytes=2 * 1024,
        share=0.5,
        most_rounds=2,
        small_batches=True,
        on_executors=True,
        least_of_drop=0.7,
    ),
    Workload(
        name="1m",
        title="1 MB records, one in a batch",
        record_bytes=1_000_000,
        batch_bytes=1_000_100,
        share=0.5,
        most_rounds=2,
    ),
    Workload(
        name="filled",
        title="1 000 partitions, all filled",
        record_bytes=1000,
        batch_bytes=_64K,
        share=0.5,
        most_rounds=1,
        topic_count=10,
        partitions=100,
        least_times_oso=6.0,
    ),
    Workload(
        name="topics",
        title="500 topics of two partitions",
        record_bytes=1000,
        batch_bytes=16 * 1024,
        share=0.25,
        most_rounds=1,
        topic_count=500,
        partitions=2,
    ),
    Workload(
        name="idle",
        title="10 000 partitions, 100 of them filled",
        record_bytes=1000,
        batch_bytes=_64K,
        share=0.125,
        most_rounds=1,
        topic_count=100,
        partitions=100,
        filled=100,
        least_times_oso=6.0,
    ),
)


def by_name(name: str) -> Workload:
    """Raises KeyError for a name that no workload has."""
    return {workload.name: workload for workload in WORKLOADS}[name]


def batches(workload: Workload) -> list[bytes]:
    """The distinct batches of a workload, the same in every run."""
    rng = random.Random(workload.name)
    values = _values(rng, workload.record_bytes)
    count = _records_per_batch(workload, values)
    return [_batch(workload, values, count) for _ in range(DISTINCT_BYTES // workload.batch_bytes)]


def values(workload: Workload) -> list[bytes]:
    """Values of the workload's records, as many as its distinct batches hold uncompressed; none has a line feed."""
    made = _values(random.Random(workload.name), workload.record_bytes)
    return list(islice(made, max(1, DISTINCT_BYTES // workload.record_bytes)))


def stamped(batch: bytes, at_ms: int) -> tuple[bytes, memoryview]:
    """The same batch with its records at another time: a new header, and the rest as it was."""
    head = bytearray(batch[:HEADER_SIZE])
    first, last = _TIMES.unpack_from(head, _TIMES_AT)
    _TIMES.pack_into(head, _TIMES_AT, at_ms, at_ms + last - first)
    body = memoryview(batch)[HEADER_SIZE:]
    _CRC.pack_into(head, _CRC_AT, crc32c(body, crc32c(bytes(head[_CHECKED_FROM:]))))
    return bytes(head), body


def _records_per_batch(workload: Workload, values: Iterator[bytes]) -> int:
    """As many records as fill a batch, measured on the compressed size as producers do."""
    count = max(1, workload.batch_bytes // (workload.record_bytes + 24))
    for _ in range(_TRIES):
        count = max(1, count * workload.batch_bytes // len(_batch(workload, values, count)))
    return count


def _batch(workload: Workload, values: Iterator[bytes], count: int) -> bytes:
    records = [
        Record(delta, FIRST_MS + delta, b"customer-%07d" % (delta * 7919 % 10_000_000), next(values), ())
        for delta in range(count)
    ]
    return encode(records, codec=workload.codec)


def _values(rng: random.Random, size: int) -> Iterator[bytes]:
    """JSON documents of about `size` bytes that compress about as well as real ones."""
    while True:
        event: dict[str, object] = {"id": f"{rng.getrandbits(48):012x}", "kind": rng.choice(_KINDS)}
        if size >= 500:
            event |= {
                "city": rng.choice(_CITIES),
                "amount": rng.randrange(100_000) / 100,
                "lines": [
                    {"sku": f"{rng.getrandbits(32):08x}", "count": rng.randrange(9), "price": rng.randrange(50_000)}
                    for _ in range(14)
                ],
            }
        text = json.dumps(event, separators=(",", ":"))
        filler = f"{rng.getrandbits(4 * size):x}"[: max(0, size - len(text) - 12)]
        yield f'{text[:-1]},"note":"{filler}"}}'.encode()
