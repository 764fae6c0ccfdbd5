"""Telling an empty answer of a broker from one that came too late out of its remote tier."""

from __future__ import annotations

from typing import Final

from kafkeep.errors import KafkaUnsupported
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import TopicPartition

EARLIEST_LOCAL: Final = -4
"""ListOffsets' special timestamp for the first offset on the leader's own disk (KIP-405)."""


def is_on_leader(cluster: Cluster, partition: TopicPartition, offset: int) -> bool:
    """True when the leader reads `offset` from its own disk, so that an answer without records means that there are none.

    A read out of the remote tier that takes longer than the broker waits is answered without records and without an
    error (core/server/DelayedRemoteFetch.scala). Brokers too old to know the question have no remote tier.
    """
    try:
        answer = cluster.offsets([partition], EARLIEST_LOCAL)[partition]
    except KafkaUnsupported:
        return True
    return not answer.error and answer.offset <= offset
