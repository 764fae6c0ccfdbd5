"""What a comparison is asked to do."""

from __future__ import annotations

from kafkeep.records import dataclass
from kafkeep.renaming import Rename
from kafkeep.selection import Selection


@dataclass(frozen=True, slots=True)
class SampleChoice:
    """Compare a part only: `percent` of the chunks of each partition, always the first and the last."""

    percent: float
    """Above 0 and up to 100."""
    seed: int
    """The same seed chooses the same chunks of the same point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    topics: tuple[str, ...] = ("*",)
    """Globs, or regular expressions after `re:`, over the source's names."""
    exclude: tuple[str, ...] = ()
    renames: tuple[Rename, ...] = ()
    map_file: str | None = None
    """An offset map written by `restore --offset-map`; otherwise the repository's own record of the restore is used."""
    restored_by: str | None = None
    """The restore whose reports are believed whoever signed them, by the object name of its record, or `none`."""
    sample: SampleChoice | None = None
    """None compares everything."""
    spool_dir: str | None = None
    """Folder for the records of repartitioned topics while they are compared; without one these are not compared."""
    threads: int = 2
    fetch_bytes: int = 8 * 1024 * 1024
    piece_bytes: int = 256 * 1024 * 1024
    """A partition of at least twice as much is cut, where its runs meet, into pieces that threads take side by side."""
    most_differences: int = 20
    """How many differences are told of each partition; all are counted."""

    @property
    def selection(self) -> Selection:
        return Selection(self.topics, self.exclude)
