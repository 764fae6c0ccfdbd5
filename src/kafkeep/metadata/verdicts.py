"""What planning has decided so far: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from kafkeep.metadata.options import ApplyOptions
from kafkeep.metadata.plan import Change, LeftOut, SchemaId, Step


class Verdicts:
    """Collects steps, what is left out and what speaks against the plan, under the rule for what exists already."""

    def __init__(self, options: ApplyOptions) -> None:
        self._existing = options.existing
        self.steps: list[Step] = []
        self.left_out: list[LeftOut] = []
        self.refusals: list[LeftOut] = []
        self.unchanged: Counter[str] = Counter()
        self.schema_ids: list[SchemaId] = []

    def leave_out(self, area: str, subject: str, reason: str, *, missing: bool = False) -> None:
        self.left_out.append(LeftOut(area, subject, reason, missing))

    def refuse(self, area: str, subject: str, reason: str) -> None:
        self.refusals.append(LeftOut(area, subject, reason, missing=True))

    def changes(
        self,
        area: str,
        subject: str,
        wanted: Mapping[str, str],
        now: Mapping[str, str | None],
        extra: Iterable[str],
    ) -> tuple[Change, ...]:
        """What to set so that `now` becomes `wanted`, and to take away of `extra`. Keys that have another value already
        go by the rule for what exists.
        """
        found: list[Change] = []
        for key, value in sorted(wanted.items()):
            if key not in now:
                found.append(Change(key, None, value))
            elif now[key] == value:
                self.unchanged[area] += 1
            elif self._existing == "align":
                found.append(Change(key, now[key], value))
            else:
                self._differs(area, f"{subject}: {key}", now[key], value)
        return (*found, *(Change(key, now[key], None) for key in sorted(extra)))

    def _differs(self, area: str, subject: str, now: str | None, wanted: str) -> None:
        told = "a value that brokers do not show" if now is None else now
        if self._existing == "fail":
            self.refuse(area, subject, f"the target has {told}, the point {wanted}")
        else:
            self.leave_out(area, subject, f"the target's {told} is kept, the point has {wanted}")
