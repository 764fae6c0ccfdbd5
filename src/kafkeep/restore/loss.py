"""Loss that the archive declares: which part of it a restore meets, what it does about it, and what it says. Pure.

A gap is a range that the source had deleted, or could not give, before it was stored. Nothing of it is ever made up: a
restore refuses, ends the partition in front of its first gap, or leaves out the gaps alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from kafkeep.model import AbortedTransaction, Gap, HeldBack, OffsetRange, RunRef
from kafkeep.records import dataclass
from kafkeep.restore.plan import BY_KEY, MissingPartition, PartitionRestore, Refusal, RestorePlan, carried_by, examples
from kafkeep.restore.window import CUT, Window

NONE: Final = "none"
PREFIX: Final = "prefix"
SKIP: Final = "skip"

LOSS_REPORT: Final = "loss-report"
"""Kind of the report in the repository's audit."""
DECLARED_LOSS: Final = "declared-loss"

_HINT: Final = (
    "--allow-loss prefix ends each such partition in front of its first gap, --allow-loss skip leaves out the gaps alone; "
    "both end with status 21 and a loss report."
)


@dataclass(frozen=True, slots=True)
class Needed:
    """What a window leaves of a partition's runs."""

    runs: Sequence[RunRef]
    offsets: OffsetRange
    """Nothing outside of these is in the window, as far as the runs tell."""


def needed(runs: Sequence[RunRef], offsets: OffsetRange, window: Window, held_back: Sequence[HeldBack]) -> Needed:
    """The runs, in offset order, that may hold a record of the window or decide about one.

    Runs in front that are early as a whole go: what they tell of transactions is about their own data alone, for it is
    only carried back. Under `cut`, runs behind one that ends the piece for certain go too. A run's smallest base timestamp
    never counts: earlier records may hide inside a batch, so only its largest timestamp proves anything.
    """
    if window.is_open:
        return Needed(runs, offsets)
    first = next((at for at, run in enumerate(runs) if not _all_early(run, window)), len(runs))
    start = max(offsets.start, runs[first - 1].coverage.stop) if first else offsets.start
    ends = (at for at in range(first, len(runs)) if _ends_the_piece(runs, at, offsets, window, held_back))
    last = next(ends, None)
    if last is None:
        return Needed(runs[first:], OffsetRange(min(start, offsets.stop), offsets.stop))
    return Needed(runs[first : last + 1], OffsetRange(start, runs[last].coverage.stop))


def _all_early(run: RunRef, window: Window) -> bool:
    return window.since is not None and not run.facts.old_magic and run.facts.max_timestamp < window.since


def _ends_the_piece(
    runs: Sequence[RunRef], at: int, offsets: OffsetRange, window: Window, held_back: Sequence[HeldBack]
) -> bool:
    """True when a record of run `at` is certain to be too late, and no later run decides about what lies up to there.

    A largest timestamp can be that of a batch whose records compaction has taken, of an aborted one, or of one that
    begins in front of the run: such runs prove nothing.
    """
    facts = runs[at].facts
    if window.until is None or window.rule != CUT or facts.max_timestamp <= window.until or held_back:
        return False
    whole = offsets.start <= facts.coverage.start and facts.coverage.stop <= offsets.stop
    borders = facts.coverage.start == 0 or (at > 0 and runs[at - 1].coverage.stop == facts.coverage.start)
    decided = not facts.open_transactions and not any(
        entry.first_offset < facts.coverage.stop for run in runs[at:] for entry in run.facts.aborted
    )
    return whole and borders and decided and not facts.holes and not facts.old_magic


def with_loss(part: PartitionRestore, gaps: Sequence[Gap], within: OffsetRange, allow_loss: str) -> PartitionRestore:
    """The partition with those of the gaps that lie in `within`, ended in front of the first of them if that is allowed."""
    found = tuple(
        replace(gap, offsets=common) for gap in gaps if (common := gap.offsets.intersection(within)) is not None
    )
    if not found or allow_loss != PREFIX:
        return replace(part, gaps=found)
    stop = found[0].offsets.start
    runs = part.runs[: bisect_left(part.runs, stop, key=lambda run: run.coverage.start)]
    carried = carried_by(runs)
    return replace(
        part,
        stop=stop,
        runs=runs,
        gaps=found,
        cut_off=OffsetRange(stop, within.stop),
        most_records=carried.records,
        raw_bytes=carried.raw_bytes,
        carried=carried,
    )


def loss_refusals(
    partitions: Sequence[PartitionRestore], missing: Sequence[MissingPartition], allow_loss: str
) -> list[Refusal]:
    """One for each partition, unless loss is allowed."""
    if allow_loss in (PREFIX, SKIP):
        return []
    if allow_loss != NONE:
        return [Refusal("plan-refused", allow_loss, f"loss {allow_loss} is not one of: none, prefix, skip")]
    return [
        *(
            Refusal(
                DECLARED_LOSS,
                str(part.source),
                f"{part.source}: {part.lost} offset(s) are lost: {', '.join(map(_gap_text, part.gaps))}",
                _HINT,
            )
            for part in partitions
            if part.gaps
        ),
        *(
            Refusal(
                DECLARED_LOSS, str(part.source), _missing_text(part), "--allow-loss prefix or skip creates it empty."
            )
            for part in missing
        ),
    ]


def _gap_text(gap: Gap) -> str:
    return f"{gap.offsets} ({gap.reason}: {gap.evidence})" if gap.evidence else f"{gap.offsets} ({gap.reason})"


def _missing_text(part: MissingPartition) -> str:
    return f"the point holds nothing of {part.source}: {part.reason}"


def loss_warnings(
    partitions: Sequence[PartitionRestore], missing: Sequence[MissingPartition], allow_loss: str
) -> list[str]:
    """What an allowed loss costs, one line for each partition."""
    if allow_loss not in (PREFIX, SKIP):
        return []
    warnings = [
        f"{_missing_text(part)}; "
        + ("nothing of it is restored" if part.target.partition == BY_KEY else "it is created empty")
        for part in missing
    ]
    for part in partitions:
        if not part.gaps:
            continue
        named = examples(part.gaps, _gap_text)
        if part.cut_off is not None:
            warnings.append(f"{part.source} ends at {part.stop}, in front of its first gap: {part.cut_off} is left out")
        else:
            warnings.append(f"{part.source}: {part.lost} offset(s) are lost and left out: {named}")
        warnings += _undecided(part)
    return warnings


def _undecided(part: PartitionRestore) -> list[str]:
    """Transactions that were open where a gap begins: their marker may lie in it (only points at the high watermark)."""
    open_there: set[AbortedTransaction] = set()
    for gap in part.gaps:
        at = bisect_left(part.runs, gap.offsets.start, key=lambda run: run.coverage.stop)
        if at < len(part.runs) and part.runs[at].coverage.stop == gap.offsets.start:
            open_there.update(part.runs[at].facts.open_transactions)
    if not open_there:
        return []
    fate = (
        "one that was aborted inside the gap is restored as if it had been committed"
        if part.cut_off is None
        else "nothing of them is restored"
    )
    return [f"{part.source}: {len(open_there)} transaction(s) were open where a gap begins: {fate}"]


def window_warnings(gaps: Sequence[tuple[str, Gap]]) -> list[str]:
    """`gaps` (partition, gap) that lie outside of what a choice by time needs."""
    if not gaps:
        return []
    named = examples(gaps, lambda found: f"{found[0]} {_gap_text(found[1])}")
    return [
        f"{len(gaps)} gap(s) lie outside of the chosen time as far as the records around them tell, and do not count: {named}"
    ]


def loss_report(plan: RestorePlan, *, started: str, time: str) -> dict[str, Any]:
    """What is declared lost and what hangs on it, for the repository's audit; `started` names the restore's own record."""
    return {
        "time": time,
        "started": started,
        "point": plan.point,
        "target_cluster": plan.target_cluster,
        "allow_loss": plan.allow_loss,
        "partitions": [
            {
                "source": [part.source.topic, part.source.topic_id, part.source.partition, part.source.lineage],
                "target": [part.target.topic, part.target.partition],
                "restored": [part.start, part.stop],
                "cut_off": None if part.cut_off is None else [part.cut_off.start, part.cut_off.stop],
                "gaps": [
                    {
                        "from": gap.offsets.start,
                        "to": gap.offsets.stop,
                        "reason": gap.reason,
                        "evidence": gap.evidence,
                        "time": gap.time,
                    }
                    for gap in part.gaps
                ],
            }
            for part in plan.partitions
            if part.gaps
        ],
        "missing": [
            {
                "source": [part.source.topic, part.source.partition],
                "target": [part.target.topic, part.target.partition],
                "reason": part.reason,
            }
            for part in plan.missing
        ],
        "positions": [
            {
                "group_id": position.group_id,
                "source": [position.source.topic, position.source.partition],
                "target": [position.target.topic, position.target.partition],
                "committed": position.committed,
                "place": position.place,
                "note": position.note,
            }
            for position in plan.not_set
        ],
    }
