"""What `kafkeep restore` tells: plans and results for people, and their exit statuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kafkeep.cli.common import Stop
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import count_text, plural, size_text

if TYPE_CHECKING:
    from kafkeep.model import Gap
    from kafkeep.restore.plan import GroupRestore, PartitionRestore, PositionNotSet, RestorePlan, TopicRestore
    from kafkeep.restore.result import RestoredGroup, RestoreResult

SHOWN: Final = 200
"""So many groups, gaps and positions are shown; --json has all."""
_TIMES: Final = {
    "create": "create times",
    "append": "append times",
    "both": "create times and append times",
    "": "no records",
}


def plan_status(plan: RestorePlan) -> int:
    """A dry run ends as the restore would, if nothing fails: 24 when it would be refused, 21 with loss."""
    if plan.refusals:
        return 24
    return 21 if plan.has_loss else 0


def result_status(result: RestoreResult, stop: Stop) -> int:
    """The exit status of a restore that was carried out."""
    if result.interrupted and stop.number is not None:
        return 128 + stop.number
    if result.failures or result.interrupted:
        return 3
    return 21 if result.lost or result.loss_report else 0


def plan_parts(plan: RestorePlan) -> tuple[Part, ...]:
    """The plan for people: topics, loss, groups, then what speaks against it."""
    head = (
        f"restore recovery point {plan.point} of cluster {plan.source_cluster} into cluster {plan.target_cluster}"
        f" by {plan.route}: at most {count_text(plan.most_records)} records, {size_text(plan.raw_bytes)}"
    )
    if plan.job is not None:
        there = sum(records for _, records in plan.present)
        head += f"\ncontinues {plan.job}: {count_text(there)} records are there already"
    parts: list[Part] = [head, _topic_grid(plan), *_repartitioned(plan), *_by_time(plan), *_loss(plan)]
    if plan.groups:
        groups = tuple(
            (group.group_id, _positions_text(group), str(len(group.not_set)) if group.not_set else "")
            for group in plan.groups[:SHOWN]
        )
        parts += ["", Grid(("group", ">positions", ">not set"), groups), *_more(len(plan.groups))]
    parts += _not_set(plan.not_set)
    parts += [f"warning: {warning}" for warning in plan.warnings]
    parts += [f"refused: {r.message} ({r.kind})" + (f". {r.hint}" if r.hint else "") for r in plan.refusals[:SHOWN]]
    return (*parts, *_more(len(plan.refusals)))


def _topic_grid(plan: RestorePlan) -> Grid:
    by_target: dict[str, list[PartitionRestore]] = {}
    for part in plan.partitions:
        by_target.setdefault(part.target.topic, []).append(part)
    rows = []
    for topic in plan.topics:
        own = by_target.get(topic.target, [])
        lost = sum(part.lost for part in own)
        rows.append(
            (
                topic.source,
                topic.target,
                topic.action,
                _partitions_text(topic),
                str(topic.replication_factor),
                count_text(sum(part.most_records for part in own)),
                size_text(sum(part.raw_bytes for part in own)),
                count_text(lost) if lost else "",
            )
        )
    heads = ("topic", "target", "action", ">partitions", ">replicas", ">records up to", ">size", ">lost offsets")
    return Grid(heads, tuple(rows))


def _partitions_text(topic: TopicRestore) -> str:
    before = topic.repartitioned_from
    return str(topic.partitions) if before is None else f"{before} to {topic.partitions}"


def _positions_text(group: GroupRestore) -> str:
    """The positions that are set; those on repartitioned topics are known by the topic alone before the records are."""
    topics = ", ".join(f"{spread.target} by key" for spread in group.spread)
    direct = str(len(group.positions)) if group.positions or not topics else ""
    return " + ".join(text for text in (direct, topics) if text)


def _repartitioned(plan: RestorePlan) -> list[Part]:
    if not plan.repartitioned:
        return []
    named = ", ".join(f"{topic.target} ({_partitions_text(topic)})" for topic in plan.repartitioned[:SHOWN])
    return [
        (
            f"repartitioned by key (murmur2, as Java's producer does): {named}; offsets are not mapped one to one; "
            f"about {size_text(plan.spool_bytes)} of the folder for temporary files are needed meanwhile"
        )
    ]


def _by_time(plan: RestorePlan) -> list[Part]:
    """Where times choose: which times these are, topic by topic."""
    window = next((part.window for part in plan.partitions if not part.window.is_open), None)
    if window is None:
        return []
    topics: dict[str, list[str]] = {}
    for topic in plan.topics:
        topics.setdefault(topic.timestamps, []).append(topic.source)
    return [
        f"by time ({window.rule}): {_TIMES[kind]} of {', '.join(names[:SHOWN])}"
        for kind, names in sorted(topics.items())
    ]


def _loss(plan: RestorePlan) -> list[Part]:
    rows = [
        (str(part.source), str(gap.offsets), gap.reason, gap.evidence, _fate(part, gap))
        for part in plan.partitions
        for gap in part.gaps
    ]
    rows += [(str(part.source), "all", part.reason, "", "created empty") for part in plan.missing]
    if not rows:
        return []
    if plan.allow_loss == "none":
        rows = [(*row[:4], "refused") for row in rows]
    return ["", Grid(("gap in", "offsets", "reason", "evidence", "restored"), tuple(rows[:SHOWN])), *_more(len(rows))]


def _fate(part: PartitionRestore, gap: Gap) -> str:
    return "without it" if part.cut_off is None else f"up to {part.stop}"


def _not_set(positions: Sequence[PositionNotSet]) -> list[Part]:
    if not positions:
        return []
    rows = tuple((p.group_id, str(p.source), str(p.committed), p.place, p.note) for p in positions[:SHOWN])
    return ["", Grid(("group", "partition", ">position", "not set", "note"), rows), *_more(len(positions))]


def result_parts(result: RestoreResult) -> tuple[Part, ...]:
    """The result for people."""
    rate = (result.size_bytes - result.bytes_before) / result.seconds if result.seconds > 0 else 0.0
    rows = tuple(
        (
            str(part.source),
            str(part.target),
            str(part.source_range),
            count_text(part.offset_map.records),
            str(part.offset_map.end),
            "yes" if part.complete else "no",
        )
        for part in result.partitions
    )
    rows += tuple(
        (
            f"{topic.source} by key",
            str(part.target),
            f"of {plural(topic.source_partitions, 'partition')}",
            count_text(part.offset_map.records),
            str(part.offset_map.end),
            "yes" if part.complete else "no",
        )
        for topic in result.repartitioned
        for part in topic.partitions
    )
    head = "ended before all was restored from" if result.interrupted else "restored"
    parts: list[Part] = [Grid(("partition", "target", "source offsets", ">records", ">target end", "complete"), rows)]
    if result.groups:
        parts += ["", _group_grid(result.groups[:SHOWN]), *_more(len(result.groups))]
    parts += _not_set(result.not_set)
    if result.failures:
        failed = tuple((failure.subject, failure.reason, failure.message) for failure in result.failures)
        parts += ["", Grid(("not restored", "reason", "message"), failed)]
    parts += [f"warning: {warning}" for warning in result.warnings]
    parts.append(
        f"{head} recovery point {result.point}: {plural(len(result.topics_created), 'topic')} created, "
        f"{count_text(result.records)} records, {size_text(result.size_bytes)}, {size_text(rate)}/s; "
        f"report {result.job}"
    )
    if result.records_before:
        parts.append(f"  {count_text(result.records_before)} of the records were there from before")
    if result.interrupted or result.failures:
        parts.append(f"  --resume={result.job} continues this restore")
    if result.lost:
        parts.append(f"  {count_text(result.lost)} offsets lie in declared gaps or behind one and are not there")
    if result.loss_report:
        parts.append(f"  loss report {result.loss_report}")
    return tuple(parts)


def _group_grid(groups: Sequence[RestoredGroup]) -> Grid:
    if not any(group.read_again for group in groups):
        return Grid(("group", ">positions set"), tuple((group.group_id, str(len(group.positions))) for group in groups))
    rows = tuple((group.group_id, str(len(group.positions)), count_text(group.read_again)) for group in groups)
    return Grid(("group", ">positions set", ">consumed records read again"), rows)


def _more(count: int) -> list[Part]:
    return [f"and {count_text(count - SHOWN)} more; --json gives all of them"] if count > SHOWN else []
