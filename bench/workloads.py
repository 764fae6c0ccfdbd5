"""What is measured: the shapes of data, and the batches they are made of. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kafkeep.kafka.wire.records import Record, encode
from kafkeep.restore.repack import MOST_BYTES, MOST_RECORDS

PARTITIONS: Final = 8
DISTINCT_BYTES: Final = 8 * 1024 * 1024
"""Different batches per workload, sent in turns: far enough apart that no compressor sees one twice."""

_NONE: Final = 0
_LZ4: Final = 3
_EPOCH_MS: Final = 1_767_225_600_000
_KINDS: Final = ("order-created", "order-paid", "order-packed", "order-shipped", "order-returned", "address-changed")
_CITIES: Final = ("Aachen", "Bergen", "Cadiz", "Dublin", "Erfurt", "Florence", "Ghent", "Hamburg", "Izmir", "Jena")


@dataclass(frozen=True, slots=True)
class Workload:
    """One shape of data."""

    name: str
    title: str
    codec: int
    record_bytes: int
    """Of one record's value."""
    batch_bytes: int
    """Of one batch on the wire, within a few per cent."""
    share: float
    """Part of the asked size that this workload gets."""
    has_targets: bool
    """Whether the step's targets are set for it."""

    @property
    def is_repacked(self) -> bool:
        """Whether a restore puts neighbouring batches together (restore.repack)."""
        return self.batch_bytes <= MOST_BYTES and self.batch_bytes // self.record_bytes <= MOST_RECORDS

    @property
    def topic(self) -> str:
        return f"bench-{self.name}"


WORKLOADS: Final = (
    Workload("64k", "1 KB records, 64 KB batches", _NONE, 1000, 64 * 1024, 1.0, True),
    Workload("64k-lz4", "1 KB records, 64 KB lz4 batches", _LZ4, 1000, 64 * 1024, 1.0, True),
    Workload("2k", "100-byte records, 2 KB batches", _NONE, 100, 2 * 1024, 0.125, False),
)


def batches(workload: Workload) -> list[bytes]:
    """The distinct batches of a workload, the same in every run."""
    rng = random.Random(workload.name)
    values = _values(rng, workload.record_bytes)
    count = _records_per_batch(workload, values)
    return [_batch(workload, values, count) for _ in range(DISTINCT_BYTES // workload.batch_bytes)]


def _records_per_batch(workload: Workload, values: Iterator[bytes]) -> int:
    """As many records as fill a batch, measured on the compressed size as producers do."""
    plain = workload.batch_bytes // (workload.record_bytes + 24)
    tried = len(_batch(workload, values, plain))
    return max(1, plain * workload.batch_bytes // tried)


def _batch(workload: Workload, values: Iterator[bytes], count: int) -> bytes:
    records = [
        Record(delta, _EPOCH_MS + delta, b"customer-%07d" % (delta * 7919 % 10_000_000), next(values), ())
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
