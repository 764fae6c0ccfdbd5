"""What copying will do, as values, and what became of it."""

from __future__ import annotations

from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    repository: str
    source: str
    target: str
    """Where the two lie, for people."""
    head: int
    """The commit that the copy will reach."""
    target_head: int
    """The commit that it has reached, -1 for none."""
    begins: int = 0
    """From this commit on the source has all of them: it saved a state, or is commit 0."""
    milestones: tuple[int, ...] = ()
    """Commits before that one that the target lacks and that are never deleted."""
    packs: tuple[tuple[str, int], ...]
    """(name, bytes) of what the target lacks."""
    documents: tuple[str, ...]
    reports: tuple[str, ...]
    keys: tuple[str, ...]
    """Wrapped keys and slots of an encrypted repository."""
    surplus: tuple[str, ...]
    """Packs of the target that the source has given up, keys of topics that were shredded and of recipients removed."""

    @property
    def first(self) -> int:
        """The first of the commits to be copied in a row."""
        return self.target_head + 1 if self.target_head >= self.begins else self.begins

    @property
    def commits(self) -> int:
        return self.head - self.first + 1 + len(self.milestones)

    @property
    def pack_bytes(self) -> int:
        return sum(size for _, size in self.packs)

    @property
    def nothing_to_do(self) -> bool:
        return not (self.commits or self.packs or self.documents or self.reports or self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    plan: CopyPlan
    packs: int
    bytes: int
    """Of packs."""
    deleted: int
    """Objects of the target that the source had given up."""
