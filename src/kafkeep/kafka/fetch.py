"""Raw batches of many partitions of one broker, for one thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from kafkeep import native
from kafkeep.errors import KafkaProtocolError
from kafkeep.events import EventSink, ignore
from kafkeep.kafka.codes import request_error
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.connection import LARGEST_FRAME, Connection, FrameBuffer
from kafkeep.kafka.throttle import Throttle
from kafkeep.kafka.wire import fetch as wire
from kafkeep.kafka.wire.fetch import FetchedPartition, FetchPosition
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.model import NO_TOPIC_ID, TopicPartition

__all__ = ["BrokerFetcher", "FetchPosition", "FetchedPartition"]

DEFAULT_RESPONSE_BYTES: Final = 8 * 1024 * 1024
MOST_OUTSTANDING: Final = 2
_HEADER_ROOM: Final = 64 * 1024
"""What an answer holds besides records, as a rule."""


_PAGE: Final = 4096


class _Asked(NamedTuple):
    version: int
    partitions: dict[tuple[wire.TopicKey, int], TopicPartition]


class BrokerFetcher:
    """Fetches without sessions (KIP-227): each request names all it wants and is served in that order.

    After any error except ValueError the object is dead: close it and open a new one.
    """

    def __init__(
        self,
        config: ClusterConfig,
        host: str,
        port: int,
        *,
        read_committed: bool = True,
        response_bytes: int = DEFAULT_RESPONSE_BYTES,
        partition_bytes: int | None = None,
        max_wait_ms: int = 500,
        sink: EventSink = ignore,
    ) -> None:
        """Connects.

        Args:
            read_committed: Up to the last stable offset, with the aborted list; else up to the high watermark.
            response_bytes: Records per answer. A first batch that is larger comes whole nevertheless.
            partition_bytes: Records per partition and answer; None is the same as `response_bytes`.
            max_wait_ms: How long the broker waits when there is nothing new.

        Raises:
            KafkaUnreachable, KafkaLoginError, KafkaProtocolError: as `Connection.open`.
        """
        self._read_committed = read_committed
        self._response_bytes = response_bytes
        self._partition_bytes = response_bytes if partition_bytes is None else partition_bytes
        self._max_wait_ms = max_wait_ms
        self._buffer = FrameBuffer(response_bytes + _HEADER_ROOM)
        self._records_at = 0
        """How far behind a page's beginning the records of the last answer would have begun, had its frame begun at one."""
        self._asked: deque[_Asked] = deque()
        largest = max(2 * response_bytes, LARGEST_FRAME)
        self._connection = Connection.open(config, host, port, largest_frame=largest)
        self._throttle = Throttle(f"fetch from {self._connection.peer}", sink)

    @property
    def outstanding(self) -> int:
        """Requests sent whose answers have not been received."""
        return len(self._asked)

    def send(self, positions: Sequence[FetchPosition], *, response_bytes: int | None = None) -> None:
        """Asks for the partitions in the order given, once the broker's throttling allows.

        Raises:
            ValueError: with no positions, a partition twice, or two requests outstanding already.
            KafkaUnsupported: when the broker speaks no version that serves topics without an id.
            KafkaUnreachable: when the connection is lost.
        """
        if len(self._asked) >= MOST_OUTSTANDING:
            raise ValueError(f"{MOST_OUTSTANDING} fetches are outstanding already")
        with_ids = all(position.topic_id != NO_TOPIC_ID for position in positions)
        highest = wire.HIGHEST if with_ids else wire.TOPIC_IDS - 1
        version = self._connection.version(wire.API_KEY, wire.LOWEST, highest)
        partitions = {
            (wire.topic_key(version, position), position.topic_partition.partition): position.topic_partition
            for position in positions
        }
        if not positions or len(partitions) != len(positions):
            raise ValueError("a fetch needs at least one partition, and each only once")
        body = wire.encode_fetch(
            version,
            positions,
            max_wait_ms=self._max_wait_ms,
            response_bytes=self._response_bytes if response_bytes is None else response_bytes,
            partition_bytes=self._partition_bytes,
            read_committed=self._read_committed,
        )
        self._throttle.wait()
        self._connection.send(wire.API_KEY, version, [body])
        self._asked.append(_Asked(version, partitions))

    def align(self, place: int) -> None:
        """The first records of the next answer are to begin as far behind a page of memory as `place` is behind a
        multiple of its size, so that a file can take them from there. They do when its head is as long as the last one's.
        """
        self._buffer.lead = (place - self._records_at) % _PAGE

    def receive(self) -> tuple[FetchedPartition, ...]:
        """The oldest outstanding answer; its views stay valid until the second `receive` after this one.

        A throttled broker answers with no partitions at all: not the end of the data, ask again.

        Raises:
            ValueError: when nothing is outstanding.
            KafkaUnreachable: when the connection is lost or the broker stays silent.
            KafkaProtocolError: when the answer is not one.
            KafkaRequestError: when the broker refuses the request as a whole.
        """
        if not self._asked:
            raise ValueError("no fetch is outstanding")
        version, partitions = self._asked.popleft()
        patience = self._max_wait_ms / 1000 + self._throttle.left()
        _, body = self._connection.receive(self._buffer, patience_seconds=patience)
        what = f"fetch from {self._connection.peer}"
        try:
            throttle_ms, error, fetched = wire.decode_fetch(version, Reader(body, what), partitions)
        except KafkaProtocolError:
            self.close()
            raise
        if error:
            self.close()
            raise request_error(error, what)
        self._throttle.told(throttle_ms)
        if native.address is not None and fetched:
            self._records_at = (native.address(fetched[0].records) - self._buffer.lead) % _PAGE
        return fetched

    def fetch(self, positions: Sequence[FetchPosition]) -> tuple[FetchedPartition, ...]:
        """`send` and `receive`, with nothing else outstanding."""
        if self._asked:
            raise ValueError("a fetch is outstanding: receive it first")
        self.send(positions)
        return self.receive()

    def close(self) -> None:
        """Closes the connection; closing twice is allowed."""
        self._connection.close()

    def __enter__(self) -> BrokerFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
