"""Landing against the plainest model there is: the list of records that were restored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kafkeep.groups.landing import AT_END, BEFORE_START, BEYOND, EXACT, GAP, HOLE, LOG_START, Route, land
from kafkeep.model import Gap, Generation, OffsetRange, TopicPartition
from kafkeep.offset_map import OffsetMap, OffsetMapBuilder

PARTITION = TopicPartition("orders", 0)
GENERATION = Generation("orders", "A" * 22, 0)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[int, str], int, int, int]:
    """What lies at each source offset from `start` to `stop`, and where the target begins."""
    start = draw(st.integers(0, 20))
    kinds = draw(st.lists(st.sampled_from(["record"] * 4 + ["hole", "lost"]), max_size=40))
    content = {start + index: kind for index, kind in enumerate(kinds)}
    return content, start, start + len(kinds), draw(st.integers(0, 50))


def mapped(content: dict[int, str], base: int) -> tuple[OffsetMap, list[int]]:
    """The map of the records one after the other from `base` on, and their source offsets in target order."""
    records = sorted(offset for offset, kind in content.items() if kind == "record")
    builder = OffsetMapBuilder()
    for index, offset in enumerate(records):
        builder.add(offset, base + index, 1)
    return builder.build(base + len(records)), records


def gaps_of(content: dict[int, str]) -> tuple[Gap, ...]:
    return tuple(
        Gap(GENERATION, OffsetRange(offset, offset + 1), "retention", "", "")
        for offset, kind in sorted(content.items())
        if kind == "lost"
    )


@given(histories(), st.integers(-5, 70), st.integers(0, 10), st.integers(0, 10))
def test_a_group_reads_on_with_the_first_restored_record_it_has_not_read(
    history: tuple[dict[int, str], int, int, int], ahead: int, removed: int, more: int
) -> None:
    content, start, stop, base = history
    committed = max(0, start + ahead)
    offsets, records = mapped(content, base)
    log_start, log_end = min(base + removed, offsets.end + more), offsets.end + more
    route = Route(
        source=PARTITION,
        target=PARTITION,
        offsets=offsets,
        start=start,
        stop=stop,
        gaps=gaps_of(content),
        log_start=log_start,
        log_end=log_end,
    )
    found = land(route, committed, in_gap="next")
    unread = [base + index for index, source in enumerate(records) if source >= committed]
    expected = max(log_start, unread[0] if unread else offsets.end)
    assert found.offset == expected
    assert found.refusal == ""
    refused = land(route, committed, in_gap="refuse").refusal
    assert (refused == "in-gap") == (content.get(committed) == "lost")
    if found.place != LOG_START:
        assert found.place == place(content, committed, start, stop, any_left=bool(unread))


def place(content: dict[int, str], committed: int, start: int, stop: int, *, any_left: bool) -> str:
    if content.get(committed) == "lost":
        return GAP
    if content.get(committed) == "record":
        return EXACT
    if committed < start:
        return BEFORE_START
    if committed > stop:
        return BEYOND
    return HOLE if any_left else AT_END


@given(st.integers(0, 100), st.integers(0, 50), st.integers(0, 50))
def test_the_same_log_never_sends_a_group_where_there_is_no_log(committed: int, start: int, length: int) -> None:
    route = Route(
        source=PARTITION,
        target=PARTITION,
        offsets=None,
        start=0,
        stop=100,
        gaps=(),
        log_start=start,
        log_end=start + length,
    )
    found = land(route, committed, in_gap="refuse")
    assert found.offset == min(max(committed, start), start + length)
    assert (found.note == "") == (found.offset == committed)
