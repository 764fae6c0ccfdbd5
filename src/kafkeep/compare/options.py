"""What a comparison is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from kafkeep.renaming import Rename
from kafkeep.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    topics: tuple[str, ...] = ("*",)
    """Globs, or regular expressions after `re:`, over the source's names."""
    exclude: tuple[str, ...] = ()
    renames: tuple[Rename, ...] = ()
    map_file: str | None = None
    """An offset map written by `restore --offset-map`; otherwise the repository's own record of the restore is used."""
    threads: int = 2
    fetch_bytes: int = 8 * 1024 * 1024
    most_differences: int = 20
    """How many differences are told of each partition; all are counted."""

    @property
    def selection(self) -> Selection:
        return Selection(self.topics, self.exclude)
