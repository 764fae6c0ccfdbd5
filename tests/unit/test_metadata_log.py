"""The reader of the controllers' log against scripted controllers: elections, lost leaders, snapshots that go, lies."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka.protocol.admin import DescribeQuorumRequest
from kafka.protocol.consumer import FetchRequest
from tests.support.control_broker import ControlBroker, HangUp, free_port
from tests.unit.test_metadata_fold import config as config_record
from tests.unit.test_metadata_fold import log, partition, topic

from kafkeep.errors import CorruptBatch, KafkaProtocolError, KafkaRequestError, KafkaUnreachable
from kafkeep.events import Event, Retried
from kafkeep.inventory import MetadataCut
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.metadata_log import METADATA_TOPIC_ID, MetadataLog, read_metadata_log
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.metadata_batches import BatchReader
from kafkeep.kafka.wire.metadata_fold import LoggedMetadata, MetadataFold
from kafkeep.kafka.wire.primitives import compact_string, one_tag, uvarint
from kafkeep.model import topic_id_bytes

NOT_LEADER, FENCED, SNAPSHOT_NOT_FOUND = 6, 74, 98
FIRST = log(topic(), partition(0, 1), base=0, epoch=1)
SECOND = log(config_record("retention.ms", "5"), base=2, epoch=2)


def quorum(epoch: int = 2, high_watermark: int = 3, error: int = 0) -> dict[str, Any]:
    part = {
        "partition_index": 0,
        "error_code": error,
        "error_message": None,
        "leader_id": 1,
        "leader_epoch": epoch,
        "high_watermark": high_watermark,
        "current_voters": [],
        "observers": [],
    }
    topics = [{"topic_name": "__cluster_metadata", "partitions": [part]}]
    return {"error_code": 0, "error_message": None, "topics": topics, "nodes": []}


def answer(records: bytes = b"", *, error: int = 0, high_watermark: int = 3, tags: bytes = b"\0") -> bytes:
    """A Fetch answer of version 13, behind the tagged fields of its header."""
    part = struct.pack(">ihqqq", 0, error, high_watermark, -1, 0) + uvarint(0) + struct.pack(">i", -1)
    part += uvarint(len(records) + 1) + records + tags
    found = uvarint(2) + topic_id_bytes(METADATA_TOPIC_ID) + uvarint(2) + part + b"\0"
    return b"\0" + struct.pack(">ihi", 0, 0, 0) + found + b"\0"


Fetch = Callable[[Any], bytes]


@contextmanager
def controllers(
    *scripts: tuple[Callable[[], dict[str, Any]], Fetch], snapshot: Callable[[int], bytes] | None = None
) -> Iterator[ClusterConfig]:
    """One scripted controller for each (what it says of the quorum, what it answers to a Fetch)."""
    with ExitStack() as stack:
        addresses = []
        for describe, fetch in scripts:
            broker = ControlBroker(
                {
                    DescribeQuorumRequest: lambda version, request, describe=describe: describe(),
                    FetchRequest: lambda version, request, fetch=fetch: fetch(request),
                },
                versions={59: (0, 1), 1: (4, 13)},
            )
            if snapshot is not None:
                broker.scripts[FetchSnapshotRequest] = lambda version, position: snapshot(position)  # type: ignore[index]
            stack.enter_context(broker)
            addresses.append(f"127.0.0.1:{broker.port}")
        yield ClusterConfig(name="c", bootstrap=tuple(addresses), request_timeout_seconds=5.0)


def place(request: Any) -> tuple[int, int, int]:
    """(offset, last epoch, leader epoch) that a Fetch asks for."""
    asked = request.topics[0].partitions[0]
    return asked.fetch_offset, asked.last_fetched_epoch, asked.current_leader_epoch


def serve(request: Any) -> bytes:
    """An honest leader with both batches, one at a time."""
    return answer(FIRST if place(request)[0] == 0 else SECOND)


def no_fetch(request: Any) -> bytes:
    raise AssertionError("only the leader is asked")


def read(config: ClusterConfig, **options: Any) -> MetadataCut:
    found = read_metadata_log(config, "id", wait=lambda seconds: None, **options)
    assert found.metadata.topics[0].configs == (("retention.ms", "5"),)
    return found.cut


def test_the_log_is_read_up_to_the_high_watermark_and_from_the_leader_alone() -> None:
    asked: list[tuple[int, int, int]] = []

    def fetch(request: Any) -> bytes:
        asked.append(place(request))
        # What lies behind the high watermark may still be taken back.
        later = log(config_record("retention.ms", "6"), base=3, epoch=2)
        return answer(FIRST if len(asked) == 1 else SECOND + later)

    with controllers((lambda: quorum(error=NOT_LEADER), no_fetch), (quorum, fetch)) as config:
        assert read(config) == MetadataCut(3, 2)
    assert asked == [(0, 0, 2), (2, 1, 2)]


@pytest.mark.parametrize("how", ["moved", "fenced", "lost"])
def test_another_leader_goes_on_where_the_last_one_ended(how: str) -> None:
    leads = [True, False]
    asked: list[tuple[int, int, int]] = []

    def first(request: Any) -> bytes:
        if place(request)[0] == 0:
            return answer(FIRST)
        leads[:] = [False, True]
        if how == "lost":
            raise HangUp
        return answer(error=NOT_LEADER if how == "moved" else FENCED)

    def second(request: Any) -> bytes:
        asked.append(place(request))
        return answer(SECOND, high_watermark=3)

    scripts = (
        (lambda: quorum() if leads[0] else quorum(error=NOT_LEADER), first),
        (lambda: quorum(epoch=3) if leads[1] else quorum(error=NOT_LEADER), second),
    )
    events: list[Event] = []
    with controllers(*scripts) as config:
        assert read(config, sink=events.append) == MetadataCut(3, 2)
    assert asked == [(2, 1, 3)]
    assert any(isinstance(event, Retried) for event in events)


def test_a_history_that_differs_is_read_anew() -> None:
    asked: list[int] = []

    def fetch(request: Any) -> bytes:
        asked.append(place(request)[0])
        if len(asked) == 2:
            return answer(tags=one_tag(0, struct.pack(">iq", 1, 1) + b"\0"))
        return serve(request)

    with controllers((quorum, fetch)) as config:
        assert read(config) == MetadataCut(3, 2)
    assert asked == [0, 2, 0, 2]


def test_a_leader_that_knows_no_high_watermark_yet_is_waited_for() -> None:
    told = iter([quorum(high_watermark=-1), quorum(high_watermark=-1), quorum(), quorum()])
    with controllers((lambda: next(told), serve)) as config:
        assert read(config) == MetadataCut(3, 2)


def test_an_open_metadata_transaction_is_waited_for() -> None:
    begin, end = bytes([1, 23, 0, 0]), bytes([1, 24, 0, 0])
    marks = iter([quorum(high_watermark=3), quorum(high_watermark=4)])
    batches = {
        0: log(topic(), partition(0, 1), begin, epoch=1),
        3: log(config_record("retention.ms", "5"), end, base=3),
    }
    seen: list[int] = []

    def fetch(request: Any) -> bytes:
        seen.append(place(request)[0])
        return answer(batches[seen[-1]], high_watermark=5)

    with controllers((lambda: next(marks), fetch)) as config:
        assert read(config) == MetadataCut(5, 3)
    assert seen == [0, 3]


class FetchSnapshotRequest:
    """As much of a request that kafka-python does not know as a script needs: the position in the snapshot."""

    API_KEY = 59
    max_version = 1

    @staticmethod
    def decode(frame: bytes, *, version: int, header: bool) -> int:
        behind = len(one_tag(0, compact_string("id"))) + 2
        return int(struct.unpack(">q", frame[-behind - 8 : -behind])[0])


GOLDEN = Path(__file__).parent.parent / "golden" / "metadata_logs"
SNAPSHOT = (GOLDEN / "4.3.1-50.snapshot").read_bytes()
LOG = (GOLDEN / "4.3.1.log").read_bytes()
INFOS = walk(memoryview(LOG))[0]
FOOTER = len(SNAPSHOT) - walk(memoryview(SNAPSHOT))[0][-1].size
"""Where the last batch of the snapshot begins, which says that it ends there."""
Piece = Callable[[int], bytes]


def piece(position: int, data: bytes | None = None, *, error: int = 0, size: int = len(SNAPSHOT)) -> bytes:
    """A FetchSnapshot answer, behind the tagged fields of its header."""
    found = SNAPSHOT[position : position + 700] if data is None else data
    part = struct.pack(">ihqi", 0, error, 50, 1) + b"\0" + struct.pack(">qq", size, position)
    part += uvarint(len(found) + 1) + found + b"\0"
    return b"\0" + struct.pack(">ih", 0, 0) + uvarint(2) + compact_string("t") + uvarint(2) + part + b"\0\0"


def from_snapshot(script: Piece, **options: Any) -> tuple[MetadataLog, list[tuple[int, int]]]:
    """The golden log of a leader that has only its snapshot and what lies behind; (offset, epoch) of what was fetched."""
    end = INFOS[-1].next_offset
    behind = sum(info.size for info in INFOS if info.next_offset <= 50)
    fetched: list[tuple[int, int]] = []

    def fetch(request: Any) -> bytes:
        fetched.append(place(request)[:2])
        if fetched[-1][0] == 0:
            return answer(high_watermark=end, tags=one_tag(2, struct.pack(">qi", 50, 1) + b"\0"))
        return answer(LOG[behind:], high_watermark=end)

    with controllers((lambda: quorum(high_watermark=end), fetch), snapshot=script) as config:
        return read_metadata_log(config, "id", wait=lambda seconds: None, **options), fetched


def whole() -> LoggedMetadata:
    fold = MetadataFold()
    BatchReader(fold).read(memoryview(LOG))
    return fold.result()


def test_a_snapshot_comes_in_pieces_and_the_log_behind_it() -> None:
    asked: list[int] = []

    def script(position: int) -> bytes:
        asked.append(position)
        return piece(position)

    found, fetched = from_snapshot(script)
    assert found.metadata == whole() and found.cut == MetadataCut(INFOS[-1].next_offset, INFOS[-1].leader_epoch)
    assert asked == list(range(0, len(SNAPSHOT), 700)) and fetched == [(0, 0), (50, 1)]


def test_a_snapshot_that_is_gone_halfway_is_asked_for_anew() -> None:
    asked: list[int] = []

    def script(position: int) -> bytes:
        asked.append(position)
        return piece(position, b"", error=SNAPSHOT_NOT_FOUND) if len(asked) == 2 else piece(position)

    found, fetched = from_snapshot(script)
    assert found.metadata == whole()
    assert asked[:4] == [0, 700, 0, 700] and fetched == [(0, 0), (0, 0), (50, 1)]


def test_offsets_in_a_snapshot_are_its_own() -> None:
    """A snapshot may have more records than the log had when it was taken: there is a header and a footer."""
    infos, _ = walk(memoryview(SNAPSHOT))
    assert infos[-1].next_offset > 11
    later = log(config_record("retention.bytes", "5", resource="rich"), base=10, epoch=2)

    def fetch(request: Any) -> bytes:
        if place(request)[0] == 0:
            return answer(high_watermark=11, tags=one_tag(2, struct.pack(">qi", 10, 1) + b"\0"))
        return answer(later, high_watermark=11)

    with controllers((lambda: quorum(high_watermark=11), fetch), snapshot=piece) as config:
        found = read_metadata_log(config, "id", wait=lambda seconds: None)
    (topic_,) = [one for one in found.metadata.topics if one.name == "rich"]
    assert ("retention.bytes", "5") in topic_.configs and found.cut == MetadataCut(11, 2)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (lambda position: piece(position + 1, SNAPSHOT[position + 1 :]), "another piece of its snapshot"),
        (lambda position: piece(position, b""), "another piece of its snapshot"),
        (lambda position: piece(position, size=10), "another piece of its snapshot"),
        (lambda position: piece(0, SNAPSHOT[:-5], size=len(SNAPSHOT) - 5), "at offset 50 is not whole"),
        (lambda position: piece(0, SNAPSHOT[:FOOTER], size=FOOTER), "at offset 50 is not whole"),
        (lambda position: piece(0, b"", size=0), "another piece of its snapshot"),
    ],
    ids=["elsewhere", "nothing", "too long", "cut in a batch", "without its footer", "empty"],
)
def test_a_snapshot_that_is_not_whole_is_refused(script: Piece, why: str) -> None:
    with pytest.raises(KafkaProtocolError, match=why):
        from_snapshot(script, retry_seconds=0)


def test_without_a_leader_every_address_is_named() -> None:
    dead = free_port()
    with controllers((lambda: quorum(error=NOT_LEADER), no_fetch)) as config:
        both = ClusterConfig(name="c", bootstrap=(*config.bootstrap, f"127.0.0.1:{dead}"), request_timeout_seconds=5.0)
        with pytest.raises(KafkaUnreachable) as caught:
            read(both, retry_seconds=0)
    assert "no controller that leads was found" in caught.value.message and "controllers" in caught.value.hint
    assert all(address in caught.value.message for address in both.bootstrap)


@pytest.mark.parametrize(
    ("fetch", "error", "why"),
    [
        (lambda request: answer(), KafkaUnreachable, "does not serve the log behind offset 0"),
        (lambda request: answer(error=-1), KafkaRequestError, "UNKNOWN_SERVER_ERROR"),
        (lambda request: b"\0" + struct.pack(">ihi", 0, 0, 0) + uvarint(1) + b"\0", KafkaProtocolError, "0 partitions"),
        (lambda request: answer(FIRST[:-1] + b"\1"), CorruptBatch, "CRC"),
        (
            lambda request: answer(tags=one_tag(2, struct.pack(">qi", 0, 1) + b"\0")),
            KafkaProtocolError,
            "names a snapshot that ends at offset 0, already read",
        ),
    ],
    ids=["nothing", "error", "no partition", "damage", "snapshot"],
)
def test_what_a_leader_must_not_answer_is_refused(fetch: Fetch, error: type[Exception], why: str) -> None:
    with controllers((quorum, fetch)) as config, pytest.raises(error, match=why):
        read(config, retry_seconds=0)
