"""What a backup is asked to do."""

from __future__ import annotations

from typing import Final

from kafkeep.records import dataclass
from kafkeep.selection import Selection

MIB: Final = 1024 * 1024
_ANSWERS_BYTES: Final = 128 * MIB
_LEAST_ANSWER_BYTES: Final = MIB

CUTS: Final = ("last-stable-offset", "high-watermark")
CONSISTENCIES: Final = ("partitions", "transactions")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOptions:
    topics: tuple[str, ...] = ("*",)
    """Globs, or regular expressions after `re:`."""
    exclude: tuple[str, ...] = ()
    name: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    cut: str = "last-stable-offset"
    """Where each partition ends: one of `CUTS`."""
    consistent: str = "partitions"
    """What a recovery point holds whole, one of `CONSISTENCIES`: with `transactions` each partition ends at its high
    watermark, and the point leaves out what would make a transaction partial."""
    consistent_wait_seconds: float = 30.0
    """How long to look for a moment at which no transaction of a producer is being decided."""
    settings: bool = True
    """Whether points also hold the cluster's settings and permissions. False is for a login that may only read records."""
    credentials: bool = False
    """Whether points also hold secrets in the configs of connectors, and what SCRAM users log in by where the controllers
    are asked."""
    metadata_route: str = "admin"
    """Where settings and permissions come from: one of `controller_reading.ROUTES`."""
    connections_per_broker: int = 2
    fetch_bytes: int = 8 * MIB
    """Most bytes one Fetch response may hold; less where very many connections read at once (`answer_bytes`)."""
    pack_bytes: int = 64 * MIB
    """A pack is closed once it holds this much."""
    range_bytes: int | None = 512 * MIB
    """A partition that is far larger than the others is read in ranges of at most about this, side by side, and of an eighth
    of it at least; None reads each partition as a whole."""
    commit_interval_seconds: float = 10.0
    """Durable packs are committed at least this often while the backup runs."""
    max_bytes_per_second: int | None = None
    """Most that is read from brokers, over all connections and workers."""
    attempts: int = 8
    """How often partitions are tried again, without any progress between, after a leader moved or a broker was lost."""

    def answer_bytes(self, connections: int) -> int:
        """Most bytes of one Fetch response where so many connections read at once. Each holds two responses: all of them
        together take `_ANSWERS_BYTES`, or two of the smallest for each connection where that is more."""
        share = _ANSWERS_BYTES // (2 * max(connections, 1))
        return min(self.fetch_bytes, max(share, _LEAST_ANSWER_BYTES))

    @property
    def selection(self) -> Selection:
        return Selection(self.topics, self.exclude)
