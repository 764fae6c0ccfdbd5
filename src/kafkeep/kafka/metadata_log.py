"""A cluster's metadata out of the controllers' own log, `__cluster_metadata`, at one moment (KIP-595, KIP-630, KIP-631).

The leader of the controllers is asked for the log from its start, and where that is gone for its newest snapshot and the
log behind it, up to the high watermark of the moment at which reading began. Only controllers serve this, at a listener
of their own, and only to logins with CLUSTER_ACTION and DESCRIBE on the cluster (core/server/ControllerApis.scala).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from kafkeep.errors import (
    KafkaAccessDenied,
    KafkaError,
    KafkaProtocolError,
    KafkaRequestError,
    KafkaUnreachable,
    KafkaUnsupported,
    WrongCluster,
)
from kafkeep.events import EventSink, ignore
from kafkeep.inventory import MetadataCut
from kafkeep.kafka.codes import ACCESS_DENIED, ErrorCode, code_name, request_error, retriable
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.connection import Connection, FrameBuffer
from kafkeep.kafka.retry import Retry
from kafkeep.kafka.settings_apis import DESCRIBE_QUORUM
from kafkeep.kafka.standing import METADATA_TOPIC
from kafkeep.kafka.wire import fetch, fetch_snapshot
from kafkeep.kafka.wire.fetch import FetchedPartition, FetchPosition
from kafkeep.kafka.wire.fetch_snapshot import SnapshotPiece
from kafkeep.kafka.wire.metadata_batches import BatchReader
from kafkeep.kafka.wire.metadata_fold import LoggedMetadata, MetadataFold
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.model import TopicPartition
from kafkeep.records import dataclass

METADATA_TOPIC_ID: Final = "AAAAAAAAAAAAAAAAAAAAAQ"
"""clients/common/Uuid.METADATA_TOPIC_ID."""
PIECE_BYTES: Final = 1024 * 1024
_LOG: Final = TopicPartition(METADATA_TOPIC, 0)
_WAIT_MS: Final = 500
_ANOTHER_LEADER: Final = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.BROKER_NOT_AVAILABLE,
    }
)
_SNAPSHOT_GONE: Final = frozenset({ErrorCode.SNAPSHOT_NOT_FOUND, ErrorCode.POSITION_OUT_OF_RANGE})
_LIST_THEM_ALL: Final = "Name every controller in the cluster's key `controllers`: any of them may lead."


@dataclass(frozen=True, slots=True)
class MetadataLog:
    """What the log says, and up to where it was read."""

    metadata: LoggedMetadata
    cut: MetadataCut


class _Again(KafkaRequestError):
    """The reading goes on, from another leader or another snapshot."""

    def __init__(self, message: str, code: int, *, anew: bool = False) -> None:
        super().__init__(message, code=code, name=code_name(code), retryable=True)
        self.anew = anew
        """Whether what was read so far is of no use."""


def read_metadata_log(
    controllers: ClusterConfig,
    cluster_id: str,
    *,
    sink: EventSink = ignore,
    retry_seconds: float | None = None,
    piece_bytes: int = PIECE_BYTES,
    wait: Callable[[float], None] = time.sleep,
) -> MetadataLog:
    """The metadata of the cluster `cluster_id` at one moment.

    Args:
        controllers: How to reach the controllers' listener; `bootstrap` names all of them.
        retry_seconds: Budget for elections and lost connections; the request timeout when None.
        piece_bytes: Most bytes of one answer. Memory is a few of these, and the state itself.

    Raises:
        KafkaAccessDenied: the login lacks CLUSTER_ACTION, or DESCRIBE, on the cluster; the message names which.
        KafkaUnreachable: no controller answers, or none that is named leads.
        KafkaUnsupported: what answers is no controller, or writes records that this release cannot read.
        WrongCluster: the controllers are of another cluster.
        KafkaLoginError, KafkaProtocolError, KafkaRequestError, CorruptBatch: as the names say.
    """
    seconds = controllers.request_timeout_seconds if retry_seconds is None else retry_seconds
    retry = Retry("read the controllers' log", seconds=seconds, sink=sink, wait=wait)
    reading = _Reading()
    while True:
        try:
            with _find_leader(controllers, cluster_id, piece_bytes) as leader:
                return reading.go_on(leader)
        except KafkaError as error:
            if isinstance(error, _Again) and error.anew:
                reading = _Reading()
            if not error.retryable or not retry.again(error.message):
                raise


class _Reading:
    """How far the log was read; what is committed is never taken back, so another leader goes on from there."""

    def __init__(self) -> None:
        self._fold = MetadataFold()
        self._batches = BatchReader(self._fold)
        self._next_offset = 0
        # A Fetch below the log's start is only understood with an epoch that may have been (KafkaRaftClient).
        self._epoch = 0

    def go_on(self, leader: _Leader) -> MetadataLog:
        while self._next_offset < leader.high_watermark:
            before = self._next_offset
            answer = leader.fetch(before, self._epoch)
            if answer.snapshot is not None:
                self._load(leader, answer.snapshot)
            elif answer.diverging is not None:
                raise _Again(f"{leader.peer} has another history", ErrorCode.FENCED_LEADER_EPOCH, anew=True)
            else:
                self._take(answer)
            if self._next_offset == before:
                raise KafkaUnreachable(f"{leader.peer} does not serve the log behind offset {before}")
        if self._fold.undecided:
            raise KafkaUnreachable(f"{leader.peer} is in the middle of a metadata transaction")
        return MetadataLog(self._fold.result(), MetadataCut(self._next_offset, self._epoch))

    def _take(self, answer: FetchedPartition) -> None:
        # Leaders serve what is not yet on a majority of the controllers too: it may still be taken back.
        self._batches.read(answer.records, below=answer.high_watermark)
        if self._batches.last is not None:
            self._next_offset, self._epoch = self._batches.last

    def _load(self, leader: _Leader, snapshot: tuple[int, int]) -> None:
        """A snapshot holds everything up to its end offset: what was read before is let go."""
        end_offset, epoch = snapshot
        if end_offset <= self._next_offset:
            raise KafkaProtocolError(f"{leader.peer} names a snapshot that ends at offset {end_offset}, already read")
        fold = MetadataFold()
        batches = BatchReader(fold)
        rest = b""
        position, size = 0, 1
        while position < size:
            piece = leader.snapshot(snapshot, position)
            if piece.position != position or not piece.data or piece.size < position + len(piece.data):
                raise KafkaProtocolError(f"{leader.peer} serves another piece of its snapshot than was asked for")
            position, size = position + len(piece.data), piece.size
            whole = rest + bytes(piece.data)
            rest = whole[batches.read(memoryview(whole)) :]
        if rest or not batches.snapshot_ended:
            raise KafkaProtocolError(f"the snapshot of {leader.peer} at offset {end_offset} is not whole")
        batches.last = self._next_offset, self._epoch = end_offset, epoch
        self._fold, self._batches = fold, batches


class _Leader:
    """A connection to the controller that leads, for one thread."""

    def __init__(
        self, connection: Connection, cluster_id: str, piece_bytes: int, epoch: int, high_watermark: int
    ) -> None:
        self.peer = connection.peer
        self.high_watermark = high_watermark
        self._connection = connection
        self._cluster_id = cluster_id
        self._piece_bytes = piece_bytes
        self._epoch = epoch
        self._buffer = FrameBuffer(piece_bytes + 64 * 1024)

    def __enter__(self) -> _Leader:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def fetch(self, offset: int, last_epoch: int) -> FetchedPartition:
        """The next batches, or where to go instead; its views are valid until the second call after this one."""
        version = self._connection.version(fetch.API_KEY, fetch.TOPIC_IDS, fetch.HIGHEST)
        position = FetchPosition(_LOG, METADATA_TOPIC_ID, offset, self._epoch, last_epoch)
        body = fetch.encode_fetch(
            version,
            [position],
            max_wait_ms=_WAIT_MS,
            response_bytes=self._piece_bytes,
            partition_bytes=self._piece_bytes,
            read_committed=False,
            cluster_id=self._cluster_id,
        )
        what = f"fetch the controllers' log from {self.peer}"
        reader = self._ask(fetch.API_KEY, version, body, what)
        expected = {(fetch.topic_key(version, position), 0): _LOG}
        _, error, partitions = fetch.decode_fetch(version, reader, expected)
        _check(error, what)
        if len(partitions) != 1:
            raise KafkaProtocolError(f"{what}: {len(partitions)} partitions instead of one")
        _check(partitions[0].error, what)
        return partitions[0]

    def snapshot(self, snapshot: tuple[int, int], position: int) -> SnapshotPiece:
        """The next piece of a snapshot; its view is valid until the second call after this one."""
        version = self._connection.version(fetch_snapshot.API_KEY, fetch_snapshot.LOWEST, fetch_snapshot.HIGHEST)
        body = fetch_snapshot.encode_fetch_snapshot(
            METADATA_TOPIC,
            snapshot,
            position,
            leader_epoch=self._epoch,
            piece_bytes=self._piece_bytes,
            cluster_id=self._cluster_id,
        )
        what = f"fetch a snapshot of the controllers' log from {self.peer}"
        piece = fetch_snapshot.decode_fetch_snapshot(self._ask(fetch_snapshot.API_KEY, version, body, what))
        _check(piece.request_error, what)
        _check(piece.error, what)
        return piece

    def _ask(self, api_key: int, version: int, body: bytes, what: str) -> Reader:
        self._connection.send(api_key, version, [body])
        _, answer = self._connection.receive(self._buffer, patience_seconds=_WAIT_MS / 1000)
        return Reader(answer, what)


def _check(code: int, what: str) -> None:
    if not code:
        return
    if code in ACCESS_DENIED:
        raise KafkaAccessDenied(f"{what}: {code_name(code)} ({code}); this login lacks CLUSTER_ACTION on the cluster")
    if code == ErrorCode.INCONSISTENT_CLUSTER_ID:
        raise WrongCluster(f"{what}: the controllers named in the settings are of another cluster")
    if code in _ANOTHER_LEADER or code in _SNAPSHOT_GONE:
        raise _Again(f"{what}: {code_name(code)} ({code})", code)
    raise request_error(code, what)


def _find_leader(controllers: ClusterConfig, cluster_id: str, piece_bytes: int) -> _Leader:
    """Asks one controller after the other who leads: only the one that does describes the quorum."""
    reasons: list[KafkaError] = []
    for host, port in controllers.addresses:
        try:
            connection = Connection.open(controllers, host, port)
        except KafkaUnreachable as error:
            reasons.append(error)
            continue
        try:
            found = _quorum(connection)
        except KafkaUnreachable as error:
            connection.close()
            reasons.append(error)
        except BaseException:
            connection.close()
            raise
        else:
            epoch, high_watermark = found
            return _Leader(connection, cluster_id, piece_bytes, epoch, high_watermark)
    if len(reasons) == 1:
        raise reasons[0]
    told = "; ".join(reason.message for reason in reasons)
    raise KafkaUnreachable(f"no controller that leads was found: {told}", hint=_LIST_THEM_ALL)


def _quorum(connection: Connection) -> tuple[int, int]:
    """Epoch and high watermark of the quorum; KafkaUnreachable when this controller does not lead it."""
    try:
        connection.version(fetch_snapshot.API_KEY, fetch_snapshot.LOWEST, fetch_snapshot.HIGHEST)
    except KafkaUnsupported as error:
        raise KafkaUnsupported(
            f"{connection.peer} is no controller's listener: it serves no snapshots of the controllers' log",
            hint="Brokers' listeners do not serve it: `controllers` names the listeners of controller.listener.names.",
        ) from error
    what = f"describe the quorum at {connection.peer}"
    version = connection.version(DESCRIBE_QUORUM.key, DESCRIBE_QUORUM.lowest, DESCRIBE_QUORUM.highest)
    body = {"topics": [{"topic_name": METADATA_TOPIC, "partitions": [{"partition_index": 0}]}]}
    connection.send(DESCRIBE_QUORUM.key, version, [DESCRIBE_QUORUM.encode(version, body)])
    answer = DESCRIBE_QUORUM.decode(version, connection.receive(FrameBuffer())[1])
    partitions = [partition for topic in answer.topics for partition in topic.partitions]
    code = answer.error_code or next((partition.error_code for partition in partitions if partition.error_code), 0)
    if code in ACCESS_DENIED:
        raise KafkaAccessDenied(f"{what}: {code_name(code)} ({code}); this login lacks DESCRIBE on the cluster")
    if code in _ANOTHER_LEADER or (code and retriable(code)):
        message = f"{connection.peer} does not lead: {code_name(code)} ({code})"
        raise KafkaUnreachable(message, hint=_LIST_THEM_ALL)
    if code:
        raise request_error(code, what)
    if len(partitions) != 1:
        raise KafkaProtocolError(f"{what}: {len(partitions)} partitions instead of one")
    if partitions[0].high_watermark < 0:
        raise KafkaUnreachable(f"{connection.peer} leads since a moment ago and knows no high watermark yet")
    return partitions[0].leader_epoch, partitions[0].high_watermark
