"""The recipes: a plan from a recovery point, from a file or from an earlier job, and carrying it out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from kafkeep.errors import GroupActive, NothingToDo, PlanRefused
from kafkeep.events import EventSink, Stage, Warned, WorkPlanned, ignore
from kafkeep.groups.carry_out import OPERATION, Carried, carry_out
from kafkeep.groups.changes import changes_of
from kafkeep.groups.from_file import kinds_of, plan_file
from kafkeep.groups.from_point import Chosen, PartitionContent, choose, plan_point
from kafkeep.groups.inspect import survey
from kafkeep.groups.job import begin_job, find_job, finish_job
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.plan import REFUSED, UNCHANGED, GroupsPlan, Refusal
from kafkeep.groups.result import GroupsResult
from kafkeep.groups.survey import kind_of
from kafkeep.groups.undo import plan_rollback
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import RecoveryPoint, TopicPartition
from kafkeep.point_documents import metadata_of
from kafkeep.position_files import FilePosition
from kafkeep.repository.repository import Repository
from kafkeep.restore_reports import RestoresTold, mapped_in_file, told_by_restores

TOLD_REFUSALS = 5


def prepare(
    cluster: Cluster,
    repository: Repository,
    point: RecoveryPoint,
    options: GroupOptions,
    *,
    sink: EventSink = ignore,
) -> GroupsPlan:
    """Where every position of the point belongs on the cluster; changes nothing.

    Raises `NothingToDo` when no group of the point is chosen, `UsageError` for a map that cannot be read, and what the
    rooms raise.
    """
    chosen = choose(point, metadata_of(repository, point), options)
    if not chosen.groups and not chosen.refusals:
        raise NothingToDo(
            f"no group of recovery point {point.number} has a position on a chosen topic",
            hint="Widen --groups or --topics; `kafkeep show POINT` lists the groups of the point.",
        )
    sink(Stage("survey", f"looking at {len(chosen.groups)} group(s) and {len(chosen.targets)} partition(s)"))
    cluster_id = cluster.cluster_id()
    if options.map_file is not None:
        told = RestoresTold(mapped=mapped_in_file(options.map_file))
    else:
        told = told_by_restores(repository, point, cluster_id, restored_by=options.restored_by)
    names = chosen.target_ids(options)
    kinds = {names[group.group_id]: kind_of(group.type) for group, _ in chosen.groups}
    found = survey(cluster, kinds, set(chosen.targets.values()), cluster_id)
    plan = plan_point(point, chosen, contents_of(repository, point, chosen), told.mapped, found, options)
    return replace(plan, warnings=(*told.warnings, *plan.warnings))


def prepare_file(
    cluster: Cluster, name: str, positions: Sequence[FilePosition], options: GroupOptions, *, sink: EventSink = ignore
) -> GroupsPlan:
    """What a file says, for the groups and topics that the options choose; changes nothing."""
    mine = [p for p in positions if _chosen(p, options)]
    if not mine:
        raise NothingToDo(f"no position of {name} is chosen", hint="Widen --groups or --topics.")
    sink(Stage("survey", f"looking at {len({p.group_id for p in mine})} group(s)"))
    found = survey(cluster, kinds_of(mine), {p.target for p in mine}, cluster.cluster_id())
    return plan_file(name, mine, found, options)


def _chosen(position: FilePosition, options: GroupOptions) -> bool:
    return options.group_selection.chooses(position.group_id) and options.selection.chooses(position.target.topic)


def prepare_rollback(
    cluster: Cluster,
    repository: Repository,
    job: str,
    *,
    groups: Callable[[str], bool],
    force: bool,
    sink: EventSink = ignore,
) -> GroupsPlan:
    """What takes a job back, for the groups that `groups` says; changes nothing.

    Raises as `job.find_job`, and `NothingToDo` when no group of the job is chosen.
    """
    cluster_id = cluster.cluster_id()
    found = find_job(repository, job, cluster_id)
    done = [change for change in found.changes if groups(change.group_id)]
    if not done:
        raise NothingToDo(f"job {found.name} changed none of these groups", hint="Widen --groups.")
    sink(Stage("survey", f"looking at {len(done)} group(s)"))
    targets = {position.target for change in done for position in change.positions}
    looked = survey(cluster, {change.group_id: change.kind for change in done}, targets, cluster_id)
    return plan_rollback(found.name, done, looked, force=force, warnings=found.warnings)


def carry_out_plan(
    cluster: Cluster,
    repository: Repository,
    plan: GroupsPlan,
    *,
    connections: int,
    now: Callable[[], datetime],
    sink: EventSink = ignore,
    stop: threading.Event | None = None,
) -> GroupsResult:
    """Carries out what of the plan is not refused.

    Order: what every position was goes into the repository's audit and is durable; groups are changed; they are read
    back; the report goes into the audit. A kill at any moment leaves a record that `rollback` takes back exactly.

    `connections` groups are changed side by side.

    Raises `GroupActive` or `PlanRefused` when all that is to be changed is refused.
    """
    began = time.monotonic()
    stop = threading.Event() if stop is None else stop
    for warning in plan.warnings:
        sink(Warned(warning))
    changes = changes_of(plan)
    if not changes:
        refuse_if_needed(plan)
        return _result(plan, "", Carried(), began)
    job = begin_job(repository, plan, changes, now=now)
    sink(Stage("positions", f"{len(changes)} group(s); what they were is kept in {job}"))
    sink(WorkPlanned(OPERATION, len(changes), sum(len(change.positions) for change in changes), None))
    carried = carry_out(cluster, changes, connections=connections, stop=stop, sink=sink)
    result = _result(plan, job, carried, began)
    finish_job(repository, job, result, now=now)
    return result


def _result(plan: GroupsPlan, job: str, carried: Carried, began: float) -> GroupsResult:
    return GroupsResult(
        operation=plan.operation,
        job=job,
        target_cluster=plan.target_cluster,
        groups=len(carried.done),
        positions=sum(len(change.positions) for change in carried.done),
        done=frozenset(change.group_id for change in carried.done),
        unchanged=plan.counted(UNCHANGED),
        refused=plan.counted(REFUSED),
        failures=tuple(carried.failures),
        differences=tuple(carried.differences),
        interrupted=carried.interrupted,
        seconds=time.monotonic() - began,
    )


def refuse_if_needed(plan: GroupsPlan) -> None:
    """Raises the error of the plan's refusals, if there are any."""
    if not plan.refusals:
        return
    shown = "; ".join(refusal.message for refusal in plan.refusals[:TOLD_REFUSALS])
    more = len(plan.refusals) - TOLD_REFUSALS
    text = shown + (f"; and {more} more" if more > 0 else "")
    hint = _hint(plan.refusals)
    if {refusal.kind for refusal in plan.refusals} == {"group-active"}:
        raise GroupActive(text, hint=hint)
    raise PlanRefused(text, hint=hint)


def _hint(refusals: Collection[Refusal]) -> str | None:
    hints = dict.fromkeys(refusal.hint for refusal in refusals if refusal.hint)
    return " ".join(hints) if hints else None


def contents_of(repository: Repository, point: RecoveryPoint, chosen: Chosen) -> dict[TopicPartition, PartitionContent]:
    """What the repository knows of every partition that a chosen position is on."""
    state = repository.state
    found: dict[TopicPartition, PartitionContent] = {}
    for cut in point.cuts:
        source = cut.generation.topic_partition
        if source in chosen.targets:
            known = state.generations[cut.generation]
            # Coverage only grows at its end: whatever lies below the cut was known when the point was made.
            gaps = tuple(gap for gap in known.gaps if gap.offsets.start < cut.stop)
            found[source] = PartitionContent(cut, gaps, newest=state.latest[source] == cut.generation)
    return found
