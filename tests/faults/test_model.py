"""P8: random steps on a repository, and the same on a few dictionaries."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from tests.property.test_repository_state import RepositoryMachine
from tests.support.faults import Figures


@pytest.mark.fault("P8")
def test_p8_repository_against_a_model(fault: Figures) -> None:
    """Whatever is written, committed, lost in a race, reopened or refused: both say the same after every step."""
    counts: Counter[str] = Counter()

    class Counted(RepositoryMachine):
        @invariant()
        def count(self) -> None:
            counts["steps"] += 1

    examples = fault.count(quick=3, full=400)
    run_state_machine_as_test(Counted, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))
    fault.figures(steps=counts["steps"])
