"""Where a committed source position belongs on the target: pure.

A committed offset is the next one to be read. It may name no record: compaction or a transaction marker left a hole
there, the backup lost the range, or nothing was written behind it yet.
"""

from __future__ import annotations

from typing import Final

from kafkeep.model import Gap, TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.records import dataclass

EXACT: Final = "exact"
"""At the very record; with the same log, at the same offset."""
HOLE: Final = "hole"
"""The source has no record at the offset: at the next one."""
AT_END: Final = "at-end"
"""Behind the last record."""
BEFORE_START: Final = "before-start"
"""The source had removed it already: at the first restored record."""
BEYOND: Final = "beyond"
"""Behind what was restored, because the restore ended earlier: at the restored end."""
GAP: Final = "gap"
"""In a range that the backup lost: at the first record behind it, when that was asked for."""
LOG_START: Final = "log-start"
"""The target's log no longer holds it: at the log start."""
LOG_END: Final = "log-end"
"""The log was cut back below it: at the log end."""
GIVEN: Final = "given"
"""As a file or an earlier job says."""

PLACES: Final = (EXACT, HOLE, AT_END, BEFORE_START, BEYOND, GAP, LOG_START, LOG_END, GIVEN)
TOLD: Final = frozenset({BEFORE_START, BEYOND, GAP, LOG_START, LOG_END})
"""Places that are not what the group had: a plan warns of them."""


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a position goes; with a `refusal` (its kind) it goes nowhere unless that is lifted."""

    offset: int | None
    place: str
    note: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How positions of one source partition are carried over to a target partition."""

    source: TopicPartition
    target: TopicPartition
    offsets: OffsetMap | None
    """None when the target is the very log that was backed up: offsets are the same."""
    start: int
    stop: int
    """The source offsets `[start, stop)` that the target holds."""
    gaps: tuple[Gap, ...]
    log_start: int
    log_end: int
    """Of the target partition now."""


def land(route: Route, committed: int, *, in_gap: str) -> Landing:
    """`in_gap` is one of `options.IN_GAP`."""
    if route.offsets is None:
        return _kept(route, committed, Landing(committed, EXACT if committed < route.log_end else AT_END))
    gap = next((gap for gap in route.gaps if committed in gap.offsets), None)
    offset = route.offsets.translate(committed)
    if gap is not None:
        note = f"in the gap {gap.offsets} ({gap.reason}); what follows lies at {offset}"
        landing = Landing(offset, GAP, note, "" if in_gap == "next" else "in-gap")
    else:
        landing = _mapped(route, route.offsets, committed, offset)
    return _kept(route, offset, landing)


def _mapped(route: Route, offsets: OffsetMap, committed: int, offset: int) -> Landing:
    if offsets.target_of(committed) is not None:
        return Landing(offset, EXACT)
    if committed < route.start:
        return Landing(offset, BEFORE_START, f"the restored records begin at source offset {route.start}")
    if committed > route.stop:
        return Landing(offset, BEYOND, f"the restored records end at source offset {route.stop}")
    last = offsets.rows[-1] if offsets.rows else None
    if last is None or committed >= last.source + last.records:
        return Landing(offset, AT_END)
    return Landing(offset, HOLE)


def _kept(route: Route, offset: int, landing: Landing) -> Landing:
    """The landing held to what the target's log has."""
    if offset < route.log_start:
        return Landing(route.log_start, LOG_START, f"the log begins at {route.log_start} now", landing.refusal)
    if offset > route.log_end:
        return Landing(route.log_end, LOG_END, f"the log ends at {route.log_end} now", landing.refusal)
    return landing
