"""What the rounds of a following backup tell: a part that fails in every round is told when it begins to."""

from __future__ import annotations

from kafkeep.events import Event, EventSink, PartFailed


class RoundSink:
    """Hands events on, except a failed part that failed for the same reason in the round before."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._before: frozenset[tuple[str, str]] = frozenset()
        self._failed: set[tuple[str, str]] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PartFailed):
            part = (event.subject, event.reason)
            self._failed.add(part)
            if part in self._before:
                return
        self._sink(event)

    def end(self) -> None:
        """A round is over that came to its end: what did not fail in it is told again when it fails again."""
        self._before = frozenset(self._failed)
        self._failed.clear()
