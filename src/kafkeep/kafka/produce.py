"""Raw batches to many partitions of one broker, for one thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from kafkeep.errors import KafkaProtocolError
from kafkeep.events import EventSink, ignore
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.connection import Connection, FrameBuffer
from kafkeep.kafka.throttle import Throttle
from kafkeep.kafka.wire import produce as wire
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.kafka.wire.produce import ProduceBatch, ProducedBatch
from kafkeep.model import NO_TOPIC_ID, TopicPartition

__all__ = ["BrokerProducer", "ProduceBatch", "ProducedBatch"]

MOST_OUTSTANDING: Final = 5
_ANSWER_BYTES: Final = 64 * 1024
_LARGEST_ANSWER: Final = 16 * 1024 * 1024


class _Sent(NamedTuple):
    version: int
    partitions: dict[tuple[wire.TopicKey, int], TopicPartition]


class BrokerProducer:
    """Sends batches as they are; sequences, retries and order between requests are the caller's.

    After any error except ValueError the object is dead: close it, and open a new one. Whether the outstanding requests
    were carried out is then unknown: repeat them with the same producer id and sequences.
    """

    def __init__(
        self,
        config: ClusterConfig,
        host: str,
        port: int,
        *,
        acks: int = -1,
        timeout_ms: int = 30_000,
        sink: EventSink = ignore,
    ) -> None:
        """Connects.

        Args:
            acks: -1 for all in-sync replicas, 1 for the leader alone; 0 is refused, for there would be no answers.
            timeout_ms: How long the broker may wait for the replicas.

        Raises:
            ValueError: for other `acks`.
            KafkaUnreachable, KafkaLoginError, KafkaProtocolError: as `Connection.open`.
        """
        if acks not in (-1, 1):
            raise ValueError(f"acks must be -1 or 1, not {acks}")
        self._acks = acks
        self._timeout_ms = timeout_ms
        self._buffer = FrameBuffer(_ANSWER_BYTES)
        self._sent: deque[_Sent] = deque()
        self._connection = Connection.open(config, host, port, largest_frame=_LARGEST_ANSWER)
        self._throttle = Throttle(f"produce to {self._connection.peer}", sink)

    @property
    def outstanding(self) -> int:
        """Requests sent whose answers have not been received."""
        return len(self._sent)

    def send(self, batches: Sequence[ProduceBatch]) -> None:
        """Sends the batches in one request, once the broker's throttling allows; the bytes are sent when this returns.

        Raises:
            ValueError: with no batches, a partition twice (the broker would silently keep only the last), or five
                requests outstanding already.
            KafkaUnsupported: when the broker speaks no version that takes topics without an id.
            KafkaUnreachable: when the connection is lost.
        """
        if len(self._sent) >= MOST_OUTSTANDING:
            raise ValueError(f"{MOST_OUTSTANDING} produce requests are outstanding already")
        with_ids = all(batch.topic_id != NO_TOPIC_ID for batch in batches)
        highest = wire.HIGHEST if with_ids else wire.TOPIC_IDS - 1
        version = self._connection.version(wire.API_KEY, wire.LOWEST, highest)
        partitions = {
            (wire.topic_key(version, batch), batch.topic_partition.partition): batch.topic_partition
            for batch in batches
        }
        if not batches or len(partitions) != len(batches):
            raise ValueError("a produce request needs at least one batch, and one per partition only")
        parts = wire.encode_produce(version, batches, acks=self._acks, timeout_ms=self._timeout_ms)
        self._throttle.wait()
        self._connection.send(wire.API_KEY, version, parts)
        self._sent.append(_Sent(version, partitions))

    def receive(self) -> tuple[ProducedBatch, ...]:
        """The answers to the oldest outstanding request, in the order its batches were given.

        Raises:
            ValueError: when nothing is outstanding.
            KafkaUnreachable: when the connection is lost or the broker stays silent.
            KafkaProtocolError: when the answer is not one.
        """
        if not self._sent:
            raise ValueError("no produce request is outstanding")
        version, partitions = self._sent.popleft()
        patience = self._timeout_ms / 1000 + self._throttle.left()
        _, body = self._connection.receive(self._buffer, patience_seconds=patience)
        try:
            reader = Reader(body, f"answer of {self._connection.peer} to a produce request")
            throttle_ms, answers = wire.decode_produce(version, reader, partitions)
        except KafkaProtocolError:
            self.close()
            raise
        self._throttle.told(throttle_ms)
        return answers

    def close(self) -> None:
        """Closes the connection; closing twice is allowed."""
        self._connection.close()

    def __enter__(self) -> BrokerProducer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
