"""Which batches a read_committed consumer sees: by batch, without opening records. Pure.

Same rule as the Java consumer (clients/consumer/internals/CompletedFetch.java): a batch belongs to one producer and one
transaction, an aborted transaction is named by producer id and first offset, and its ABORT marker ends it. Matching goes by
producer id alone, because with transaction.version 2 a marker carries a higher epoch than the data (KIP-890).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

from kafkeep.kafka.wire.batch import control_type
from kafkeep.model import CONTROL_BIT, TRANSACTIONAL_BIT, AbortedTransaction, BatchInfo

ABORT_MARKER: Final = 0
"""ControlRecordType ABORT."""
COMMIT_MARKER: Final = 1
"""ControlRecordType COMMIT."""


class CommittedFilter:
    """Feed it every batch of a partition in offset order; it says which ones hold records that count."""

    def __init__(self, aborted: Iterable[AbortedTransaction]) -> None:
        self._waiting = [(entry.first_offset, entry.producer_id) for entry in set(aborted)]
        heapq.heapify(self._waiting)
        self._void: set[int] = set()

    def counts(self, info: BatchInfo, batch: memoryview) -> bool:
        """False for control batches, for data of aborted transactions and for batches that compaction has emptied."""
        while self._waiting and self._waiting[0][0] <= info.last_offset:
            self._void.add(heapq.heappop(self._waiting)[1])
        if info.attributes & CONTROL_BIT:
            if control_type(batch) == ABORT_MARKER:
                self._void.discard(info.producer_id)
            return False
        if info.record_count == 0:
            return False
        return not (info.attributes & TRANSACTIONAL_BIT and info.producer_id in self._void)


class TransactionTracker:
    """Follows transactions by their markers, for readers up to the high watermark: to these a broker lists no aborted
    transactions (core/log/LocalLog.scala), and some are undecided yet. Feed it every batch in offset order.
    """

    def __init__(self, open_transactions: Iterable[AbortedTransaction] = ()) -> None:
        self._open = {entry.producer_id: entry.first_offset for entry in open_transactions}

    def take(self, info: BatchInfo, batch: memoryview) -> AbortedTransaction | None:
        """The transaction that this batch aborts, None for every other batch."""
        if info.attributes & CONTROL_BIT:
            kind = control_type(batch)
            if kind not in (ABORT_MARKER, COMMIT_MARKER):
                return None
            first = self._open.pop(info.producer_id, None)
            return None if first is None or kind == COMMIT_MARKER else AbortedTransaction(info.producer_id, first)
        if info.attributes & TRANSACTIONAL_BIT:
            self._open.setdefault(info.producer_id, info.base_offset)
        return None

    def first_offset(self, producer_id: int) -> int | None:
        """Where the producer's undecided transaction began, None when it has none."""
        return self._open.get(producer_id)

    @property
    def open_transactions(self) -> tuple[AbortedTransaction, ...]:
        """Those begun and not yet decided."""
        return tuple(sorted(AbortedTransaction(producer, first) for producer, first in self._open.items()))
