"""When two recovery points end at the same places."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kafkeep.capture.point import _same_ends
from kafkeep.model import Generation, HeldBack, PartitionCut

CUTS = tuple(
    PartitionCut(
        generation=Generation("orders", "A" * 22, number, 0),
        stop=10 + number,
        start=2,
        high_watermark=20,
        last_stable_offset=10,
        leader_epoch=1,
    )
    for number in range(3)
)
HELD: tuple[HeldBack, ...] = (HeldBack(7, 5, 3),)


def test_order_and_what_the_broker_said_besides_do_not_matter() -> None:
    assert _same_ends(CUTS, CUTS)
    assert _same_ends(CUTS, tuple(reversed(CUTS)))
    assert _same_ends(CUTS, tuple(replace(cut, high_watermark=99, leader_epoch=8) for cut in CUTS))


@pytest.mark.parametrize(
    "changed",
    [{"stop": 12}, {"start": 3}, {"held_back": HELD}, {"generation": Generation("orders", "A" * 22, 1, 1)}],
    ids=lambda changed: next(iter(changed)),
)
def test_an_end_that_differs_is_seen_in_any_order(changed: dict[str, object]) -> None:
    other = (CUTS[0], replace(CUTS[1], **changed), CUTS[2])  # type: ignore[arg-type]
    assert not _same_ends(CUTS, other)
    assert not _same_ends(CUTS, tuple(reversed(other)))


def test_a_partition_more_or_less_is_another_point() -> None:
    assert not _same_ends(CUTS, CUTS[:2])
    assert not _same_ends(CUTS[:2], CUTS)
