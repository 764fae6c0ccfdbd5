"""Counts what `Progress` events add up to: share, rate, time left. Pure: the clock comes in."""

from __future__ import annotations

from kafkeep.cli.text import count_text, duration_text, size_text
from kafkeep.events import Progress, WorkPlanned
from kafkeep.records import dataclass


@dataclass(slots=True, kw_only=True)
class Tally:
    """One operation on its way. Totals are None where nobody knows them beforehand."""

    operation: str
    began: float
    """Monotonic seconds."""
    total_records: int | None = None
    total_bytes: int | None = None
    records: int = 0
    size_bytes: int = 0

    @classmethod
    def of(cls, planned: WorkPlanned, now: float) -> Tally:
        return cls(
            operation=planned.operation, began=now, total_records=planned.records, total_bytes=planned.size_bytes
        )

    def add(self, progress: Progress) -> None:
        self.records += progress.records
        self.size_bytes += progress.size_bytes

    def rate(self, now: float) -> float:
        """Bytes a second since the beginning."""
        elapsed = now - self.began
        return self.size_bytes / elapsed if elapsed > 0 else 0.0

    def share(self) -> float | None:
        """Between 0 and 1, by bytes where their total is known, else by records; None when neither is."""
        for done, total in ((self.size_bytes, self.total_bytes), (self.records, self.total_records)):
            if total is not None:
                return min(done / total, 1.0) if total > 0 else 1.0
        return None

    def seconds_left(self, now: float) -> float | None:
        share = self.share()
        elapsed = now - self.began
        if share is None or share <= 0 or elapsed <= 0:
            return None
        return elapsed * (1 - share) / share

    def text(self, now: float) -> str:
        """`42 %, 512 MB, 1 234 567 records, 210 MB/s, 0:07 left`; `42 %, 500 done, 0:07 left` where bytes do not count."""
        share, left = self.share(), self.seconds_left(now)
        parts = [f"{share:.0%}".replace("%", " %")] if share is not None else []
        if self.size_bytes or self.total_bytes is not None or self.total_records is None:
            parts += [size_text(self.size_bytes), f"{count_text(self.records)} records"]
            parts += [f"{size_text(self.rate(now))}/s"]
        else:
            parts += [f"{count_text(self.records)} done"]
        parts += [f"{duration_text(left)} left"] if left is not None else []
        return ", ".join(parts)
