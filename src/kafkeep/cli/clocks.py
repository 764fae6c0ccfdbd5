"""This host's clock held against the store's, by verbs that let go or lock by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkeep.errors import StoreError

if TYPE_CHECKING:
    from kafkeep.cli.common import Run
    from kafkeep.repository.probing import Skew
    from kafkeep.repository.stores.base import Store


def measured_skew(run: Run, store: Store, *, needed: bool) -> Skew | None:
    """None where the store has no clock, or where it cannot be measured and is not `needed`, which is told."""
    from kafkeep.repository.probing import measure_clock

    try:
        return measure_clock(store, now=run.now, rng=run.rng)
    except StoreError as error:
        if needed:
            raise
        run.output.note(f"this host's clock was not held against the store's: {error}")
        return None
