"""A signed repository that has a log and no packs: many partitions, many runs, commits written as text, fast."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import zstandard

from kafkeep.repository.envelope import CODEC_ZSTD, HEADER, MAGIC, SEAL_NONE, Kind, canonical, digest
from kafkeep.repository.format import NO_COMMIT
from kafkeep.repository.names import log_name, pack_name, ulid
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.trust import ADMIN, signed_text

PARTITIONS_PER_TOPIC: Final = 100
PACKS_PER_COMMIT: Final = 8
POINT_EVERY: Final = 10
"""Commits from one recovery point to the next."""
CLUSTER: Final = "c3ludGhldGljIGNsdXN0ZXI"
_BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SEED: Final = 11
ADMIN_KEY: Final = SigningKey(bytes(range(32)))
"""Signs all of it."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is."""

    partitions: int
    runs: int
    """Of each partition: as many commits, each with one run of every partition."""

    def __str__(self) -> str:
        parts = ((self.partitions, "partitions"), (self.partitions * self.runs, "runs"), (self.runs, "commits"))
        return ", ".join(f"{count:,} {what}".replace(",", " ") for count, what in parts)


def topic_of(partition: int) -> str:
    return f"topic-{partition // PARTITIONS_PER_TOPIC:04d}"


class Log:
    """Goes on with the log of a folder, one commit after the other; the same seed gives the same bytes."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.size = size
        self._dice = random.Random(_SEED)
        self._store = LocalStore(folder)
        self._offsets = [0] * size.partitions
        self._number = 0
        self._prev = NO_COMMIT
        self._root = ""
        self._id = ""

    def begin(self) -> None:
        """Commit 0 and the repository document."""
        admins = (ADMIN_KEY.trusted(ADMIN),)
        made = Repository.init(self._store, now=lambda: _BEGIN, rng=self._dice, admins=admins)
        self._prev, self._id = made.state.head_digest, made.id

    def go_on_behind(self, saved: int) -> None:
        """Behind a saved state, which somebody else committed."""
        self._number, self._root = saved, f'"root":{saved},'
        self._prev = digest(self._store.get(log_name(saved)))

    def add(self, commits: int) -> None:
        for _ in range(commits):
            self._number += 1
            body = self._signed().encode()
            packed = zstandard.ZstdCompressor(level=3).compress(body)
            data = HEADER.pack(MAGIC, Kind.COMMIT, CODEC_ZSTD, SEAL_NONE, len(packed)) + packed
            data += bytes.fromhex(digest(data))
            self._store.put_new(log_name(self._number), data)
            self._prev = digest(data)
        self._store.put_hint("hint/head", b"%d\n" % self._number)

    def _signed(self) -> str:
        before, behind = self._commit()
        value = ADMIN_KEY.sign(signed_text(self._id, f"{before}{behind}".encode()))
        return f'{before}"signature":{{"key":"{ADMIN_KEY.id}","value":"{value}"}},{behind}'

    def _commit(self) -> tuple[str, str]:
        """What stands before the signature, and what behind it."""
        time = f"{_BEGIN + timedelta(minutes=self._number):%Y-%m-%dT%H:%M:%S}.000Z"
        is_point = self._number % POINT_EVERY == 0
        packs = ",".join(self._packs())
        opened = ",".join(self._opened()) if self._number == 1 else ""
        point = f',"point":{self._point()}' if is_point else ""
        before = (
            f'{{"body":{{"closed":[],"cluster_id":"{CLUSTER}","gaps":[],"opened":[{opened}],"packs":[{packs}]{point}}},'
            f'"epoch":0,"finished":"{time}","kind":"{"recovery-point" if is_point else "add"}","prev":"{self._prev}",'
            f'{self._root}"seq":{self._number},'
        )
        return before, f'"started":"{time}","store_time":null,"tool":"bench","writer":"{"0" * 32}"}}'

    def _opened(self) -> Iterator[str]:
        for partition in range(self.size.partitions):
            yield f'{{"generation":{_generation(partition)},"start":0,"why":"first-seen"}}'

    def _packs(self) -> Iterator[str]:
        share = -(-self.size.partitions // PACKS_PER_COMMIT)
        moment = _BEGIN + timedelta(minutes=self._number)
        for first in range(0, self.size.partitions, share):
            root = self._dice.randbytes(32).hex()
            name = pack_name(0, ulid(moment, self._dice.randbytes(10)), root)
            partitions = range(first, min(first + share, self.size.partitions))
            runs = ",".join(self._run(partition, partition - first) for partition in partitions)
            yield f'{{"blake3":"{root}","epoch":0,"name":"{name}","runs":[{runs}],"size":67108864}}'

    def _run(self, partition: int, index: int) -> str:
        dice = self._dice.getrandbits(20)
        start, records = self._offsets[partition], 20 + dice % 200
        stop = self._offsets[partition] = start + records
        raw = records * (900 + dice % 300)
        time = 1_767_225_600_000 + self._number * 60_000 + dice % 50_000
        return (
            f'{{"aborted":[],"batches":{1 + records // 15},"blake3":"{self._dice.randbytes(32).hex()}","codecs":[0],'
            f'"control_batches":0,"create_time":true,"from":{start},"generation":{_generation(partition)},"holes":false,'
            f'"index":{index},"largest_batch":{min(raw, 16000)},"leader_epochs":[[{partition % 7},{start}]],'
            f'"log_append_time":false,"max_timestamp":{time + 40_000},"min_base_timestamp":{time},"old_magic":false,'
            f'"open_transactions":[],"raw_bytes":{raw},"records":{records},"stored_bytes":{raw // 3},"to":{stop}}}'
        )

    def _point(self) -> str:
        cuts = []
        for first in range(0, self.size.partitions, PARTITIONS_PER_TOPIC):
            rows = [
                [at % PARTITIONS_PER_TOPIC, 0, 0, self._offsets[at], self._offsets[at], self._offsets[at], at % 7]
                for at in range(first, min(first + PARTITIONS_PER_TOPIC, self.size.partitions))
            ]
            cuts.append({"partitions": rows, "topic": topic_of(first), "topic_id": "A" * 22})
        point = {"complete": True, "consistency": "partition", "cuts": cuts, "documents": [], "failures": []}
        return canonical(point | {"name": None, "selection": ["*"], "tags": []}).decode()


def _generation(partition: int) -> str:
    return f'["{topic_of(partition)}","{"A" * 22}",{partition % PARTITIONS_PER_TOPIC},0]'
