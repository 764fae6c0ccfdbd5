"""What `kafkeep metadata` tells people, and its exit statuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import count_text, plural

if TYPE_CHECKING:
    from kafkeep.metadata.apply import MetadataResult
    from kafkeep.metadata.differences import Difference, ImageDifferences
    from kafkeep.metadata.image import ClusterImage
    from kafkeep.metadata.plan import LeftOut, MetadataPlan, Step
    from kafkeep.model import RecoveryPoint

SHOWN: Final = 200
"""So many lines of a table are shown; --json has all."""


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
    )
    parts: list[Part] = [Grid(("what", ">how many"), tuple((what, count_text(count)) for what, count in rows))]
    if point.failures:
        failed = tuple((failure.subject, failure.reason, failure.message) for failure in point.failures)
        parts += ["", Grid(("not read", "reason", "message"), failed)]
    parts.append(f"recovery point {point.number}: metadata of cluster {point.cluster_id}, no records")
    return tuple(parts)


def export_parts(files: Sequence[Path], folder: Path) -> tuple[Part, ...]:
    """Where the files are."""
    return (*(str(file) for file in files[:SHOWN]), f"{plural(len(files), 'file')} in {folder}")


def plan_status(plan: MetadataPlan) -> int:
    """A dry run ends as the apply would, if nothing is refused by the cluster."""
    if plan.refusals:
        return 24
    if not plan.steps:
        return 3 if any(left.missing for left in plan.left_out) else 4
    return 3 if any(left.missing for left in plan.left_out) else 0


def plan_parts(plan: MetadataPlan) -> tuple[Part, ...]:
    """The plan for people: steps, what is left out, what speaks against it."""
    rows = tuple((step.area, step.action, step.subject, _changes(step)) for step in plan.steps[:SHOWN])
    head = f"{plan.origin} of cluster {plan.source_cluster} onto {plan.target} (cluster {plan.target_cluster})"
    parts: list[Part] = [head, Grid(("part", "action", "subject", "changes"), rows)]
    return (*parts, *_rest(plan))


def _rest(plan: MetadataPlan) -> list[Part]:
    parts: list[Part] = []
    if len(plan.steps) > SHOWN:
        parts.append(f"and {plural(len(plan.steps) - SHOWN, 'more step')}")
    if plan.left_out:
        parts += ["", Grid(("left out", "what", "why"), _left_out(plan.left_out))]
    if plan.refusals:
        parts += ["", Grid(("refused", "what", "why"), _left_out(plan.refusals))]
    same = ", ".join(f"{count_text(count)} of {area}" for area, count in plan.unchanged)
    parts.append(f"{plural(len(plan.steps), 'step')}; already so: {same or 'nothing'}")
    return parts


def _left_out(found: Sequence[LeftOut]) -> tuple[tuple[str, ...], ...]:
    return tuple((left.area, left.subject, left.reason) for left in found[:SHOWN])


def _changes(step: Step) -> str:
    told = []
    for change in step.changes[:6]:
        if change.after is None:
            told.append(f"-{change.key}")
        elif change.before is None:
            told.append(f"{change.key}={change.after}")
        else:
            told.append(f"{change.key}={change.before} → {change.after}")
    more = len(step.changes) - 6
    return " ".join(told) + (f" and {more} more" if more > 0 else "")


def result_status(result: MetadataResult) -> int:
    """The exit status of an apply."""
    if not result.complete:
        return 3
    return 0 if result.steps else 4


def result_parts(result: MetadataResult) -> tuple[Part, ...]:
    """What became of each step."""
    rows = tuple(
        (
            one.step.area,
            one.step.action,
            one.step.subject,
            _changes(one.step),
            "done" if one.failure is None else one.failure.message,
        )
        for one in result.steps[:SHOWN]
    )
    parts: list[Part] = [Grid(("part", "action", "subject", "changes", "outcome"), rows), *_rest(result.plan)]
    done = len(result.steps) - len(result.failures)
    parts.append(f"{plural(done, 'step')} done, {count_text(len(result.failures))} failed")
    return tuple(parts)


def diff_parts(found: ImageDifferences) -> tuple[Part, ...]:
    """The differences for people."""
    parts: list[Part] = []
    if found.differences:
        rows = tuple(_difference(one) for one in found.differences[:SHOWN])
        parts.append(Grid(("part", "subject", "key", found.left, found.right), rows))
    if len(found.differences) > SHOWN:
        parts.append(f"and {plural(len(found.differences) - SHOWN, 'more difference')}")
    parts += [f"not compared: {text}" for text in found.not_compared]
    parts += [f"not shown by brokers: {text}" for text in found.hidden]
    verdict = plural(len(found.differences), "difference") if found.differences else "nothing differs"
    parts.append(f"{verdict}: {found.left} and {found.right}")
    return tuple(parts)


def _difference(one: Difference) -> tuple[str, ...]:
    absent = "not there"
    return (
        one.area,
        one.subject,
        one.key,
        absent if one.left is None else one.left,
        absent if one.right is None else one.right,
    )
