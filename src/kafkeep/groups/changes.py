"""What carrying out a plan does to each group, and how it is taken back: pure."""

from __future__ import annotations

from kafkeep.groups.plan import DELETE, SET, GroupsPlan, PlannedGroup, PlannedPosition
from kafkeep.groups.survey import SHARE
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True)
class PositionChange:
    """One position from what it is to what it is to be; None is none."""

    target: TopicPartition
    before: GroupOffset | None
    after: GroupOffset | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """All that is done to one group, and all that is needed to take it back."""

    group_id: str
    kind: str
    existed: bool
    """False: the group is made by this change."""
    delete: bool
    """The group is to be gone afterwards."""
    positions: tuple[PositionChange, ...]

    def inverse(self) -> GroupChange:
        """The change that takes this one back."""
        return GroupChange(
            group_id=self.group_id,
            kind=self.kind,
            existed=not self.delete,
            delete=not self.existed,
            positions=tuple(PositionChange(p.target, p.after, p.before) for p in self.positions),
        )


def changes_of(plan: GroupsPlan) -> tuple[GroupChange, ...]:
    """The groups that a plan changes, in its order."""
    return tuple(_change(group) for group in plan.groups if group.changes)


def _change(group: PlannedGroup) -> GroupChange:
    return GroupChange(
        group_id=group.group_id,
        kind=group.kind,
        existed=group.exists,
        delete=group.delete,
        positions=tuple(
            PositionChange(position.target, position.current, _after(position))
            for position in group.positions
            if position.action in (SET, DELETE)
        ),
    )


def _after(position: PlannedPosition) -> GroupOffset | None:
    if position.action == DELETE or position.offset is None:
        return None
    return GroupOffset(position.target, position.offset, position.leader_epoch, position.metadata)


def same_place(kind: str, found: GroupOffset | None, wanted: GroupOffset | None) -> bool:
    """True when a position is what was wanted: offset and metadata string. Share groups have no strings."""
    if found is None or wanted is None:
        return found is wanted
    return found.offset == wanted.offset and (kind == SHARE or found.metadata == wanted.metadata)
