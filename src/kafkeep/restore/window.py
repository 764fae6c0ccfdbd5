"""Which records of a partition a restore wants by their timestamps: pure.

The timestamp of a record is the one a consumer is shown: the append time where the topic keeps append times, else the
time its producer gave it. Times may run backwards from record to record.
"""

from __future__ import annotations

from typing import Final

from kafkeep.records import dataclass

CUT: Final = "cut"
"""From the first record that is not too early to the one in front of the first that is too late: one piece of the log."""
FILTER: Final = "filter"
"""Exactly the records with `since <= timestamp <= until`, wherever they lie."""
RULES: Final = (CUT, FILTER)


@dataclass(frozen=True, slots=True)
class Window:
    """Milliseconds, both ends included; None leaves that side open."""

    since: int | None = None
    until: int | None = None
    rule: str = CUT

    @property
    def is_open(self) -> bool:
        """True when every record is wanted."""
        return self.since is None and self.until is None

    @property
    def may_end(self) -> bool:
        """True when a partition can be over before its last record."""
        return self.until is not None and self.rule == CUT

    def is_late(self, timestamp: int) -> bool:
        return self.until is not None and timestamp > self.until

    def is_early(self, timestamp: int) -> bool:
        return self.since is not None and timestamp < self.since


EVERYTHING: Final = Window()
