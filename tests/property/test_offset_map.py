"""The run-length offset map against a plain table of every record."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.errors import CorruptObject
from kafkeep.offset_map import MapRow, OffsetMap, OffsetMapBuilder
from kafkeep.repository.documents import offset_map_from_json, offset_map_to_json

STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5)), max_size=20)
"""(hole at the source, foreign records at the target, records)."""


def built(steps: list[tuple[int, int, int]], first: int) -> tuple[OffsetMap, dict[int, int]]:
    builder, naive = OffsetMapBuilder(), {}
    source, target = first, 2 * first
    for hole, foreign, count in steps:
        source, target = source + hole, target + foreign
        builder.add(source, target, count)
        naive |= {source + at: target + at for at in range(count)}
        source, target = source + count, target + count
    return builder.build(target + 1), naive


@given(STEPS, st.integers(0, 5))
def test_it_answers_like_the_plain_table(steps: list[tuple[int, int, int]], first: int) -> None:
    offset_map, naive = built(steps, first)
    for source in range(max(naive, default=first) + 5):
        assert offset_map.target_of(source) == naive.get(source)
        behind = [offset for offset in naive if offset >= source]
        assert offset_map.translate(source) == (naive[min(behind)] if behind else offset_map.end)
    assert offset_map.records == len(naive)


@given(STEPS, st.integers(0, 5))
def test_rows_are_as_few_as_can_be_and_come_back_from_json(steps: list[tuple[int, int, int]], first: int) -> None:
    offset_map, _ = built(steps, first)
    for before, row in pairwise(offset_map.rows):
        assert before.source + before.records <= row.source and before.target + before.records <= row.target
        assert row.source - before.source != before.records or row.target - before.target != before.records
    assert offset_map_from_json(offset_map_to_json(offset_map)) == offset_map


@given(STEPS, STEPS)
def test_a_builder_goes_on_from_the_rows_of_another(
    before: list[tuple[int, int, int]], after: list[tuple[int, int, int]]
) -> None:
    whole, _ = built(before + after, 1)
    first = OffsetMapBuilder()
    source, target = 1, 2
    builders = [first] * len(before) + [None] * len(after)
    second: OffsetMapBuilder | None = None
    for (hole, foreign, count), builder in zip(before + after, builders, strict=True):
        source, target = source + hole, target + foreign
        if builder is None:
            second = OffsetMapBuilder(first.rows()) if second is None else second
        (builder or second or first).add(source, target, count)
        source, target = source + count, target + count
    assert (second or first).rows() == whole.rows


@given(STEPS, st.sampled_from([0, 2**31, 2**62]), st.integers(0, 80))
def test_positions_never_move_back(steps: list[tuple[int, int, int]], first: int, near: int) -> None:
    """Anywhere in 64 bits: a later position never lands before an earlier one, and a record's own offset lands on it."""
    offset_map, naive = built(steps, first)
    landed = [offset_map.translate(first + at) for at in range(near)]
    assert landed == sorted(landed)
    for source, target in naive.items():
        assert offset_map.translate(source) == offset_map.target_of(source) == target
    assert offset_map.translate(2**63 - 1) == offset_map.end


@given(STEPS.filter(lambda steps: sum(count > 0 for *_, count in steps) > 1), st.data())
def test_rows_out_of_order_are_refused(steps: list[tuple[int, int, int]], data: st.DataObject) -> None:
    offset_map, _ = built(steps, 0)
    if len(offset_map.rows) < 2:
        return
    value = offset_map_to_json(offset_map)
    at = data.draw(st.integers(0, len(offset_map.rows) - 2))
    value["rows"][at], value["rows"][at + 1] = value["rows"][at + 1], value["rows"][at]
    with pytest.raises(CorruptObject, match="known shape"):
        offset_map_from_json(value)


@pytest.mark.parametrize("row", [(4, 20, 1), (9, 14, 1), (3, 9, 2)])
def test_rows_must_rise_on_both_sides(row: tuple[int, int, int]) -> None:
    builder = OffsetMapBuilder([MapRow(0, 10, 5)])
    with pytest.raises(ValueError, match="does not follow"):
        builder.add(*row)
