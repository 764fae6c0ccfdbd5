"""Which tests of faults a run picks: those of the rows that are named, or all."""

from __future__ import annotations

import pytest
from tests.support.faults_plugin import wanted_rows


def test_rows_are_picked_by_name_or_not_at_all() -> None:
    assert wanted_rows("") is wanted_rows(" ") is None
    assert wanted_rows("C1 C10") == wanted_rows("C10,C1") == {"C1", "C10"}
    for given in ("C1 X9", "c1", "all"):
        with pytest.raises(pytest.UsageError, match="no such row"):
            wanted_rows(given)
