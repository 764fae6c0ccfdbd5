"""Plans and results of pruning, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import plural, size_text

if TYPE_CHECKING:
    from kafkeep.retention.plan import PrunePlan, PruneResult


def plan_parts(plan: PrunePlan) -> tuple[Part, ...]:
    """Every point with its reason, then what goes with those that go."""
    signed = any(verdict.signer is not None for verdict in plan.verdicts)
    rows = tuple(
        (
            str(verdict.point),
            verdict.name if verdict.name is not None else "",
            verdict.finished,
            "keep" if verdict.keep else "retire",
            *([str(verdict.signer) if verdict.signer is not None else "?"] if signed else []),
            "; ".join(verdict.reasons),
        )
        for verdict in plan.verdicts
    )
    heads = (">point", "name", "finished", "", *(["signed by"] if signed else []), "reason")
    parts: list[Part] = [Grid(heads, rows)] if rows else ["no recovery point yet"]
    parts.append(
        f"{plural(len(plan.retired_points), 'point')} and {plural(len(plan.packs), 'pack')}"
        f" ({size_text(plan.retired_bytes)} of {size_text(plan.live_bytes)}) to be retired"
    )
    if plan.emptied:
        parts.append(
            f"{plural(len(plan.emptied), 'pack')} ({size_text(plan.emptied_bytes)}) to be retired that hold nothing any"
            " more: their runs lie in other packs"
        )
    if plan.kept_along_bytes:
        parts.append(f"{size_text(plan.kept_along_bytes)} that no point needs stay in packs that hold other data")
    parts += [
        f"to be deleted: {plural(sweep.packs, 'pack')} ({size_text(sweep.bytes)}), retired by commit"
        f" {sweep.retirement} at {sweep.time}"
        for sweep in plan.sweeps
    ]
    parts += [
        f"retired by commit {waiting.retirement}: {plural(len(waiting.points), 'point')},"
        f" {plural(waiting.packs, 'pack')} ({size_text(waiting.bytes)}); --undo={waiting.retirement} until {waiting.until}"
        for waiting in plan.waiting
    ]
    parts += plan.remarks
    parts += [f"refused: {refusal}" for refusal in plan.refusals]
    return tuple(parts)


def result_parts(result: PruneResult) -> tuple[Part, ...]:
    """The plan and what became of it."""
    parts: list[Part] = [*plan_parts(result.plan)]
    if result.retirements:
        numbers = ", ".join(map(str, result.retirements))
        parts.append(f"retired by commit {numbers}; nothing of it is deleted yet")
    parts.append(f"deleted {plural(result.deleted, 'pack')} ({size_text(result.deleted_bytes)})")
    if result.orphans:
        parts.append(f"{plural(result.orphans, 'pack')} of these were named by no commit")
    if result.young_orphans:
        parts.append(
            f"{plural(result.young_orphans, 'pack')} named by no commit stay until two more prunings have passed, "
            "for a backup may still be writing"
        )
    if result.locked:
        kept = tuple((failure.subject, failure.message) for failure in result.locked)
        parts.append(f"not yet deleted, because the store has locked them: {plural(len(kept), 'pack')}")
        parts.append(Grid(("locked", "until"), kept))
    if result.failures:
        rows = tuple((failure.subject, failure.reason, failure.message) for failure in result.failures)
        parts.append(Grid(("not deleted", "reason", "message"), rows))
    return tuple(parts)
