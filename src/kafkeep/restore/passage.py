"""A partition's batches going past the time window of a restore: which are wanted as a whole, which in part, and where it
ends.
"""

from __future__ import annotations

from kafkeep.kafka.wire.batch import needs_rebuild
from kafkeep.kafka.wire.repack import NOTHING, Slices, cut_out
from kafkeep.model import BatchInfo
from kafkeep.playback import PlayedBatch, TooEarly
from kafkeep.restore.window import CUT, FILTER, Window


class Passage:
    """A partition's batches going past a window, in offset order."""

    def __init__(self, window: Window, *, begun: bool) -> None:
        """`begun`: a record of the partition was taken before, so that no later one is too early for a cut."""
        self._window = window
        self._early_ones = window.since is not None and not (begun and window.rule == CUT)
        """True while a record may be left out for being too early."""
        self.is_over = False
        """True once no record that is still to come is wanted."""

    @property
    def too_early(self) -> TooEarly | None:
        """What playback need not fetch."""
        window = self._window
        if window.since is None or not self._early_ones:
            return None
        return TooEarly(window.since, leading=window.rule == CUT)

    def take(self, played: PlayedBatch) -> Slices | None:
        """The wanted records of the next batch; None when these are all of it and a new header is all it needs."""
        info = played.info
        wanted = self._by_header(info)
        if wanted is False:
            return NOTHING
        as_it_is = played.whole and not needs_rebuild(info)
        if wanted and as_it_is:
            return None
        records = _inside(cut_out(played.batch, info), played)
        chosen = records if wanted else self._choose(records)
        return None if as_it_is and len(chosen.bodies) == info.record_count else chosen

    def ends_in(self, played: PlayedBatch) -> bool:
        """Lets the next batch pass as `take` does; True when nothing behind it is wanted."""
        if self._by_header(played.info) is None:
            self._choose(_inside(cut_out(played.batch, played.info), played))
        return self.is_over

    def _by_header(self, info: BatchInfo) -> bool | None:
        """True when all records of the batch are wanted, False when none is; None when only they can tell.

        A header's largest timestamp is an upper bound, and the very time of all records where it is the append time.
        Nothing in a header bounds the times from below.
        """
        window = self._window
        if self._early_ones and window.is_early(info.max_timestamp):
            return False
        if window.is_late(info.max_timestamp):
            return None
        if self._early_ones and not info.is_log_append_time:
            return None
        self._begin()
        return True

    def _choose(self, records: Slices) -> Slices:
        window = self._window
        if window.rule == FILTER:
            return _picked(records, [not (window.is_early(at) or window.is_late(at)) for at in records.timestamps])
        count = len(records.timestamps)
        first = 0
        if self._early_ones:
            first = next((n for n, at in enumerate(records.timestamps) if not window.is_early(at)), count)
        last = next((n for n in range(first, count) if window.is_late(records.timestamps[n])), count)
        self.is_over = last < count
        if first < last:
            self._begin()
        return records.part(first, last)

    def _begin(self) -> None:
        if self._window.rule == CUT:
            self._early_ones = False


def _inside(records: Slices, played: PlayedBatch) -> Slices:
    """Those with offsets in the played range."""
    if played.whole:
        return records
    places = [n for n, offset in enumerate(records.offsets) if played.start <= offset < played.stop]
    return records.part(places[0], places[-1] + 1) if places else NOTHING


def _picked(records: Slices, wanted: list[bool]) -> Slices:
    if all(wanted):
        return records
    chosen = [row for row, keep in zip(zip(*records, strict=True), wanted, strict=True) if keep]
    return Slices(*map(list, zip(*chosen, strict=True))) if chosen else NOTHING
