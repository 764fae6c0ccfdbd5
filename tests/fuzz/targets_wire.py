"""What brokers and stored logs may send: batches, payloads, message sets, answers, log-in messages."""

from __future__ import annotations

import base64
import gzip
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from blake3 import blake3
from fastcrc import crc32
from tests.fuzz.engine import Target
from tests.property.test_kafka_messages import fetch_answer, produce_answer
from tests.property.test_restore_stamped import by_helper, by_python
from tests.support.batches import around, log_of, old_message
from tests.support.native import without_helper

from kafkeep import native
from kafkeep.batch_check import check_again, hash_and_check
from kafkeep.batch_rows import BatchRows, Piece, ends, pieces, summary
from kafkeep.errors import CorruptBatch, CorruptionError, KafkaLoginError
from kafkeep.kafka import auth, auth_scram
from kafkeep.kafka.config import SaslConfig
from kafkeep.kafka.wire import (
    batch,
    codecs,
    fetch,
    fetch_snapshot,
    legacy,
    metadata_fold,
    metadata_records,
    primitives,
    produce,
    records,
)
from kafkeep.kafka.wire.batch import HEADER_SIZE, control_type, needs_rebuild, rewrite, walk
from kafkeep.kafka.wire.metadata_fold import MetadataFold
from kafkeep.kafka.wire.metadata_records import KINDS
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.kafka.wire.records import Record, decode, encode, rebuild
from kafkeep.model import BatchInfo, TopicPartition
from kafkeep.secret import Secret

BUDGET: Final = 1024 * 1024
"""What a batch may unpack to here."""
_GOLDEN: Final = Path(__file__).parent.parent / "golden" / "batches"
_RECORDS: Final = [
    Record(0, 1_700_000_000_000, b"key", b"value" * 9, ()),
    Record(1, 1_700_000_000_005, None, b"", ((b"h", None), (b"", b"x"), (b"h", b""))),
    Record(2, -1, b"", None, ()),
]


# Logs of whole batches.


def run_log(data: bytes) -> None:
    view = memoryview(data)
    _check_helper(view)
    _check_stamped(data)
    infos, taken = walk(view, verify=True)
    if infos:
        _check_rows(view[:taken], infos)
    assert (infos, taken) == walk(view, verify=False)
    assert taken == sum(info.size for info in infos) <= len(data)
    position = 0
    refused: CorruptBatch | None = None
    for info in infos:
        try:
            _run_batch(view[position : position + info.size], info)
        except CorruptBatch as error:
            refused = error
        position += info.size
    if refused is not None:
        raise refused


def _check_helper(view: memoryview) -> None:
    """With the C helper and without it the same comes out, errors and all."""
    found = _walked(view)
    with without_helper():
        assert _walked(view) == found


def _walked(view: memoryview) -> tuple[object, ...]:
    try:
        infos, taken = walk(view)
    except CorruptBatch as error:
        return (str(error),)
    return list(infos), taken, summary(infos) if infos else None, list(ends(infos))


def _check_stamped(data: bytes) -> None:
    """New headers by the helper are Python's own, up to where Python has to go on."""
    dice = Random(zlib.crc32(data))
    start, stop, sequence = dice.randrange(4), dice.randrange(2, 80), dice.choice((0, 7, 2**31 - 1))
    made, position, behind = by_helper(data, start, stop, sequence)
    expected = by_python(data, start, stop, sequence)
    assert (made, position) == expected[:2]
    assert behind == expected[2] or not made


def _check_rows(view: memoryview, infos: Sequence[BatchInfo]) -> None:
    """Where a pack cuts between batches, and the second look at them, on these bytes and with one of them changed."""
    dice = Random(zlib.crc32(view))
    rows = BatchRows.of(infos)
    target = dice.randrange(1, 2 * len(view))
    cut = pieces(rows, dice.randrange(target + 1), target)
    changed = bytearray(view)
    changed[dice.randrange(len(changed))] ^= dice.randrange(1, 256)
    begins = dice.random() < 0.5
    found = [_looked_at(raw, rows, cut, begins) for raw in (bytes(view), bytes(changed))]
    assert "changed in memory" not in str(found[0]) and "changed in memory" in str(found[1])
    with without_helper():
        assert pieces(rows, target, target) == pieces(list(infos), target, target)
        assert [_looked_at(raw, rows, cut, begins) for raw in (bytes(view), bytes(changed))] == found
    if native.pieces is not None and native.address is not None:
        assert pieces(rows, target, target) == pieces(list(infos), target, target)
        place = dice.randrange(len(view))
        assert native.address(view[place:]) - native.address(view) == place


def _looked_at(raw: bytes, rows: BatchRows, cut: Sequence[Piece], begins: bool) -> tuple[object, ...]:
    told: list[object] = []
    try:
        check_again(memoryview(raw), rows)
    except CorruptionError as error:
        told.append(error.message)
    try:
        hasher, digests = hash_and_check(blake3(b"before"), memoryview(raw), rows, cut, begins=begins)
        told += [hasher.hexdigest(), *digests]
    except CorruptionError as error:
        told.append(error.message)
    return tuple(told)


def _run_batch(whole: memoryview, info: BatchInfo) -> None:
    if info.is_control and info.magic == 2:
        control_type(whole)
    found = decode(whole, info, max_bytes=BUDGET)
    if info.magic == 2 and not info.is_control:
        made = rewrite(whole, info, base_offset=info.base_offset, producer_id=7, producer_epoch=1, base_sequence=3)
        again = made + bytes(whole[HEADER_SIZE:])
        (after,), _ = walk(memoryview(again))
        assert (after.producer_id, after.record_count, after.codec) == (7, info.record_count, info.codec)
        if not info.is_log_append_time:
            assert decode(memoryview(again), after, max_bytes=BUDGET) == found
    if found and not info.is_control:
        _check_rebuilt(whole, info, found)


def _check_rebuilt(whole: memoryview, info: BatchInfo, found: list[Record]) -> None:
    made = rebuild(whole, info, max_bytes=BUDGET)
    (after,), taken = walk(memoryview(made))
    assert taken == len(made)
    assert not needs_rebuild(after)
    assert [one[1:] for one in decode(memoryview(made), after, max_bytes=2 * BUDGET)] == [one[1:] for one in found]
    assert rebuild(memoryview(made), after, max_bytes=2 * BUDGET) == made


def mend_log(data: bytes, dice: Random) -> bytes:
    """Lengths and checksums that fit, entry by entry; base offsets that rise."""
    out = bytearray(data)
    position = offset = 0
    while len(out) - position >= 26:
        base, length = struct.unpack_from(">qi", out, position)
        magic = out[position + 16]
        if not 14 <= length <= len(out) - position - 12 or dice.random() < 0.02:
            length = len(out) - position - 12
            struct.pack_into(">i", out, position + 8, length)
        if base < offset:
            struct.pack_into(">q", out, position, base := offset)
        stop = position + 12 + length
        if magic == 2 and length >= 49:
            struct.pack_into(">I", out, position + 17, crc32.iscsi(bytes(out[position + 21 : stop])))
            offset = base + max(struct.unpack_from(">i", out, position + 23)[0], 0) + 1
        else:
            struct.pack_into(">I", out, position + 12, zlib.crc32(out[position + 16 : stop]))
            offset = base + 1
        offset = min(offset, 2**63 - 1)
        position = stop
    return bytes(out)


def seeds_log() -> list[bytes]:
    logs = [path.read_bytes() for path in sorted(_GOLDEN.glob("4.3.1-*.log"))]
    made = [encode(_RECORDS, codec=codec) for codec in range(5)]
    inner = b"".join(old_message(offset, b"k", b"v", magic=1) for offset in range(3))
    older = b"".join(old_message(offset, b"k", None, magic=0) for offset in range(4, 6))
    old = [
        old_message(0, b"k", b"v", magic=0) + old_message(1, None, b"v", magic=1, timestamp=5),
        old_message(2, None, gzip.compress(inner), magic=1, attributes=1),
        old_message(5, None, codecs.compress(codecs.SNAPPY, older), magic=0, attributes=2),
        old_message(2, None, codecs.compress(codecs.LZ4, inner), magic=1, attributes=3 | 8, timestamp=9),
    ]
    markers = [around(struct.pack(">bbbbbhhbb", 16, 0, 0, 0, 8, 0, kind, 0, 0), attributes=0x30) for kind in (0, 1)]
    return [*logs, *made, *old, log_of(*made[:3], *markers, start=3), old[0] + log_of(made[0], start=9)]


LOG: Final = Target(
    name="log",
    run=run_log,
    modules=(batch, records, codecs, legacy),
    seeds=seeds_log,
    mend=mend_log,
    tokens=(b"\x82SNAPPY\x00", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08\x00", b"\xff" * 4, b"\x01"),
)


# Payloads behind a codec: the first byte names it.


def run_payload(data: bytes) -> None:
    if not data:
        return
    codec = data[0] % 6
    out = codecs.decompress(codec, memoryview(data)[1:], BUDGET)
    assert len(out) <= max(BUDGET, len(data))
    if codec <= codecs.ZSTD:
        assert codecs.decompress(codec, memoryview(codecs.compress(codec, out)), len(out)) == out


def seeds_payload() -> list[bytes]:
    plain = [b"", b"abc" * 50, bytes(range(256)) * 3, bytes(70_000)]
    made = [bytes([codec]) + codecs.compress(codec, text) for codec in range(1, 5) for text in plain]
    bombs = [bytes([codec]) + codecs.compress(codec, bytes(8 * BUDGET)) for codec in (1, 4)]
    joined = [bytes([codec]) + 3 * codecs.compress(codec, b"part") for codec in range(1, 5)]
    lz4 = b"\x03\x04\x22\x4d\x18\x7c\x70\x82" + bytes(8) + b"\x02\x00\x00\x80hi" + bytes(12)
    return [bytes(1) + b"plain", *made, *bombs, *joined, lz4, b"\x02\x03\x08abc"]


PAYLOAD: Final = Target(
    name="payload",
    run=run_payload,
    modules=(codecs,),
    seeds=seeds_payload,
    tokens=(*LOG.tokens, b'\x04"M\x18`@\x82', b"P*M\x18", b"\x00\x00\x00\x80"),
)


# Records of magic 2 as they lie in a payload: the first byte is their number.


def run_records(data: bytes) -> None:
    if not data:
        return
    whole = memoryview(around(data[1:], record_count=data[0], last_offset_delta=255, base_timestamp=2**63 - 5))
    (info,), _ = walk(whole)
    found = decode(whole, info)
    assert len(found) == data[0]
    if found:
        _check_rebuilt(whole, info, found)


def seeds_records() -> list[bytes]:
    sets = [_RECORDS, _RECORDS[:1], [Record(0, 2**63 - 1, None, None, ()), Record(1, -(2**63), b"k", b"v" * 300, ())]]
    return [bytes([len(each)]) + encode(each)[HEADER_SIZE:] for each in sets]


RECORDS: Final = Target(name="records", run=run_records, modules=(records,), seeds=seeds_records)


# Message sets of magic 0 and 1: the first byte names codec, magic and time.


def run_message_set(data: bytes) -> None:
    if not data:
        return
    codec, magic, append_time = data[0] & 3, data[0] >> 2 & 1, data[0] & 8
    value = codecs.compress(codec, data[1:])
    whole = memoryview(old_message(9, None, value, magic=magic, attributes=codec | append_time, timestamp=4))
    (info,), _ = walk(whole)
    found = decode(whole, info, max_bytes=BUDGET)
    assert codec or [one.value for one in found] == [value]
    if codec and magic:
        assert found[-1].offset == 9
    _check_rebuilt(whole, info, found)


def seeds_message_set() -> list[bytes]:
    out = [bytes([0]) + b"plain"]
    for magic in (0, 1):
        inner = b"".join(old_message(offset, b"k", None, magic=magic, timestamp=offset) for offset in range(3))
        out += [bytes([magic << 2 | codec | 8 * (codec == 2)]) + inner for codec in (1, 2, 3)]
    return out


MESSAGE_SET: Final = Target(name="message-set", run=run_message_set, modules=(legacy,), seeds=seeds_message_set)


# Answers: the first byte gives the version.

_TOPIC_ID: Final = (11).to_bytes(16, "big")


def _expected(version: int) -> dict[tuple[str | bytes, int], TopicPartition]:
    return {(_TOPIC_ID if version >= 13 else "t", part): TopicPartition("t", part) for part in range(2)}


def run_fetch(data: bytes) -> None:
    if not data:
        return
    version = fetch.LOWEST + data[0] % (fetch.HIGHEST - fetch.LOWEST + 1)
    reader = Reader(memoryview(data)[1:], "answer")
    _, _, found = fetch.decode_fetch(version, reader, _expected(version))
    assert reader.remaining == 0
    assert len({one.topic_partition for one in found}) == len(found)
    assert sum(len(one.records) + 16 * len(one.aborted) for one in found) <= len(data)


def seeds_fetch() -> list[bytes]:
    return [
        bytes([version - fetch.LOWEST]) + fetch_answer(version) for version in range(fetch.LOWEST, fetch.HIGHEST + 1)
    ]


def run_produce(data: bytes) -> None:
    if not data:
        return
    version = produce.LOWEST + data[0] % (produce.HIGHEST - produce.LOWEST + 1)
    expected = _expected(version)
    _, found = produce.decode_produce(version, Reader(memoryview(data)[1:], "answer"), expected)
    assert [one.topic_partition for one in found] == list(expected.values())


def seeds_produce() -> list[bytes]:
    versions = range(produce.LOWEST, produce.HIGHEST + 1)
    return [bytes([version - produce.LOWEST]) + produce_answer(version) for version in versions]


_ANSWER_TOKENS: Final = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x02",
    b"\x00\x01t",
    b"\x02t",
    _TOPIC_ID,
    b"\x00\x0c" + bytes(12),
    b"\x01\x08" + bytes(8),
    b"\x01\x00\x0c" + bytes(12),
    b"\x01\x00\x08" + bytes(8),
    b"\x01\x00\x00",
)
FETCH: Final = Target(
    name="fetch", run=run_fetch, modules=(fetch, primitives), seeds=seeds_fetch, tokens=_ANSWER_TOKENS
)
PRODUCE: Final = Target(
    name="produce", run=run_produce, modules=(produce, primitives), seeds=seeds_produce, tokens=_ANSWER_TOKENS
)


# The broker's two messages of a SCRAM login, with a line feed between them.

_PASSWORD: Final = Secret("pencil")
_CHALLENGE: Final = b"r=ours-theirs,s=QSXCR+Q6sek8bf92,i=4096"


class _Login(auth_scram.ScramMechanism):
    @property
    def proof(self) -> bytes:
        """What a broker that knows the password answers."""
        return b"v=" + base64.b64encode(self._server_signature or b"")


def run_scram(data: bytes) -> None:
    challenge, found, final = data.partition(b"\n")
    login = _Login(SaslConfig(mechanism="SCRAM-SHA-256", username="u=,", password=_PASSWORD), nonce=lambda: "ours-")
    login.receive(challenge)
    assert login.auth_bytes().startswith(b"c=biws,r=ours-")
    if found:
        try:
            login.receive(final.replace(b"PROOF", login.proof))
        except KafkaLoginError as error:
            assert _PASSWORD.reveal() not in error.message
            raise
        assert login.is_done() and b"PROOF" in final


def mend_scram(data: bytes, dice: Random) -> bytes:
    """Few iterations: more are right, and slow."""
    return re.sub(rb"i=\d{5,7}", b"i=4096", data)


def seeds_scram() -> list[bytes]:
    return [
        _CHALLENGE,
        _CHALLENGE + b"\nPROOF",
        _CHALLENGE + b"\ne=other-error pencil",
        _CHALLENGE + b"\nv=AAAA",
        _CHALLENGE + b",x=y\nPROOF,z=q",
        b"m=ext," + _CHALLENGE,
        b"r=ours-,s=QSXC,i=4096",
        b"r=ours-x,s=,i=4096",
        b"r=ours-x,s=QSXC,i=1",
        b"r=ours-x,s=QSXC,i=x",
    ]


SCRAM: Final = Target(
    name="scram",
    run=run_scram,
    modules=(auth_scram, auth),
    seeds=seeds_scram,
    mend=mend_scram,
    tokens=(b"r=ours-", b"s=", b"i=", b"v=", b"e=", b"m=", b",", b"PROOF", b"=", b"\n", b"4096"),
)

# The controllers' log: values of records, each behind its length, into one fold.


def run_metadata(data: bytes) -> None:
    fold = MetadataFold()
    position, unread = 0, data
    while len(unread) >= 2:
        size = struct.unpack(">H", unread[:2])[0] % len(unread)
        record = metadata_records.decode_metadata_record(unread[2 : 2 + size])
        assert set(record.fields) == ({field.name for field in KINDS[record.type].fields} if record.known else set())
        fold.apply(record)
        unread = unread[2 + size :]
        position += 1
    found = fold.result()
    assert [topic.name for topic in found.topics] == sorted(topic.name for topic in found.topics)
    assert len(found.topics) + len(found.acls) + len(found.scram_users) <= position
    assert sum(count for _, count in found.unknown) <= position


def seeds_metadata() -> list[bytes]:
    found = []
    for path in sorted((_GOLDEN.parent / "metadata_logs").glob("4.3.1*")):
        if path.suffix in (".log", ".snapshot"):
            view = memoryview(path.read_bytes())
            infos, _ = walk(view)
            values: list[bytes] = []
            position = 0
            for info in infos:
                batch = view[position : position + info.size]
                values += [] if info.is_control else [one.value or b"" for one in decode(batch, info)]
                position += info.size
            found.append(_lengths(values))
            found += [_lengths(values[at : at + 8]) for at in range(0, len(values), 8)]
    topic, rest = b"\x01\x02\x00\x02t" + _TOPIC_ID + b"\x00", b"\x01\x17\x00\x00"
    return [*found, _lengths([topic, rest, b"\x01\x18\x00\x00", b"\x01\x19\x00\x00", b"\x01\x1d\x00"])]


def _lengths(values: list[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(value)) + value for value in values)


METADATA: Final = Target(
    name="metadata-log",
    run=run_metadata,
    modules=(metadata_records, metadata_fold, primitives),
    seeds=seeds_metadata,
    tokens=(_TOPIC_ID, b"\x01\x17\x00\x00", b"\x01\x18\x00\x00", b"\xff\xff\xff\xff\x0f", b"\x00\x01"),
)


# Pieces of a controllers' snapshot.


def run_snapshot(data: bytes) -> None:
    piece = fetch_snapshot.decode_fetch_snapshot(Reader(memoryview(data), "answer"))
    assert len(piece.data) <= len(data)


def seeds_snapshot() -> list[bytes]:
    head, name = struct.pack(">ih", 0, 0), b"\x02" + primitives.compact_string("__cluster_metadata") + b"\x02"
    part = struct.pack(">ihqi", 0, 0, 45, 1) + b"\0" + struct.pack(">qq", 9, 0) + b"\x0arecords.."
    moved = part[:-10] + b"\x01" + primitives.one_tag(0, bytes(9))
    refused = struct.pack(">ih", 0, 31) + b"\x01\x00"
    return [head + name + part + b"\0\0\0", head + name + moved + b"\0\0", refused]


SNAPSHOT: Final = Target(
    name="snapshot",
    run=run_snapshot,
    modules=(fetch_snapshot, primitives),
    seeds=seeds_snapshot,
    tokens=_ANSWER_TOKENS,
)

TARGETS: Final = (LOG, PAYLOAD, RECORDS, MESSAGE_SET, FETCH, PRODUCE, SCRAM, METADATA, SNAPSHOT)
