"""The protocol where the log is trimmed, walked through completely within bounds (tests/support/trimming_model.py).

The weakened variants leave one rule out, and each of them is caught.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tests.support.trimming_model import Rules, explore


@pytest.mark.parametrize(
    "rules",
    [
        Rules(longest_log=3, most_crashes=0),
        Rules(longest_log=3, admins=1, writers=2, most_crashes=0),
        Rules(admins=1, milestone=3, most_begun=2),
        Rules(admins=1, readers=1, most_crashes=0),
        Rules(admins=1, most_begun=3, most_crashes=0),
    ],
    ids=["two-admins", "two-writers", "three-slots", "readers-on-the-way", "epochs"],
)
def test_the_protocol_keeps_its_promises_in_every_world_within_the_bounds(rules: Rules) -> None:
    began = time.process_time()
    walk = explore(rules)
    assert walk.broken is None, walk.story
    assert walk.worlds > 10_000, "a walk that sees little proves little"
    assert time.process_time() - began < 40


def test_a_log_was_trimmed_and_strays_lay_in_it() -> None:
    """The walks above are worth something: they come through what they are about."""
    seen: set[str] = set()
    explore(Rules(longest_log=3, admins=1, writers=2, most_crashes=0), seen)
    for what in ("deletes 1", "begins anew", "finds itself in the state", "finds what does not follow", "arrives"):
        assert any(what in one for one in seen), what


def test_who_does_not_look_for_itself_is_caught_by_the_rule_of_contiguity() -> None:
    walk = explore(Rules(looks_for_itself=False, longest_log=3, admins=1, writers=2, most_crashes=0))
    assert walk.broken is None, walk.story


@pytest.mark.parametrize(
    ("rules", "broken"),
    [
        (Rules(asks_after_created=False, longest_log=3, most_begun=2), "what was reported is not in the log"),
        (Rules(asks_at_the_end=False, milestone=3, writers=2), "a reader does not see what was reported"),
        (Rules(waits_for_milestone=False, milestone=3), "who comes new reads something else"),
        (Rules(keeps_milestones=False, writers=0, most_begun=4, longest_log=5), "who comes new reads something else"),
        (Rules(below_the_root=False), "who comes new cannot read the log"),
        (Rules(head_may_be_root=False), "who comes new cannot read the log"),
        (Rules(forgives_strays=False, writers=2, longest_log=3), "a reader stops at a log that is whole"),
        (Rules(forgives_in_cache=False, writers=2, longest_log=3), "a reader stops at a log that is whole"),
        (Rules(begins_anew=False, readers=1), "a reader stops at a log that is whole"),
    ],
)
def test_leaving_out_a_rule_is_caught_at_once(rules: Rules, broken: str) -> None:
    began = time.process_time()
    walk = explore(replace(rules, admins=1, most_crashes=0))
    assert walk.broken == broken
    assert walk.story
    assert time.process_time() - began < 10
