"""What would become of the positions of groups: a frozen value made by pure functions, printed by `plan` and taken by
`apply` and `rollback`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from kafkeep.groups.landing import TOLD
from kafkeep.groups.survey import OFFSETS, SHARE, TargetGroup, TargetPartition, kind_of
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.records import dataclass

T = TypeVar("T")

SET, DELETE, UNCHANGED, REFUSED = "set", "delete", "unchanged", "refused"
ACTIONS: Final = (SET, DELETE, UNCHANGED, REFUSED)

NO_LEADER_EPOCH: Final = -1
"""A commit with an epoch the target never had silences Java consumers for good, without an error
(clients/Metadata.java updateLastSeenEpochIfNewer)."""

EXAMPLES: Final = 3
"""So many positions are named in a message about many; the plan itself names all."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a part of the plan is not carried out."""

    kind: str
    """For scripts; docs/groups.md lists them."""
    subject: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPosition:
    """One position of one group on the target."""

    target: TopicPartition
    source: TopicPartition | None
    """None where a file or an earlier job gave the position."""
    committed: int | None
    """What the group had at the source."""
    place: str
    """How `committed` became `offset`: one of `landing.PLACES`."""
    note: str
    offset: int | None
    """Where it goes, or would go if it were not refused; None to have no position, or when nobody can tell."""
    metadata: str
    leader_epoch: int = NO_LEADER_EPOCH
    current: GroupOffset | None
    """What the group has now."""
    action: str
    refusal: str = ""
    """Kind of the refusal when `action` is `refused`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGroup:
    group_id: str
    """On the target."""
    source: str
    """At the source; the same unless renamed."""
    kind: str
    """`offsets` or `share`: by which requests it is set."""
    type: str
    """Of the group on the target, or of the source's where that does not exist yet."""
    state: str
    """Kafka's word; `Dead` is a group that does not exist."""
    delete: bool = False
    """The group itself goes, because it was not there before."""
    positions: tuple[PlannedPosition, ...]

    @property
    def exists(self) -> bool:
        return self.state != "Dead"

    def counted(self, action: str) -> int:
        return sum(position.action == action for position in self.positions)

    @property
    def changes(self) -> bool:
        """True when carrying the plan out does something to the group."""
        return self.delete or any(position.action in (SET, DELETE) for position in self.positions)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsPlan:
    operation: str
    """`apply` or `rollback`."""
    origin: str
    """Where the positions come from, for people: a recovery point, a file, a job."""
    point: int | None
    target_cluster: str
    groups: tuple[PlannedGroup, ...]
    warnings: tuple[str, ...]
    refusals: tuple[Refusal, ...]

    def counted(self, action: str) -> int:
        """How many positions have this action."""
        return sum(group.counted(action) for group in self.groups)

    @property
    def changes(self) -> bool:
        return any(group.changes for group in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPosition:
    """A position that is to be, before it is held against what the group has."""

    target: TopicPartition
    source: TopicPartition | None = None
    committed: int | None = None
    place: str
    note: str = ""
    offset: int | None
    metadata: str | None
    """None: not told; a group that is there already keeps what it has, and one that moves has an empty one."""
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedGroup:
    group_id: str
    source: str
    type: str
    """At the source; `unknown` where nobody says."""
    positions: tuple[WantedPosition, ...]
    refusal: Refusal | None = None
    """For example two groups with one name on the target."""


def plan_group(
    wanted: WantedGroup,
    there: TargetGroup,
    partitions: Callable[[TopicPartition], TargetPartition | None],
    *,
    backwards: bool,
) -> tuple[PlannedGroup, list[Refusal]]:
    """The wanted positions held against what the group has now, with what speaks against it."""
    kind = kind_of(there.type if there.exists and wanted.type == "unknown" else wanted.type)
    refusal = wanted.refusal if wanted.refusal is not None else _group_refusal(there, kind)
    positions = tuple(
        _position(position, there.positions.get(position.target), partitions(position.target), kind, backwards, refusal)
        for position in wanted.positions
    )
    planned = PlannedGroup(
        group_id=wanted.group_id,
        source=wanted.source,
        kind=kind,
        type=there.type if there.exists else wanted.type,
        state=there.state,
        positions=positions,
    )
    return planned, [refusal] if refusal is not None else _backwards_refusal(planned)


def _group_refusal(there: TargetGroup, kind: str) -> Refusal | None:
    subject = f"group {there.group_id}"
    if there.problem is not None:
        return Refusal(there.problem.kind, subject, f"{subject}: {there.problem.message}")
    if there.exists and kind_of(there.type) != kind:
        wrong = "takes no committed offsets" if kind == OFFSETS else "has no start offsets of a share group"
        hint = "Give it another name with --rename-group, or leave it out with --groups."
        return Refusal("plan-refused", subject, f"{subject} is a {there.type} group on the target: it {wrong}", hint)
    return active_refusal(there)


def active_refusal(there: TargetGroup) -> Refusal | None:
    """A broker refuses positions from outside while a group has members (GroupCoordinator, UNKNOWN_MEMBER_ID)."""
    if not there.has_members:
        return None
    subject = f"group {there.group_id}"
    hint = "Stop the group's members first, or leave the group out with --groups."
    return Refusal("group-active", subject, f"{subject} has members on the target (state {there.state})", hint)


def _position(
    wanted: WantedPosition,
    current: GroupOffset | None,
    partition: TargetPartition | None,
    kind: str,
    backwards: bool,
    refusal: Refusal | None,
) -> PlannedPosition:
    action, reason = SET, ""
    if refusal is not None or wanted.refusal or wanted.offset is None:
        action, reason = REFUSED, wanted.refusal if refusal is None else refusal.kind
    elif current is not None and _stays(wanted, current, partition, kind):
        action = UNCHANGED
    elif current is not None and wanted.offset < current.offset and not backwards:
        action, reason = REFUSED, "backwards"
    kept = current.metadata if current is not None and action == UNCHANGED else ""
    return PlannedPosition(
        target=wanted.target,
        source=wanted.source,
        committed=wanted.committed,
        place=wanted.place,
        note=wanted.note,
        offset=wanted.offset,
        metadata=kept if wanted.metadata is None else wanted.metadata,
        current=current,
        action=action,
        refusal=reason,
    )


def _stays(wanted: WantedPosition, current: GroupOffset, partition: TargetPartition | None, kind: str) -> bool:
    if current.offset != wanted.offset:
        return False
    if kind == SHARE:
        return True
    # Right offset, but an epoch from another cluster: Java consumers would fall silent on it.
    foreign = partition is not None and current.leader_epoch > partition.leader_epoch >= 0
    return not foreign and wanted.metadata in (None, current.metadata)


def _backwards_refusal(group: PlannedGroup) -> list[Refusal]:
    found = [position for position in group.positions if position.refusal == "backwards"]
    if not found:
        return []
    subject = f"group {group.group_id}"
    moves = examples(
        found, lambda p: f"{p.target} from {p.current.offset if p.current is not None else None} to {p.offset}"
    )
    message = f"{subject} would move backwards in {len(found)} partition(s): {moves}"
    return [Refusal("backwards", subject, message, "Allow it with --backwards.")]


def told(groups: Iterable[PlannedGroup]) -> list[str]:
    """One warning for each kind of place that is not what a group had, with examples."""
    found: dict[str, list[tuple[PlannedGroup, PlannedPosition]]] = {}
    for group in groups:
        for position in group.positions:
            if position.place in TOLD and position.action in (SET, UNCHANGED):
                found.setdefault(position.place, []).append((group, position))
    return [
        f"{len(moved)} position(s) land at {place}: "
        + examples(moved, lambda m: f"group {m[0].group_id} in {m[1].target} at {m[1].offset}: {m[1].note}")
        for place, moved in sorted(found.items())
    ]


def examples(items: Sequence[T], text: Callable[[T], str]) -> str:
    """The first few items as text, and how many more there are."""
    more = len(items) - EXAMPLES
    return ", ".join(text(item) for item in items[:EXAMPLES]) + (f", and {more} more" if more > 0 else "")
