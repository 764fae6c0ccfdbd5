"""What `kafkeep groups` tells: plans and results for people and for `--json`, and their exit statuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from kafkeep.cli.common import Stop
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import count_text, plural
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.groups.plan import GroupsPlan, PlannedGroup, PlannedPosition, Refusal
    from kafkeep.groups.result import GroupsResult, PositionDifference
    from kafkeep.model import Failure

SHOWN: Final = 200
"""So many lines of a table are shown; files and --json have all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLine:
    """One position for people and for `--json`."""

    group: str
    source_group: str
    group_type: str
    state: str
    topic: str
    partition: int
    source_topic: str | None
    committed: int | None
    place: str
    note: str
    current: int | None
    offset: int | None
    metadata: str
    action: str
    """As planned; once carried out `set`, `deleted`, `unchanged`, `refused`, `failed` or `differs`."""
    refusal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """A plan without its positions."""

    origin: str
    point: int | None
    target_cluster: str
    groups: int
    changing_groups: int
    set: int
    delete: int
    unchanged: int
    refused: int
    warnings: tuple[str, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSummary:
    """What carrying a plan out did, without its positions."""

    job: str
    """For `groups rollback`; empty when there was nothing to do."""
    origin: str
    target_cluster: str
    groups: int
    """Changed and read back as wanted."""
    positions: int
    unchanged: int
    refused: int
    failures: tuple[Failure, ...]
    differences: tuple[PositionDifference, ...]
    interrupted: bool
    seconds: float
    warnings: tuple[str, ...]
    refusals: tuple[Refusal, ...]


def plan_status(planned: GroupsPlan) -> int:
    """A plan ends as carrying it out would, if nothing fails."""
    if not planned.changes:
        return 24 if planned.refusals else 4
    return 3 if planned.refusals else 0


def result_status(planned: GroupsPlan, result: GroupsResult, stop: Stop) -> int:
    """The exit status of a plan that was carried out."""
    if result.interrupted and stop.number is not None:
        return 128 + stop.number
    if result.differences:
        return 22
    if result.failures or planned.refusals or result.interrupted:
        return 3
    return 0 if result.job else 4


def summary_of(planned: GroupsPlan) -> PlanSummary:
    return PlanSummary(
        origin=planned.origin,
        point=planned.point,
        target_cluster=planned.target_cluster,
        groups=len(planned.groups),
        changing_groups=sum(group.changes for group in planned.groups),
        set=planned.counted("set"),
        delete=planned.counted("delete"),
        unchanged=planned.counted("unchanged"),
        refused=planned.counted("refused"),
        warnings=planned.warnings,
        refusals=planned.refusals,
    )


def outcome_of(planned: GroupsPlan, result: GroupsResult) -> ResultSummary:
    return ResultSummary(
        job=result.job,
        origin=planned.origin,
        target_cluster=result.target_cluster,
        groups=result.groups,
        positions=result.positions,
        unchanged=result.unchanged,
        refused=result.refused,
        failures=result.failures,
        differences=result.differences,
        interrupted=result.interrupted,
        seconds=result.seconds,
        warnings=planned.warnings,
        refusals=planned.refusals,
    )


def position_lines(planned: GroupsPlan, result: GroupsResult | None = None) -> Iterator[PositionLine]:
    """Every position, with what came of it when there is a result."""
    differ = set() if result is None else {(found.group_id, found.target) for found in result.differences}
    for group in planned.groups:
        for position in group.positions:
            action = position.action
            if result is not None and action in ("set", "delete"):
                action = "failed" if group.group_id not in result.done else {"delete": "deleted"}.get(action, action)
                action = "differs" if (group.group_id, position.target) in differ else action
            yield _line(group, position, action)


def _line(group: PlannedGroup, position: PlannedPosition, action: str) -> PositionLine:
    return PositionLine(
        group=group.group_id,
        source_group=group.source,
        group_type=group.type,
        state=group.state,
        topic=position.target.topic,
        partition=position.target.partition,
        source_topic=None if position.source is None else position.source.topic,
        committed=position.committed,
        place=position.place,
        note=position.note,
        current=None if position.current is None else position.current.offset,
        offset=position.offset,
        metadata=position.metadata,
        action=action,
        refusal=position.refusal,
    )


def plan_parts(planned: GroupsPlan) -> tuple[Part, ...]:
    """The plan for people: what is refused first, then what changes, then what is right already."""
    order = {"refused": 0, "set": 1, "delete": 1, "unchanged": 2}
    lines = sorted(position_lines(planned), key=lambda line: order[line.action])
    found = summary_of(planned)
    head = f"{planned.origin} onto cluster {planned.target_cluster}: {plural(found.groups, 'group')}"
    counts = [f"{count_text(found.set)} to set"]
    counts += [f"{count_text(found.delete)} to take away"] if found.delete else []
    counts += [f"{count_text(found.unchanged)} right already", f"{count_text(found.refused)} refused"]
    return (head, _grid(lines[:SHOWN]), *_more(len(lines)), *_against(planned), ", ".join(counts))


def result_parts(planned: GroupsPlan, result: GroupsResult) -> tuple[Part, ...]:
    """The result for people."""
    if not result.job:
        right = plural(result.unchanged, "position")
        return (f"nothing to do: {right} of {plural(len(planned.groups), 'group')} are where they belong",)
    lines = [line for line in position_lines(planned, result) if line.action != "unchanged"]
    parts: list[Part] = [_grid(lines[:SHOWN]), *_more(len(lines))]
    if result.failures:
        failed = tuple((f.subject, f.reason, f.message) for f in result.failures[:SHOWN])
        parts += ["", Grid(("not changed", "reason", "message"), failed), *_more(len(result.failures))]
    if result.differences:
        wrong = tuple(
            (d.group_id, str(d.target), _number(d.wanted), _number(d.found)) for d in result.differences[:SHOWN]
        )
        parts += ["", Grid(("group", "partition", ">was set to", ">reads back as"), wrong)]
    ended = "ended early: " if result.interrupted else ""
    parts += [*_against(planned, warnings=False)]
    parts.append(
        f"{ended}{plural(result.positions, 'position')} of {plural(result.groups, 'group')} changed and read back, "
        f"{count_text(result.unchanged)} were right already, {count_text(result.refused)} refused; {result.seconds:.1f} s"
    )
    parts.append(f"  what they were is kept: kafkeep groups rollback {result.job}")
    return tuple(parts)


def _grid(lines: list[PositionLine]) -> Grid:
    heads = ("group", "state", "partition", ">at source", "lands", ">has now", ">goes to", "action")
    rows = tuple(
        (
            line.group,
            line.state,
            f"{line.topic}/{line.partition}",
            _number(line.committed),
            line.place if line.offset is not None or line.action != "refused" else "",
            _number(line.current),
            _number(line.offset),
            line.action + (f": {line.refusal}" if line.refusal else ""),
        )
        for line in lines
    )
    return Grid(heads, rows)


def _against(planned: GroupsPlan, *, warnings: bool = True) -> Iterator[str]:
    if warnings:
        yield from (f"warning: {warning}" for warning in planned.warnings)
    for refusal in planned.refusals[:SHOWN]:
        yield f"refused: {refusal.message} ({refusal.kind})" + (f". {refusal.hint}" if refusal.hint else "")
    yield from _more(len(planned.refusals))


def _more(count: int) -> tuple[str, ...]:
    return (f"and {count_text(count - SHOWN)} more; --json gives all of them",) if count > SHOWN else ()


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
