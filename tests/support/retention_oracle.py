"""What retention keeps and what it lets go, written from docs/retention.md in the plainest way: point by point, offset by
offset. For small repositories.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from kafkeep.model import Generation, RecoveryPoint
from kafkeep.repository.state import State
from kafkeep.retention.rules import Circumstances, KeepRules, Signer
from kafkeep.times import rfc3339


def random_rules(dice: random.Random) -> KeepRules:
    """Any mixture of rules, empty ones too."""

    def some(most: int) -> int:
        return dice.choice([0, 0, dice.randint(1, most)])

    return KeepRules(
        last=some(6),
        hourly=some(30),
        daily=some(12),
        weekly=some(6),
        monthly=some(4),
        yearly=some(2),
        within_seconds=dice.choice([None, None, dice.uniform(0, 60 * 24 * 3600)]),
        tags=tuple(dice.sample(["kind", "kind=release", "kind=other", "none"], dice.choice([0, 0, 1, 2]))),
        min_points=dice.choice([1, 1, 2, 3, 5]),
        distrusted=dice.choice(["apart", "apart", "none", "together"]),
    )


def random_signers(dice: random.Random, points: Iterable[RecoveryPoint]) -> dict[int, Signer]:
    """Nobody's, or those of some keys of which some are trusted no more."""
    if dice.random() < 0.3:
        return {}
    share = dice.choice([0.0, 0.2, 0.6, 1.0])
    return {point.number: Signer("00" * 8, "", dice.random() >= share) for point in points}


def kept_points(points: Sequence[RecoveryPoint], rules: KeepRules, about: Circumstances) -> set[int]:
    """Numbers of the points that stay."""
    strange = {number for number, signer in about.signers.items() if not signer.trusted}
    if rules.distrusted == "together":
        strange = set()
    kept = set()
    for point in points:
        if _stays_anyway(point, points, strange, about):
            kept.add(point.number)
        if point.number in strange and rules.distrusted == "none":
            continue
        alike = [
            other
            for other in points
            if _series(other) == _series(point) and (other.number in strange) == (point.number in strange)
        ]
        if _spoken_for(point, alike, rules, about):
            kept.add(point.number)
    honest = {point.number for point in points} - strange
    for wanted in (honest, strange):
        for point in reversed(points):
            series = {other.number for other in points if _series(other) == _series(point)}
            counted = kept & series & honest if wanted is honest else kept & series
            if point.number in wanted and len(counted) < rules.min_points:
                kept.add(point.number)
    return kept


def _stays_anyway(
    point: RecoveryPoint, points: Sequence[RecoveryPoint], strange: set[int], about: Circumstances
) -> bool:
    """The newest of its series and the newest that is not strange, pinned ones, and the same of what was verified."""
    honest = [other for other in points if other.number not in strange]
    for some in (points, honest):
        alike = [other.number for other in some if _series(other) == _series(point)]
        head = about.verified_head
        seen = [other.number for other in some if head is not None and other.number <= head and other.cuts]
        if (alike and point.number == max(alike)) or (seen and point.number == max(seen)):
            return True
    pin = about.pins.get(point.number)
    return pin is not None and pin.holds(rfc3339(about.now), honest)


def _series(point: RecoveryPoint) -> tuple[tuple[str, ...], bool]:
    return point.selection, len(point.cuts) > 0


def _moment(point: RecoveryPoint) -> datetime:
    return datetime.fromisoformat(point.finished)


def _spoken_for(point: RecoveryPoint, series: Sequence[RecoveryPoint], rules: KeepRules, about: Circumstances) -> bool:
    """By a rule, among those that it is counted with."""
    if _moment(point) > about.now or any(_tagged(point, tag) for tag in rules.tags):
        return True
    past = [other for other in series if _moment(other) <= about.now]
    if sum(other.complete for other in past if other.number > point.number) < rules.last:
        return True
    if rules.within_seconds is not None and _moment(point) >= about.now - timedelta(seconds=rules.within_seconds):
        return True
    return any(_holds_its_period(point, past, period, getattr(rules, period)) for period in PERIODS)


def _tagged(point: RecoveryPoint, wanted: str) -> bool:
    return wanted in [text for key, value in point.tags for text in (key, f"{key}={value}")]


PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")


def _period(point: RecoveryPoint, period: str) -> str:
    form = {"hourly": "%Y-%m-%dT%H", "daily": "%Y-%m-%d", "weekly": "%G-W%V", "monthly": "%Y-%m", "yearly": "%Y"}
    return _moment(point).strftime(form[period])


def _holds_its_period(point: RecoveryPoint, past: Sequence[RecoveryPoint], period: str, count: int) -> bool:
    """Of the last `count` periods that have any; the newest complete one of it, or the newest where none is complete."""
    last = sorted({_period(other, period) for other in past}, reverse=True)[:count]
    if _period(point, period) not in last:
        return False
    members = [other for other in past if _period(other, period) == _period(point, period)]
    whole = [other for other in members if other.complete]
    return point.number == max(other.number for other in whole or members)


def idle_packs(state: State, kept: Iterable[int]) -> set[str]:
    """Packs none of whose offsets any kept point or any backup to come needs, and that are not retired already."""
    needed: dict[Generation, set[int]] = {of: set() for of in state.generations}
    for point in state.points:
        if point.number in set(kept):
            for cut in point.cuts:
                needed[cut.generation] |= set(range(cut.start, cut.stop))
    everything = [*state.points, *(point for one in state.retirements.values() for point in one.points)]
    for of, known in state.generations.items():
        told = [(point.number, cut.start) for point in everything for cut in point.cuts if cut.generation == of]
        if known.open:
            needed[of] |= set(range(max(told)[1] if told else known.start, known.next_offset))
    retired = {name for retirement in state.retirements.values() for name in retirement.packs}
    return {
        entry.name
        for entry in state.packs
        if entry.name not in retired
        and all(needed[run.generation].isdisjoint(range(run.coverage.start, run.coverage.stop)) for run in entry.runs)
    }
