"""What copying will do, as values, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass


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
    packs: tuple[tuple[str, int], ...]
    """(name, bytes) of what the target lacks."""
    documents: tuple[str, ...]
    reports: tuple[str, ...]
    surplus: tuple[str, ...]
    """Packs of the target that the source has given up."""

    @property
    def commits(self) -> int:
        return self.head - self.target_head

    @property
    def pack_bytes(self) -> int:
        return sum(size for _, size in self.packs)

    @property
    def nothing_to_do(self) -> bool:
        return not (self.commits or self.packs or self.documents or self.reports)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    plan: CopyPlan
    packs: int
    bytes: int
    """Of packs."""
    deleted: int
    """Packs of the target that the source had given up."""
