"""Making packs durable beside the reading: one pack is written while the one before it is synced."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

from kafkeep.events import EventSink, PackStored
from kafkeep.model import Generation, PackRef
from kafkeep.repository.pack import PackWriter, place_of_run


class PackSource(Protocol):
    """What gives new pack writers: a repository."""

    def pack_writer(self) -> PackWriter: ...


class PackPublisher:
    """The packs of one task, in order. At most one pack is being made durable while the next one fills, so memory and
    the amount of unreported data stay bounded; `emit` is called only for packs that are durable.
    """

    def __init__(self, source: PackSource, emit: Callable[[PackRef], None], sink: EventSink) -> None:
        self._source = source
        self._emit = emit
        self._sink = sink
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publish")
        self._pending: Future[PackRef] | None = None
        self._writer: PackWriter | None = None
        self._handed_over: PackWriter | None = None
        """The pack before it, which may still have batches that were lent."""

    @property
    def writer(self) -> PackWriter:
        """The pack being filled; opened when first asked for, so that a round without data makes no object."""
        if self._writer is None:
            self._writer = self._source.pack_writer()
        return self._writer

    def place_in(self, generation: Generation, start: int) -> int:
        """Where in its pack the next batches come to lie, if they are of this generation and begin at `start`."""
        if self._writer is None:
            return place_of_run(0, 0, generation, start)
        return self._writer.place_in(generation, start)

    def publish(self) -> None:
        """Hands the current pack over to be made durable, after the one before it is."""
        self._await_pending()
        writer, self._writer = self._writer, None
        self._handed_over = writer
        if writer is not None:
            self._pending = self._pool.submit(writer.finish)

    def settle(self) -> None:
        """Batches that were lent to packs may be reused when this returns. Raises `StoreError`."""
        for writer in (self._handed_over, self._writer):
            if writer is not None:
                writer.settle()
        self._handed_over = None

    def finish(self) -> None:
        """Everything written is durable and emitted when this returns. Raises what making it durable raised."""
        self.publish()
        self._await_pending()

    def _await_pending(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pack = pending.result()
            if pack.runs:
                self._sink(PackStored(pack.name, len(pack.runs), pack.size))
                self._emit(pack)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if self._writer is not None:
            self._writer.discard()
