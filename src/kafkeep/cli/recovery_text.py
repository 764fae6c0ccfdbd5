"""What `kafkeep restore` tells when settings come back beside the records, and the exit status of both together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kafkeep.cli import metadata_text, restore_text
from kafkeep.cli.common import Stop
from kafkeep.cli.render import Part

if TYPE_CHECKING:
    from kafkeep.recovery.plan import RecoveryPlan
    from kafkeep.recovery.result import RecoveryResult

_WORST_FIRST = (24, 3, 21)
_ALL_THERE = "all records, topics and positions were restored before"
_SIGNALLED = 128


def combined(statuses: Sequence[int]) -> int:
    """One exit status for both halves: a signal, a refusal, something failed or missing, declared loss; nothing to do
    only where neither half had anything to do.
    """
    for status in statuses:
        if status > _SIGNALLED:
            return status
    for status in _WORST_FIRST:
        if status in statuses:
            return status
    return 4 if set(statuses) == {4} else 0


def plan_status(plan: RecoveryPlan) -> int:
    """A dry run ends as the recovery would, if nothing fails."""
    statuses = [] if plan.records is None else [restore_text.plan_status(plan.records)]
    statuses += [] if plan.settings is None else [metadata_text.plan_status(plan.settings)]
    return combined(statuses)


def result_status(result: RecoveryResult, stop: Stop) -> int:
    """The exit status of a recovery that was carried out."""
    statuses = [] if result.records is None else [restore_text.result_status(result.records, stop)]
    statuses += [] if result.settings is None else [metadata_text.result_status(result.settings)]
    return combined(statuses)


def plan_parts(plan: RecoveryPlan) -> tuple[Part, ...]:
    """Both halves for people, as one plan."""
    parts: list[Part] = [_ALL_THERE] if plan.records is None else list(restore_text.plan_parts(plan.records))
    if plan.settings is not None:
        parts += ["", "then settings and permissions:", *metadata_text.plan_parts(plan.settings)]
    return (*parts, *(f"warning: {warning}" for warning in plan.warnings))


def result_parts(result: RecoveryResult) -> tuple[Part, ...]:
    """What became of both."""
    parts: list[Part] = [_ALL_THERE] if result.records is None else list(restore_text.result_parts(result.records))
    if result.settings is not None:
        parts += ["", "settings and permissions:", *metadata_text.result_parts(result.settings)]
    if result.settings_due:
        parts.append("  settings and permissions are still to come: --resume brings them as well")
    return (*parts, *(f"warning: {warning}" for warning in result.warnings))


def told(value: RecoveryPlan | RecoveryResult) -> object:
    """What --json gives: of a restore without settings the plan or result of the records alone."""
    from kafkeep.recovery.plan import RecoveryPlan

    alone = (
        value.settings is None if isinstance(value, RecoveryPlan) else value.settings is None and not value.settings_due
    )
    return value.records if alone else value
