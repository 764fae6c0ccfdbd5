"""What a plan of group positions is asked for."""

from __future__ import annotations

from typing import Final

from kafkeep.records import dataclass
from kafkeep.renaming import Rename
from kafkeep.selection import Selection

IN_GAP: Final = ("refuse", "next")
"""What becomes of a position in a declared gap: it is refused, or moves to the first record behind the gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    groups: tuple[str, ...] = ("*",)
    """Globs, or regular expressions after `re:`, over the source's group ids."""
    topics: tuple[str, ...] = ("*",)
    """The same over the source's topics: positions on others are left alone."""
    exclude: tuple[str, ...] = ()
    renames: tuple[Rename, ...] = ()
    """Of topics, as at the restore."""
    group_renames: tuple[Rename, ...] = ()
    map_file: str | None = None
    """An offset map written by `restore --offset-map`; otherwise the repository's own record of the restore is used."""
    restored_by: str | None = None
    """The restore whose reports are believed whoever signed them, by the object name of its record, or `none`."""
    backwards: bool = False
    """Positions may move to an earlier offset than the group has now."""
    in_gap: str = "refuse"

    @property
    def selection(self) -> Selection:
        return Selection(self.topics, self.exclude)

    @property
    def group_selection(self) -> Selection:
        return Selection(self.groups, hides_internal=False)
