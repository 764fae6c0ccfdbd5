"""Runs that exist only as facts: for what is decided from commits alone."""

from __future__ import annotations

from collections.abc import Sequence

from kafkeep.model import AbortedTransaction, Generation, OffsetRange, RunFacts, RunRef


def run_ref(
    of: Generation,
    start: int,
    stop: int,
    *,
    pack: str = "pack",
    index: int = 0,
    aborted: Sequence[AbortedTransaction] = (),
    open_transactions: Sequence[AbortedTransaction] = (),
) -> RunRef:
    facts = RunFacts(
        generation=of,
        coverage=OffsetRange(start, stop),
        leader_epochs=(),
        batches=0,
        records=0,
        control_batches=0,
        raw_bytes=0,
        stored_bytes=0,
        min_base_timestamp=-1,
        max_timestamp=-1,
        log_append_time=False,
        create_time=False,
        largest_batch=0,
        codecs=(),
        aborted=tuple(aborted),
        open_transactions=tuple(open_transactions),
        holes=False,
        old_magic=False,
        blake3="0" * 64,
    )
    return RunRef(facts, pack, index)
