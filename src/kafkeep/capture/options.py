"""What a backup is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kafkeep.selection import Selection

MIB: Final = 1024 * 1024

CUTS: Final = ("last-stable-offset", "high-watermark")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOptions:
    topics: tuple[str, ...] = ("*",)
    """Globs, or regular expressions after `re:`."""
    exclude: tuple[str, ...] = ()
    name: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    cut: str = "last-stable-offset"
    """Where each partition ends: one of `CUTS`."""
    connections_per_broker: int = 2
    fetch_bytes: int = 4 * MIB
    """Most bytes one Fetch response may hold."""
    pack_bytes: int = 64 * MIB
    """A pack is closed once it holds this much."""
    commit_interval_seconds: float = 10.0
    """Durable packs are committed at least this often while the backup runs."""
    attempts: int = 8
    """How often partitions are tried again, without any progress between, after a leader moved or a broker was lost."""

    @property
    def selection(self) -> Selection:
        return Selection(self.topics, self.exclude)
