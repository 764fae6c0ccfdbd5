"""Which points are kept, and the reason of each: pure.

Points are judged apart by what they were made of: another selection of topics, or no records at all, is another series. So
is what a key signed that is trusted no more: whoever stole it could else fill the rules with points of its own. All times are
UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import field
from datetime import datetime, timedelta
from typing import Final

from kafkeep.model import RecoveryPoint
from kafkeep.records import dataclass
from kafkeep.repository.changes import Pin, has_tag
from kafkeep.repository.nouns import parse_time
from kafkeep.times import rfc3339

_Bucket = Callable[[datetime], tuple[int, ...]]

_PERIODS: Final[Mapping[str, _Bucket]] = {
    "hourly": lambda moment: (moment.year, moment.month, moment.day, moment.hour),
    "daily": lambda moment: (moment.year, moment.month, moment.day),
    "weekly": lambda moment: moment.isocalendar()[:2],
    "monthly": lambda moment: (moment.year, moment.month),
    "yearly": lambda moment: (moment.year,),
}


APART: Final = "apart"
NONE: Final = "none"
TOGETHER: Final = "together"
DISTRUSTED: Final = (APART, NONE, TOGETHER)
"""Points whose signer is trusted no more are judged by the same rules as a series of their own, are kept by no rule, or are
counted among the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRules:
    """A point is kept when one of these speaks for it."""

    last: int = 0
    """So many of the newest."""
    hourly: int = 0
    """The newest of each of so many hours that have any; and so on."""
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within_seconds: float | None = None
    """All that are not older."""
    tags: tuple[str, ...] = ()
    """All with one of these tags, `KEY` or `KEY=VALUE`."""
    min_points: int = 3
    """Never fewer than so many of a series, whatever the rest says."""
    distrusted: str = "apart"
    """Points whose signer is trusted no more: one of `DISTRUSTED`."""

    @property
    def empty(self) -> bool:
        """True when nothing but the minimum would be kept."""
        counts = (self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly)
        return not any(counts) and self.within_seconds is None and not self.tags


_DAY: Final = 24 * 3600.0
_APART: Final = "counted apart"
_SKEW: Final = timedelta(minutes=5)
"""Clocks of several writers may differ by so much: docs/retention.md, "Rules"."""

POLICIES: Final[Mapping[str, KeepRules]] = {
    "production": KeepRules(daily=30, weekly=13, monthly=12),
    "staging": KeepRules(within_seconds=14 * _DAY),
    "development": KeepRules(within_seconds=7 * _DAY),
}
"""Ready rules by name: a month of days, a quarter of weeks and a year of months; two weeks; one week."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose signature a point carries."""

    key: str
    """16 hexadecimal digits."""
    name: str = ""
    trusted: bool = True
    """Whether it still is."""

    def __str__(self) -> str:
        return f"{self.name or self.key}{'' if self.trusted else ', trusted no more'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a point, and why."""

    point: int
    name: str | None
    finished: str
    complete: bool
    keep: bool
    reasons: tuple[str, ...]
    signer: Signer | None = None
    """None where nothing is signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What speaks for a point besides the rules."""

    now: datetime
    pins: Mapping[int, Pin] = field(default_factory=dict)
    verified_head: int | None = None
    """The newest commit that a verification without findings has seen."""
    perhaps_verified: frozenset[int] = frozenset()
    """Points that a report may speak for which cannot be read."""
    unread_reports: int = 0
    """How many reports cannot be read."""
    skew_seconds: float | None = None
    """How far this host's clock is ahead of the store's, below zero when it is behind; None where the store has none."""
    signers: Mapping[int, Signer] = field(default_factory=dict)
    """Who signed each point, in a repository whose commits are signed."""


def judge(points: Sequence[RecoveryPoint], rules: KeepRules, circumstances: Circumstances) -> tuple[Verdict, ...]:
    """A verdict on each of the points, oldest first."""
    signers = circumstances.signers
    strange = frozenset(number for number, signer in signers.items() if not signer.trusted)
    if rules.distrusted == TOGETHER:
        strange = frozenset()
    reasons: dict[int, list[str]] = {point.number: [] for point in points}
    series: dict[tuple[tuple[str, ...], bool], list[RecoveryPoint]] = {}
    for point in reversed(points):
        series.setdefault((point.selection, bool(point.cuts)), []).append(point)
    for newest_first in series.values():
        for number, reason in _of_series(newest_first, strange, rules, circumstances.now):
            reasons[number].append(reason)
    for number, reason in _held(points, strange, circumstances):
        reasons[number].append(reason)
    for newest_first in series.values():
        for point in _to_the_minimum(newest_first, strange, reasons, rules):
            reasons[point.number].append(f"never fewer than {rules.min_points}")
    return tuple(
        _verdict(point, reasons[point.number], signers.get(point.number), strange, rules.distrusted) for point in points
    )


def _of_series(
    newest_first: Sequence[RecoveryPoint], strange: Set[int], rules: KeepRules, now: datetime
) -> Iterable[tuple[int, str]]:
    """(point, reason) by the rules: none of the `strange` ones takes the place of another."""
    # What the newest one says of deletions in compacted topics decides how the next backup reads them.
    yield newest_first[0].number, "the newest"
    counted = [point for point in newest_first if point.number not in strange]
    if counted and counted[0] is not newest_first[0]:
        yield counted[0].number, "the newest of a trusted signer"
    yield from _kept(counted, rules, now)
    if rules.distrusted == APART:
        apart = _kept([point for point in newest_first if point.number in strange], rules, now)
        yield from ((number, f"{_APART}: {reason}") for number, reason in apart)


def _to_the_minimum(
    newest_first: Sequence[RecoveryPoint], strange: Set[int], reasons: Mapping[int, Sequence[str]], rules: KeepRules
) -> Sequence[RecoveryPoint]:
    """Points of a series that stay because too few would be left. Those of trusted signers are counted alone, and the others
    come in where these are too few."""
    counted = [point for point in newest_first if point.number not in strange]
    kept = sum(bool(reasons[point.number]) for point in counted)
    more = [point for point in counted if not reasons[point.number]][: max(0, rules.min_points - kept)]
    others = [point for point in newest_first if point.number in strange]
    kept += len(more) + sum(bool(reasons[point.number]) for point in others)
    return [*more, *[point for point in others if not reasons[point.number]][: max(0, rules.min_points - kept)]]


def _verdict(
    point: RecoveryPoint, reasons: Sequence[str], signer: Signer | None, strange: Set[int], distrusted: str
) -> Verdict:
    why = "no rule speaks for it"
    if point.number in strange:
        why = f"{_APART}: {why}" if distrusted == APART else "its signer is trusted no more, and no rule counts it"
    return Verdict(
        point=point.number,
        name=point.name,
        finished=point.finished,
        complete=point.complete,
        keep=bool(reasons),
        reasons=tuple(reasons) if reasons else (why,),
        signer=signer,
    )


def _kept(newest_first: Sequence[RecoveryPoint], rules: KeepRules, now: datetime) -> Iterable[tuple[int, str]]:
    """(point, reason) by the rules, for points that are counted together."""
    past = [point for point in newest_first if parse_time(point.finished) <= now]
    known = {point.number for point in past}
    yield from ((point.number, "dated in the future") for point in newest_first if point.number not in known)
    back = _dated_back(past)
    past = [point for point in past if point.number not in back]
    kept: set[int] = set()
    for number, reason in _by_rules(past, rules, now):
        kept.add(number)
        yield number, reason
    yield from (
        (number, f"dated before point {older}, stays with it") for number, older in back.items() if older in kept
    )
    for tag in rules.tags:
        yield from ((point.number, f"tagged {tag}") for point in newest_first if has_tag(point.tags, tag))


def _dated_back(newest_first: Sequence[RecoveryPoint]) -> dict[int, int]:
    """Points whose date is before that of an older one, with the newest older one that is not such: whoever may write could
    else fill every rule with points of any date, and all genuine ones would go."""
    back: dict[int, int] = {}
    latest: RecoveryPoint | None = None
    for point in reversed(newest_first):
        if latest is not None and parse_time(point.finished) < parse_time(latest.finished) - _SKEW:
            back[point.number] = latest.number
        else:
            latest = point
    return back


def _by_rules(past: Sequence[RecoveryPoint], rules: KeepRules, now: datetime) -> Iterable[tuple[int, str]]:
    """(point, reason) by counts, periods and age, for one series whose dates rise; newest first."""
    complete = 0
    for point in past:
        if complete >= rules.last:
            break
        complete += point.complete
        yield point.number, f"one of the last {rules.last}" if point.complete else "newer than the last complete ones"
    for name, bucket in _PERIODS.items():
        yield from _by_period(past, name, getattr(rules, name), bucket)
    if rules.within_seconds is not None:
        since = now - timedelta(seconds=rules.within_seconds)
        kept = (point for point in past if parse_time(point.finished) >= since)
        yield from ((point.number, f"not older than {rfc3339(since)}") for point in kept)


def _by_period(
    newest_first: Sequence[RecoveryPoint], name: str, count: int, bucket: _Bucket
) -> Iterable[tuple[int, str]]:
    """The newest complete point of each of the last `count` periods that have any; the newest where none is complete."""
    found: dict[tuple[int, ...], RecoveryPoint] = {}
    for point in newest_first:
        key = bucket(parse_time(point.finished))
        if key not in found:
            if len(found) == count:
                break
            found[key] = point
        elif point.complete and not found[key].complete:
            found[key] = point
    yield from ((point.number, f"{name}: {'-'.join(f'{part:02}' for part in key)}") for key, point in found.items())


def _held(
    points: Sequence[RecoveryPoint], strange: Set[int], circumstances: Circumstances
) -> Iterable[tuple[int, str]]:
    """(point, reason) for what is kept whatever the rules say."""
    time = rfc3339(circumstances.now)
    counted = [point for point in points if point.number not in strange]
    for point in points:
        pin = circumstances.pins.get(point.number)
        # The tag that ends a pin may stand on a point of a thief.
        if pin is not None and pin.holds(time, counted):
            yield point.number, f"pinned: {pin.reason}"
    head = circumstances.verified_head
    verified = [point.number for point in points if head is not None and point.number <= head and point.cuts]
    if verified:
        yield verified[-1], "the newest that was verified"
    trusted = [number for number in verified if number not in strange]
    if trusted and trusted[-1] != verified[-1]:
        yield trusted[-1], "the newest of a trusted signer that was verified"
    yield from (
        (number, "a report that cannot be read may say that it was verified")
        for number in sorted(circumstances.perhaps_verified)
    )
