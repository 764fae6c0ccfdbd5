"""What `kafkeep metadata` tells people, and its exit statuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kafkeep.cli.metadata_tables import (
    ADDED,
    CHANGED,
    PLAIN,
    REMOVED,
    Line,
    Section,
    mark_of,
)
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import count_text, plural
from kafkeep.model import IMPORTED

if TYPE_CHECKING:
    from kafkeep.metadata.apply import MetadataResult
    from kafkeep.metadata.differences import Difference, ImageDifferences
    from kafkeep.metadata.image import ClusterImage
    from kafkeep.metadata.plan import LeftOut, MetadataPlan, SchemaId, Step
    from kafkeep.model import RecoveryPoint

SHOWN: Final = 200
"""So many steps, differences or things left out are shown; --json has all."""
_ALL: Final = "--json has all"
_SHORTENED: Final = "long values are shortened; --json has them whole"
_NAMED: Final = 5
_GROUP_FILES: Final = 20
# Words of metadata.plan, metadata.options and metadata.differences, which are loaded only where they are needed.
_CREATE, _ADD, _REMOVE = "create", "add", "remove"
_POSITIONS, _PRESENCE, _PRESENT = "positions", "presence", "present"


def backup_parts(point: RecoveryPoint, image: ClusterImage) -> tuple[Part, ...]:
    """What the point holds, in numbers, and what it lacks."""
    inventory = image.inventory
    rows = (
        ("topics", len(image.topics)),
        ("partitions", sum(len(topic.partitions) for topic in image.topics)),
        ("groups", len(image.groups)),
        ("positions", sum(len(group.offsets) for group in image.groups)),
        ("resources with configs", len(inventory.configs)),
        ("ACLs", len(inventory.acls)),
        ("quotas", len(inventory.quotas)),
        ("SCRAM users", len(inventory.scram_users)),
        *(() if image.schemas is None else (("schemas", len(image.schemas.versions)),)),
        *(() if image.connectors is None else (("connectors", len(image.connectors.connectors)),)),
    )
    parts: list[Part] = [Grid(("what", ">how many"), tuple((what, count_text(count)) for what, count in rows))]
    if point.failures:
        failed = tuple((failure.subject, failure.reason, failure.message) for failure in point.failures)
        parts += ["", Grid(("not read", "reason", "message"), failed)]
    if (cut := image.standing.metadata_cut) is not None:
        parts.append(f"settings and permissions as of offset {count_text(cut.offset)} of the controllers' log")
    if point.imported:
        told = ", ".join(f"{key} {value}" for key, value in point.tags if key.startswith(IMPORTED))
        parts.append(f"recovery point {point.number}: a document of cluster {image.cluster_id}, no capture; {told}")
    else:
        parts.append(f"recovery point {point.number}: metadata of cluster {image.cluster_id}, no records")
    return tuple(parts)


def export_parts(files: Sequence[Path], folder: Path) -> tuple[Part, ...]:
    """Where the files are, and how to see whether they are still true. Files of many groups are only counted."""
    of_groups = [file for file in files if file.name.startswith("offsets-")]
    counted = len(of_groups) > _GROUP_FILES
    parts = [str(file) for file in files if not (counted and file.name.startswith("offsets-"))]
    if counted:
        parts.append(f"{of_groups[0].parent}/offsets-GROUP.txt: {plural(len(of_groups), 'group')}")
    parts.append(f"{plural(len(files), 'file')} in {folder}")
    return (*parts, "to verify: `kafkeep metadata diff` compares the point with the cluster as it is")


def plan_status(plan: MetadataPlan) -> int:
    """A dry run ends as the apply would, if nothing is refused by the cluster."""
    if plan.refusals:
        return 24
    if not plan.steps:
        return 3 if any(left.missing for left in plan.left_out) else 4
    return 3 if any(left.missing for left in plan.left_out) else 0


def plan_parts(plan: MetadataPlan, *, brief: bool = False) -> tuple[Part, ...]:
    """The plan for people: steps in their order, what is left out, what speaks against it. `brief` shortens long
    values."""
    head = f"{plan.origin} of cluster {plan.source_cluster} onto {plan.target} (cluster {plan.target_cluster})"
    return (head, *_step_parts(plan.steps, brief=brief), *_schema_ids(plan.schema_ids), *_rest(plan))


def _step_parts(steps: Sequence[Step], *, brief: bool) -> list[Part]:
    """A table for each part of the metadata, in the order in which they are done."""
    parts: list[Part] = []
    shortened = False
    for (area, removing), group in groupby(steps[:SHOWN], key=lambda step: (step.area, step.action == _REMOVE)):
        these = list(group)
        changes = any(change.before is not None for step in these for change in step.changes)
        heads = ("before", "after") if changes else ("value",)
        section = Section(f"{area}, removed" if removing else area, heads, brief)
        for step in these:
            _add_step(section, step)
        parts += ["", section.grid()]
        shortened = shortened or section.shortened
    if len(steps) > SHOWN:
        parts += ["", f"and {plural(len(steps) - SHOWN, 'more step')}; {_ALL}"]
    return [*parts, "", _SHORTENED] if shortened else parts


def _add_step(section: Section, step: Step) -> None:
    if step.action == _REMOVE:
        section.lines.append(Line(REMOVED, step.subject))
        return
    if step.action in (_CREATE, _ADD):
        made = _made(step)
        section.lines.append(Line(ADDED, step.subject, ("", made)[-len(section.heads) :] if made else ()))
    else:
        section.lines.append(Line(PLAIN, step.subject))
    for change in step.changes:
        section.change(change.key, change.before, change.after)


def _made(step: Step) -> str:
    """How large what is made is, where it has a size."""
    partitions, factor = getattr(step, "partitions", None), getattr(step, "replication_factor", None)
    if partitions is None or factor is None:
        return ""
    placed = "" if getattr(step, "assignments", None) is None else ", placed as before"
    return f"{plural(partitions, 'partition')} x {plural(factor, 'replica')}{placed}"


def _schema_ids(rows: Sequence[SchemaId]) -> list[Part]:
    """Which id became which: records go on carrying the old ones."""
    if not rows:
        return []
    shown = tuple(
        (row.subject, str(row.version), str(row.old_id), _there(row.new_version), _there(row.new_id))
        for row in rows[:SHOWN]
    )
    head = ("subject", ">version", ">id in records", ">version here", ">id here")
    more = [f"and {plural(len(rows) - SHOWN, 'more schema')}"] if len(rows) > SHOWN else []
    return ["", Grid(head, shown), *more]


def _there(number: int | None) -> str:
    return "not there" if number is None else str(number)


def _rest(plan: MetadataPlan) -> list[Part]:
    parts: list[Part] = []
    if plan.left_out:
        missing = sum(left.missing for left in plan.left_out)
        parts += ["", *_left_out("left out", plan.left_out)]
        if missing:
            parts.append(f"{count_text(missing)} of these will be missing on the target")
    if plan.refusals:
        parts += ["", *_left_out("refused", plan.refusals)]
    same = ", ".join(f"{count_text(count)} of {area}" for area, count in plan.unchanged)
    parts += ["", f"{plural(len(plan.steps), 'step')}; already so: {same or 'nothing'}"]
    return parts


def _left_out(title: str, found: Sequence[LeftOut]) -> list[Part]:
    """What the target will lack first; `missing` ones are marked."""
    first = sorted(found, key=lambda left: not left.missing)[:SHOWN]
    rows = tuple((left.area, left.subject, left.reason) for left in first)
    parts: list[Part] = [
        Grid((title, "what", "why"), rows, styles=tuple("yellow" if left.missing else "" for left in first))
    ]
    more = len(found) - len(first)
    return parts if more == 0 else [*parts, f"and {count_text(more)} more; {_ALL}"]


def result_status(result: MetadataResult) -> int:
    """The exit status of an apply."""
    if not result.complete:
        return 3
    return 0 if result.steps else 4


def result_parts(result: MetadataResult, *, brief: bool = False) -> tuple[Part, ...]:
    """What became of the steps: those that failed by name and reason, and all that were done."""
    done = [one.step for one in result.steps if one.failure is None]
    parts: list[Part] = [*_step_parts(done, brief=brief), *_schema_ids(result.schema_ids), *_rest(result.plan)]
    if result.failures:
        rows = tuple(
            (one.step.area, one.step.action, one.step.subject, one.failure.message)
            for one in result.steps
            if one.failure is not None
        )
        parts += ["", Grid(("failed", "action", "what", "why"), rows[:SHOWN], styles=("red",) * len(rows[:SHOWN]))]
        if len(rows) > SHOWN:
            parts.append(f"and {count_text(len(rows) - SHOWN)} more; {_ALL}")
    parts.append(f"{plural(len(done), 'step')} done, {count_text(len(result.failures))} failed")
    return tuple(parts)


def diff_parts(found: ImageDifferences, *, brief: bool = False) -> tuple[Part, ...]:
    """The differences for people, a table for each part of the metadata. `brief` shortens long values."""
    parts: list[Part] = []
    shortened = False
    if found.differences:
        parts.append(f"left: {found.left}; right: {found.right}; + only right, - only left, ~ another value")
    for area, group in groupby(found.differences[:SHOWN], key=lambda one: one.area):
        lagging = area == _POSITIONS
        section = Section(area, (">left", ">lag", ">right", ">lag") if lagging else ("left", "right"), brief)
        for one in group:
            _add_difference(section, one, lagging=lagging)
        parts += ["", section.grid()]
        shortened = shortened or section.shortened
    if len(found.differences) > SHOWN:
        parts += ["", f"and {plural(len(found.differences) - SHOWN, 'more difference')}; {_ALL}"]
    parts += [""] if found.differences else []
    parts += [_SHORTENED] if shortened else []
    parts += [f"not compared: {text}" for text in found.not_compared]
    parts += [f"not shown by brokers: {text}" for text in found.hidden]
    parts += _information(found)
    return (*parts, _verdict(found))


def _information(found: ImageDifferences) -> list[str]:
    """What is not the same and nothing to be made up for."""
    names = [one.subject for one in found.information]
    more = len(names) - _NAMED
    told = ", ".join(names[:_NAMED]) + (f" and {count_text(more)} more" if more > 0 else "")
    return [f"made anew, or of another cluster (another topic id): {told}"] if names else []


def _verdict(found: ImageDifferences) -> str:
    if not found.differences:
        return f"nothing differs: {found.left} and {found.right}"
    marks = Counter(mark_of(one.left, one.right) for one in found.differences)
    kinds = (("only right", ADDED), ("only left", REMOVED), ("another value", CHANGED))
    told = ", ".join(f"{count_text(marks[mark])} {what}" for what, mark in kinds if marks[mark])
    return f"{plural(len(found.differences), 'difference')} ({told}): {found.left} and {found.right}"


def _add_difference(section: Section, one: Difference, *, lagging: bool) -> None:
    mark, inner = mark_of(one.left, one.right), bool(one.subject)
    if one.key == _PRESENCE:
        section.lines.append(Line(mark, one.subject))
        return
    if inner:
        section.of(one.subject)
    if one.left in (None, _PRESENT) and one.right in (None, _PRESENT):
        section.lines.append(Line(mark, one.key, inner=inner))
    elif lagging:
        values = one.left, one.left_lag, one.right, one.right_lag
        told = tuple("-" if value is None else count_text(int(value)) for value in values)
        section.lines.append(Line(mark, one.key, told, inner=inner))
    else:
        section.change(one.key, one.left, one.right, inner=inner)
