"""Settings that belong to a moment or to a host and not to what a cluster is meant to be: pure.

They are captured like all others, and never carried over to another cluster.
"""

from __future__ import annotations

from typing import Final

PASSING_TOPIC_SETTINGS: Final = frozenset(
    {"leader.replication.throttled.replicas", "follower.replication.throttled.replicas"}
)
"""State of a running reassignment (KIP-73)."""
PASSING_BROKER_SETTINGS: Final = frozenset(
    {
        "leader.replication.throttled.rate",
        "follower.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    }
)
"""Throttles of a running reassignment (KIP-73, KIP-113)."""
_OF_THE_HOST: Final = frozenset({"listeners", "advertised.listeners", "listener.security.protocol.map", "broker.rack"})


def is_of_the_host(name: str) -> bool:
    """True for broker settings that name addresses, certificates and places of one host."""
    return name in _OF_THE_HOST or name.startswith(("listener.name.", "ssl.keystore.", "ssl.truststore."))
