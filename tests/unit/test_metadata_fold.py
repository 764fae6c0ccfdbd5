"""What records of the controllers' log make of a cluster, and what becomes of records that cannot be understood."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from kafkeep.errors import KafkaProtocolError, KafkaUnsupported
from kafkeep.inventory import DelegationToken, Feature, Reassignment
from kafkeep.kafka.wire import metadata_records as kinds
from kafkeep.kafka.wire.metadata_batches import BatchReader
from kafkeep.kafka.wire.metadata_fold import MetadataFold
from kafkeep.kafka.wire.metadata_records import MetadataRecord, decode_metadata_record
from kafkeep.kafka.wire.primitives import compact_string, one_tag, uvarint
from kafkeep.kafka.wire.records import Record, encode
from kafkeep.model import topic_id_text

ID = bytes(range(16))
NO_TAGS = b"\0"


def value(kind: int, version: int, body: bytes, tags: bytes = NO_TAGS) -> bytes:
    return uvarint(1) + uvarint(kind) + uvarint(version) + body + tags


def nodes(*numbers: int) -> bytes:
    return uvarint(len(numbers) + 1) + b"".join(struct.pack(">i", number) for number in numbers)


def topic(name: str = "orders", topic_id: bytes = ID) -> bytes:
    return value(kinds.TOPIC, 0, compact_string(name) + topic_id)


def partition(number: int, *replicas: int, topic_id: bytes = ID, version: int = 0) -> bytes:
    body = struct.pack(">i", number) + topic_id + nodes(*replicas) + nodes(*replicas) + nodes() + nodes()
    body += struct.pack(">iii", replicas[0], 0, 0)
    body += uvarint(len(replicas) + 1) + bytes(16 * len(replicas)) if version >= 1 else b""
    return value(kinds.PARTITION, version, body)


def change(number: int, *tags: tuple[int, bytes], version: int = 0) -> bytes:
    tagged = uvarint(len(tags)) + b"".join(uvarint(tag) + uvarint(len(data)) + data for tag, data in tags)
    return value(kinds.PARTITION_CHANGE, version, struct.pack(">i", number) + ID, tagged)


def config(name: str, text: str | None, *, resource: str = "orders", kind: int = 2) -> bytes:
    body = struct.pack(">b", kind) + compact_string(resource) + compact_string(name) + compact_string(text)
    return value(kinds.CONFIG, 0, body)


def folded(*values: bytes) -> MetadataFold:
    fold = MetadataFold()
    for one in values:
        fold.apply(decode_metadata_record(one))
    return fold


def test_a_partitions_replicas_are_what_the_last_change_says() -> None:
    made = (topic(), partition(0, 1, 2), partition(1, 2, 3, version=2))
    # Tags: 0 ISR, 1 leader, 2 replicas, 3 removing, 4 adding, 6 and 7 eligible leaders, 8 directories.
    moving = change(1, (0, nodes(2)), (2, nodes(2, 3, 4)), (3, nodes(3)), (4, nodes(4)), (6, nodes(2)), version=2)
    found = folded(*made, moving).result()
    assert found.topics[0].partitions == ((1, 2), (2, 3, 4))
    assert found.reassignments == (Reassignment("orders", 1, (2, 3, 4), (4,), (3,)),)
    moved = change(1, (2, nodes(2, 4)), (3, nodes()), (4, nodes()))
    found = folded(*made, moving, moved).result()
    assert found.topics[0].partitions == ((1, 2), (2, 4)) and found.reassignments == ()
    only_isr = folded(*made, change(0, (0, nodes(1)), (1, struct.pack(">i", 2)))).result()
    assert only_isr.topics[0].partitions[0] == (1, 2)


def test_a_topic_that_goes_takes_its_configs_along() -> None:
    other = bytes(16)
    remove = value(kinds.REMOVE_TOPIC, 0, ID)
    made = (topic(), partition(0, 1), config("retention.ms", "5"))
    assert folded(*made).result().topics[0].configs == (("retention.ms", "5"),)
    again = folded(*made, remove, topic(topic_id=other), partition(0, 3, topic_id=other)).result()
    assert [(one.topic_id, one.configs) for one in again.topics] == [(topic_id_text(other), ())]
    assert folded(*made, config("retention.ms", None)).result().topics[0].configs == ()


def test_levels_tokens_and_the_quorums_version() -> None:
    level = value(kinds.FEATURE_LEVEL, 0, compact_string("group.version") + struct.pack(">h", 1))
    gone = value(kinds.FEATURE_LEVEL, 0, compact_string("group.version") + struct.pack(">h", 0))
    body = compact_string("User:a") + compact_string("User:b") + uvarint(3)
    body += compact_string("User:d") + compact_string("User:c") + struct.pack(">qqq", 1, 3, 2) + compact_string("id")
    token = value(kinds.DELEGATION_TOKEN, 0, body)
    fold = folded(level, token)
    fold.kraft_version(1)
    found = fold.result()
    assert found.features == (Feature("group.version", 1), Feature("kraft.version", 1))
    assert found.tokens == (DelegationToken("id", "User:a", "User:b", ("User:c", "User:d"), 1, 2, 3),)
    without = value(kinds.REMOVE_TOKEN, 0, compact_string("id"))
    assert folded(level, token, gone, without).result() == folded().result()


BEGIN, END, ABORT = (value(kind, 0, b"") for kind in (kinds.BEGIN, kinds.END, kinds.ABORT))


def test_a_metadata_transaction_counts_as_a_whole_or_not_at_all() -> None:
    before = (topic(), partition(0, 1))
    after = (config("retention.ms", "5"), config("cleanup.policy", "compact"))
    named = value(kinds.BEGIN, 0, b"", one_tag(0, compact_string("create topics")))
    why = value(kinds.ABORT, 0, b"", one_tag(0, compact_string("failed")))
    open_ = folded(*before, named, *after)
    assert open_.undecided and open_.result() == folded(*before).result()
    assert folded(*before, named, *after, END).result() == folded(*before, *after).result()
    aborted = folded(*before, BEGIN, *after, why)
    assert not aborted.undecided and aborted.result() == folded(*before).result()
    for wrong in ((END,), (ABORT,), (BEGIN, BEGIN)):
        with pytest.raises(KafkaProtocolError, match="transaction"):
            folded(*wrong)


@pytest.mark.parametrize(
    "values",
    [
        (partition(0, 1),),
        (topic(), change(0)),
        (value(kinds.REMOVE_TOPIC, 0, ID),),
        (value(kinds.REMOVE_ACL, 0, ID),),
        (value(kinds.REMOVE_SCRAM_USER, 0, compact_string("u") + b"\1"),),
    ],
    ids=["partition", "change", "topic", "acl", "user"],
)
def test_a_record_without_what_must_be_in_front_of_it_shows_that_something_is_missing(
    values: tuple[bytes, ...],
) -> None:
    with pytest.raises(KafkaProtocolError, match="the controllers' log is not whole: "):
        folded(*values)


def test_partitions_with_a_hole_between_them_are_not_a_topic() -> None:
    with pytest.raises(KafkaProtocolError, match="partitions of topic orders are missing"):
        folded(topic(), partition(1, 1)).result()


def test_unknown_types_are_counted_and_unknown_versions_refused() -> None:
    found = folded(value(29, 0, b"anything"), value(29, 7, b""), value(4000, 0, b""), topic()).result()
    assert found.unknown == ((29, 2), (4000, 1)) and len(found.topics) == 1
    with pytest.raises(KafkaUnsupported, match="write Topic records of version 1, known are 0 to 0"):
        decode_metadata_record(value(kinds.TOPIC, 1, compact_string("t") + ID))
    with pytest.raises(KafkaUnsupported, match="frame version 2"):
        decode_metadata_record(b"\2" + topic()[1:])


def test_unknown_tagged_fields_are_left_out() -> None:
    found = decode_metadata_record(
        value(kinds.TOPIC, 0, compact_string("t") + ID, one_tag(99, b"from a later release"))
    )
    assert found.fields == {"name": "t", "topic_id": topic_id_text(ID)}


@pytest.mark.parametrize("record", [topic(), partition(0, 1, 2, version=2), change(0, (2, nodes(1))), config("a", "b")])
def test_every_cut_of_a_record_and_every_byte_too_many_is_refused(record: bytes) -> None:
    assert isinstance(decode_metadata_record(record), MetadataRecord)
    for end in range(len(record)):
        with pytest.raises(KafkaProtocolError):
            decode_metadata_record(record[:end])
    with pytest.raises(KafkaProtocolError, match="too many"):
        decode_metadata_record(record + b"\0")


def log(*values: bytes | None, base: int = 0, epoch: int = 3) -> bytes:
    batch = bytearray(encode([Record(0, 1, None, one, ()) for one in values]))
    struct.pack_into(">q", batch, 0, base)
    struct.pack_into(">i", batch, 12, epoch)
    return bytes(batch)


def read(data: bytes, **options: Any) -> tuple[BatchReader, MetadataFold, int]:
    fold = MetadataFold()
    reader = BatchReader(fold)
    return reader, fold, reader.read(memoryview(data), **options)


def test_only_whole_batches_in_front_of_the_high_watermark_count() -> None:
    first, second = log(topic(), partition(0, 1)), log(config("retention.ms", "5"), base=2, epoch=4)
    reader, fold, taken = read(first + second, below=2)
    assert (taken, reader.last, fold.result().topics[0].configs) == (len(first), (2, 3), ())
    assert reader.read(memoryview(first + second), below=3) == len(first + second)
    assert (reader.last, fold.result().topics[0].configs) == ((3, 4), (("retention.ms", "5"),))
    reader, _, taken = read((first + second)[:-1])
    assert (taken, reader.last) == (len(first), (2, 3))


def test_a_record_without_a_value_is_refused() -> None:
    with pytest.raises(KafkaProtocolError, match="without a value at offset 1"):
        read(log(topic(), None))
