"""What a restore is asked to do."""

from __future__ import annotations

from typing import Final

from kafkeep.model import TopicPartition
from kafkeep.records import dataclass
from kafkeep.renaming import Rename
from kafkeep.restore.window import CUT, Window
from kafkeep.selection import Selection

MIB: Final = 1024 * 1024

DEFAULT_REPACK: Final = 256 * 1024
LARGEST_REPACK: Final = 1_000_000
"""Kafka takes batches of 1 048 588 bytes unless a topic or a broker says otherwise."""

SMALL_ONES: Final = 1
UP_TO_FULL: Final = 2
"""Which batches a restore puts together: those of few records, which cost little even as Python's own; or all of which
several fit into one, which is a gain where the C helper moves their records."""

EXISTING: Final = ("fail", "append")
RETENTION: Final = ("restore", "hold")
PREFLIGHT: Final = ("data", "exist")
ALLOW_LOSS: Final = ("none", "prefix", "skip")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    topics: tuple[str, ...] = ("*",)
    """Globs, or regular expressions after `re:`, over the source's names."""
    exclude: tuple[str, ...] = ()
    renames: tuple[Rename, ...] = ()
    partitions: tuple[tuple[str, frozenset[int]], ...] = ()
    """(topic, partitions): of these topics only these partitions get records; the others are created empty."""
    until_timestamp: int | None = None
    """No record with a later timestamp (milliseconds); `until_rule` says how that is meant."""
    since_timestamp: int | None = None
    """No record with an earlier timestamp (milliseconds)."""
    until_rule: str = CUT
    """`cut` or `filter`: restore.window says what they do."""
    until_offsets: tuple[tuple[TopicPartition, int], ...] = ()
    """(source partition, offset): it ends before this offset."""
    from_offsets: tuple[tuple[TopicPartition, int], ...] = ()
    """(source partition, offset): it begins at this offset."""
    repartition: tuple[tuple[str, int], ...] = ()
    """(topic of the source, partitions): its records are placed anew, by key, over so many partitions."""
    spool_dir: str | None = None
    """Folder for the records of repartitioned topics on their way; needed where there are such topics."""
    allow_loss: str = "none"
    """Where the archive has a gap: `none` refuses, `prefix` ends the partition in front of its first gap, `skip` leaves
    out the gaps alone."""
    whole_history: bool = False
    """Restore all that the archive covers, also what the source's own retention had removed before the point."""
    route: str = "produce"
    groups: tuple[str, ...] = ("*",)
    """Globs over group ids; none restores no position."""
    existing: str = "fail"
    """What to do where a target topic exists: `fail`, or `append` behind what it holds."""
    replication_factor: int | None = None
    retention: str = "restore"
    """`restore` puts the source's retention back at the end, `hold` leaves it off."""
    preflight: str = "data"
    """What is checked before the first record is produced: every needed byte, or only that every pack is there."""
    connections_per_broker: int = 2
    """A broker answers the requests of a connection one by one: over a second one it checks batches on two cores, and what
    reads and puts together batches for one goes on while the other is sent. Four were slower on two cores."""
    request_bytes: int = 4 * MIB
    """A Produce request holds batches of several partitions, together at most so much: few large ones are faster than
    many."""
    repack_bytes: int = DEFAULT_REPACK
    """Neighbouring small batches go out as one batch of up to this much, at most LARGEST_REPACK; 0 sends every batch as it
    was. Batches of repartitioned topics are made anew in any case."""
    repack_rule: int = SMALL_ONES
    """Which batches are small: `SMALL_ONES` or `UP_TO_FULL`. Part of what decides which batches are sent, so a job keeps the
    one that it was begun with."""
    attempts: int = 10

    @property
    def selection(self) -> Selection:
        return Selection(self.topics, self.exclude)

    @property
    def group_selection(self) -> Selection:
        return Selection(self.groups, hides_internal=False)

    def partitions_of(self, topic: str) -> frozenset[int] | None:
        """The chosen partitions of a topic, None for all."""
        return next((chosen for name, chosen in self.partitions if name == topic), None)

    def repartitioned_to(self, topic: str) -> int | None:
        """The partitions that a topic of the source is spread over; None where each partition stays as it was."""
        return next((count for name, count in self.repartition if name == topic), None)

    @property
    def window(self) -> Window:
        return Window(self.since_timestamp, self.until_timestamp, self.until_rule)
