"""What the demo fills a cluster with: every shape of record a backup has to bring back exactly."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from demo import clients
from demo.clients import Sample, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic of the demo and how it is written to."""

    name: str
    partitions: int
    codec: str
    what: str
    config: tuple[tuple[str, str], ...] = ()
    records: int = 0
    """Records of the first filling; a fifth as many follow before the second backup."""
    keyed: bool = True
    shape: str = "json"
    transactional: bool = False


TOPICS = (
    Topic(name="orders", partitions=3, codec="zstd", what="keyed", records=20_000),
    Topic(name="clicks", partitions=2, codec="gzip", what="without keys", records=15_000, keyed=False),
    Topic(name="metrics", partitions=4, codec="lz4", what="keyed", records=15_000),
    Topic(
        name="audit",
        partitions=2,
        codec="snappy",
        what="keyed, headers with repeated keys, null and empty values",
        config=(("retention.ms", "-1"), ("max.message.bytes", "2000000")),
        records=5_000,
        shape="headers",
    ),
    Topic(
        name="customers",
        partitions=2,
        codec="none",
        what="keyed, compacted, null and empty values",
        config=(("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.9")),
        records=2_000,
        shape="deletions",
    ),
    Topic(
        name="odd-ends",
        partitions=1,
        codec="none",
        what="null and empty keys, null and empty values",
        records=500,
        shape="odd",
    ),
    Topic(
        name="ledger",
        partitions=2,
        codec="lz4",
        what="keyed, transactions, every second one aborted",
        records=2_000,
        transactional=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Reader:
    """A consumer group that stands in the middle of a topic."""

    group: str
    topic: str
    count: int
    """Records it has read of every partition."""


READERS = (Reader("billing", "orders", 2_000), Reader("bookkeeping", "ledger", 300))


@dataclass(slots=True)
class Filler:
    """Writes the demo's records; the same seed writes the same ones."""

    settings: Settings
    clock: int
    """Timestamp in ms of the first record, well before now: a restore must bring back these, not the clock's."""
    rng: random.Random = field(default_factory=lambda: random.Random(20))
    _round: int = 0

    def create(self) -> None:
        """Creates every topic."""
        for topic in TOPICS:
            config = {**dict(topic.config), "segment.bytes": "1048576"}
            clients.create_topic(self.settings, topic.name, partitions=topic.partitions, config=config)

    def fill(self, share: float) -> int:
        """Writes a share of every topic's records and returns how many, aborted ones not counted."""
        self._round += 1
        return sum(self._fill(topic, int(topic.records * share)) for topic in TOPICS)

    def _fill(self, topic: Topic, count: int) -> int:
        if not topic.transactional:
            samples = self._samples(topic, count)
            clients.produce(self.settings, topic.name, samples, codec=topic.codec, batch_num_messages=500)
            return count
        committed = 0
        for number, commit in enumerate((True, False, True, False)):
            clients.produce_transaction(
                self.settings,
                topic.name,
                self._samples(topic, count // 4),
                transactional_id=f"demo-{self._round}-{number}",
                commit=commit,
                codec=topic.codec,
            )
            committed += count // 4 if commit else 0
        return committed

    def _samples(self, topic: Topic, count: int) -> Iterator[Sample]:
        for number in range(count):
            self.clock += self.rng.randrange(5)
            yield self._sample(topic, number)

    def _sample(self, topic: Topic, number: int) -> Sample:
        key = f"{topic.name}-{self.rng.randrange(500):04}".encode() if topic.keyed else None
        if topic.shape == "headers":
            return Sample(key, self._json(number), _HEADERS[number % len(_HEADERS)], self.clock)
        if topic.shape == "deletions":  # a null value deletes a key when the log is compacted
            value = (self._json(number), None, b"")[min(self.rng.randrange(10), 2)] if number % 7 else None
            return Sample(key, value, (), self.clock)
        if topic.shape == "odd":
            key, value = _ODD[number % len(_ODD)]
            return Sample(key, value, (), self.clock)
        return Sample(key, self._json(number), (), self.clock)

    def _json(self, number: int) -> bytes:
        place = self.rng.choice(("Zürich", "東京", "Reykjavík", "Nairobi"))
        amount = self.rng.randrange(100_000) / 100
        record = {"number": number, "place": place, "amount": amount, "at": self.clock}
        return json.dumps(record, ensure_ascii=False).encode()


_HEADERS: tuple[tuple[tuple[str, bytes | None], ...], ...] = (
    (),
    (("trace", b"a1"), ("trace", b"a2"), ("trace", b"a1")),
    (("empty", b""), ("null", None), ("", b"a header without a name")),
    (("z", b"order"), ("a", b"matters"), ("z", None), ("bytes", bytes(range(256)))),
)
_ODD: tuple[tuple[bytes | None, bytes | None], ...] = (
    (None, b"null key"),
    (b"", b"empty key"),
    (b"null value", None),
    (b"empty value", b""),
    (None, None),
    (b"", b""),
    (None, b""),
    (b"", None),
    (bytes(range(256)), bytes(reversed(range(256)))),
)
