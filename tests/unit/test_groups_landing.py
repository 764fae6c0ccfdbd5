"""Where a single committed position lands: every place there is, and what the log on the target makes of it."""

from __future__ import annotations

import pytest

from kafkeep.groups.landing import (
    AT_END,
    BEFORE_START,
    BEYOND,
    EXACT,
    GAP,
    HOLE,
    LOG_END,
    LOG_START,
    PLACES,
    TOLD,
    Landing,
    Route,
    land,
)
from kafkeep.model import Gap, Generation, OffsetRange, TopicPartition
from kafkeep.offset_map import MapRow, OffsetMap

SOURCE = TopicPartition("orders", 0)
TARGET = TopicPartition("restored", 0)
LOST = Gap(Generation("orders", "A" * 22, 0), OffsetRange(30, 40), "retention", "", "2026-11-20T10:00:00Z")
# Source offsets 10..19, 22..29 and 40..44 were records; 20, 21 held markers, 30..39 are lost, 45..49 compacted away.
MAP = OffsetMap((MapRow(10, 100, 10), MapRow(22, 110, 8), MapRow(40, 118, 5)), 123)


def route(*, offsets: OffsetMap | None = MAP, log: tuple[int, int] = (0, 123)) -> Route:
    return Route(
        source=SOURCE,
        target=TARGET,
        offsets=offsets,
        start=10,
        stop=50,
        gaps=(LOST,),
        log_start=log[0],
        log_end=log[1],
    )


@pytest.mark.parametrize(
    ("committed", "offset", "place"),
    [
        (0, 100, BEFORE_START),
        (9, 100, BEFORE_START),
        (10, 100, EXACT),
        (19, 109, EXACT),
        (20, 110, HOLE),
        (21, 110, HOLE),
        (22, 110, EXACT),
        (29, 117, EXACT),
        (40, 118, EXACT),
        (44, 122, EXACT),
        (45, 123, AT_END),
        (50, 123, AT_END),
        (51, 123, BEYOND),
        (2**63 - 1, 123, BEYOND),
    ],
)
def test_through_the_map(committed: int, offset: int, place: str) -> None:
    for in_gap in ("refuse", "next"):
        found = land(route(), committed, in_gap=in_gap)
        assert (found.offset, found.place, found.refusal) == (offset, place, "")
        assert bool(found.note) == (place in TOLD)


@pytest.mark.parametrize("committed", [30, 35, 39])
def test_a_position_in_a_gap_moves_only_when_that_was_chosen(committed: int) -> None:
    refused = land(route(), committed, in_gap="refuse")
    assert (refused.offset, refused.place, refused.refusal) == (118, GAP, "in-gap")
    assert "[30, 40)" in refused.note and "retention" in refused.note
    assert land(route(), committed, in_gap="next") == Landing(118, GAP, refused.note)


def test_what_the_target_log_no_longer_holds_moves_to_its_start() -> None:
    found = land(route(log=(105, 130)), 12, in_gap="refuse")
    assert (found.offset, found.place) == (105, LOG_START)
    assert land(route(log=(105, 130)), 16, in_gap="refuse") == Landing(106, EXACT)
    assert land(route(log=(125, 130)), 50, in_gap="refuse").offset == 125


def test_nothing_was_restored() -> None:
    empty = route(offsets=OffsetMap((), 7), log=(7, 7))
    assert land(empty, 10, in_gap="refuse") == Landing(7, AT_END)
    assert land(empty, 50, in_gap="refuse") == Landing(7, AT_END)
    assert land(empty, 3, in_gap="refuse").place == BEFORE_START


@pytest.mark.parametrize(
    ("committed", "offset", "place"),
    [(4, 5, LOG_START), (5, 5, EXACT), (34, 34, EXACT), (99, 99, EXACT), (100, 100, AT_END), (101, 100, LOG_END)],
)
def test_the_same_log_keeps_the_offset_it_holds(committed: int, offset: int, place: str) -> None:
    """Also in what the archive lost: the log itself may have it."""
    found = land(route(offsets=None, log=(5, 100)), committed, in_gap="refuse")
    assert (found.offset, found.place, found.refusal) == (offset, place, "")


def test_every_place_that_is_told_has_a_name() -> None:
    assert set(PLACES) >= TOLD
