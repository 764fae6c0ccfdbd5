"""From positions that a file gives to a plan: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafkeep.groups.landing import GIVEN
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.plan import GroupsPlan, PlannedGroup, Refusal, WantedGroup, WantedPosition, examples, plan_group
from kafkeep.groups.survey import OFFSETS, SHARE, UNKNOWN_TYPE, GroupsSurvey, TargetPartition
from kafkeep.model import TopicPartition
from kafkeep.position_files import FilePosition


def kinds_of(positions: Sequence[FilePosition]) -> dict[str, str]:
    """Each group of the file and by which requests it is set."""
    return {position.group_id: SHARE if position.share else OFFSETS for position in positions}


def plan_file(name: str, positions: Sequence[FilePosition], survey: GroupsSurvey, options: GroupOptions) -> GroupsPlan:
    """Exactly what the file says, held against what the groups have; an offset outside of its log is refused."""
    by_group: dict[str, list[FilePosition]] = {}
    for position in positions:
        by_group.setdefault(position.group_id, []).append(position)
    groups: list[PlannedGroup] = []
    refusals: list[Refusal] = []
    for group_id, mine in sorted(by_group.items()):
        wanted = WantedGroup(
            group_id=group_id,
            source=group_id,
            type=SHARE if mine[0].share else UNKNOWN_TYPE,
            positions=tuple(_wanted(position, survey.partitions) for position in mine),
        )
        planned, against = plan_group(
            wanted, survey.groups[group_id], survey.partitions.get, backwards=options.backwards
        )
        groups.append(planned)
        refusals += against
    return GroupsPlan(
        operation="apply",
        origin=f"file {name}",
        point=None,
        target_cluster=survey.cluster_id,
        groups=tuple(groups),
        warnings=(),
        refusals=(*refusals, *_missing(survey.partitions), *_outside(groups)),
    )


def _wanted(position: FilePosition, partitions: Mapping[TopicPartition, TargetPartition]) -> WantedPosition:
    there = partitions[position.target]
    note = refusal = ""
    if there.problem is not None:
        refusal = there.problem.kind
    elif not there.log_start <= position.offset <= there.log_end:
        note, refusal = f"the log holds [{there.log_start}, {there.log_end})", "outside-log"
    return WantedPosition(
        target=position.target,
        place=GIVEN,
        note=note,
        offset=position.offset,
        metadata=position.metadata,
        refusal=refusal,
    )


def _missing(partitions: Mapping[TopicPartition, TargetPartition]) -> list[Refusal]:
    found = {
        (there.problem.kind, tp.topic): there.problem.message
        for tp, there in sorted(partitions.items(), reverse=True)
        if there.problem is not None
    }
    return [Refusal(kind, f"topic {topic}", message) for (kind, topic), message in sorted(found.items())]


def _outside(groups: Sequence[PlannedGroup]) -> list[Refusal]:
    found: list[Refusal] = []
    for group in groups:
        outside = [position for position in group.positions if position.refusal == "outside-log"]
        if outside:
            subject = f"group {group.group_id}"
            text = examples(outside, lambda p: f"{p.target} at {p.offset}, {p.note}")
            hint = "A broker would take it, and consumers would start where auto.offset.reset says. Correct the file."
            found.append(Refusal("outside-log", subject, f"{subject} would stand outside of its log: {text}", hint))
    return found
