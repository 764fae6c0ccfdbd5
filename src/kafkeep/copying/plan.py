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
    keys: tuple[str, ...]
    """Wrapped keys and slots of an encrypted repository."""
    surplus: tuple[str, ...]
    """Packs of the target that the source has given up, keys of topics that were shredded and of recipients removed."""

    @property
    def commits(self) -> int:
        return self.head - self.target_head

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
