"""The states that admins saved in a log, as values: since when each is there, and what it stands for. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime

from kafkeep.records import dataclass
from kafkeep.repository.names import MILESTONE, next_milestone
from kafkeep.repository.nouns import parse_time
from kafkeep.repository.state import RootRef


@dataclass(frozen=True, slots=True)
class NamedState:
    """A state that a commit of the log saved."""

    number: int
    document: str
    finished: str
    """By its writer's clock, RFC 3339."""
    stored: datetime | None
    """By the store's clock, where it tells."""
    signer: str | None
    """Id of the key that its commit is signed with."""

    @property
    def ref(self) -> RootRef:
        return RootRef(self.number, self.document)

    @property
    def since(self) -> datetime:
        """The later of both times: a clock that is wrong makes it younger, never older."""
        told = parse_time(self.finished)
        return told if self.stored is None else max(told, self.stored)


def may_be_trimmed(number: int, saved: int, head: int) -> bool:
    """Whether a commit may be absent where the state saved by commit `saved` stands for it (docs/format.md, section 9)."""
    return 0 < number < saved and number % MILESTONE != 0 and next_milestone(number) <= head


def is_dense(present: Sequence[int], first: int, last: int) -> bool:
    """Whether rising numbers hold all from `first` to `last`."""
    low, high = bisect_left(present, first), bisect_left(present, last)
    return high - low == last - first and high < len(present) and present[high] == last
