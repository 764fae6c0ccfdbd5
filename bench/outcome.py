"""What the samples of a workload come to: figures, ratios, and which promises are kept. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.contestants import (
    ALL,
    BACKUP,
    BACKUP_ZSTD,
    COPY,
    DROP,
    OSO,
    PRODUCE,
    PRODUCE_LARGE,
    RESTORE,
    Contestant,
)
from bench.measure import Spread, Usage
from bench.rounds import Sample
from bench.workloads import Workload, by_name

MB: Final = 1e6
GB: Final = 1e9
LEAST_TO_JUDGE: Final = 100 * MB
"""Below this, starting a command is a large part of what it costs."""
MOST_MEMORY: Final = 200
"""MB that a backup promises not to exceed."""
LEAST_OF_PRODUCE: Final = 0.75
PACKERS: Final = (BACKUP, BACKUP_ZSTD)
"""kafkeep's own that are held against peers; the one that packs only where the peer does."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One contestant in one workload."""

    rate: Spread
    """MB of log segments per second, MB = 1e6."""
    cpu: Spread
    """CPU-seconds per GB of log segments, GB = 1e9."""
    rss: Spread
    """Peak, in MB."""
    output: float | None
    """Bytes written per byte of log segments."""
    broker: float | None
    """CPU-seconds of the broker per GB of log segments; None where nobody looked."""
    cores: float | None
    """Cores that both kept busy together."""


@dataclass(frozen=True, slots=True)
class Target:
    """A promise and what came of it."""

    text: str
    found: str
    met: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """A workload's contest."""

    workload: Workload
    size_bytes: int
    batch_bytes: float
    samples: tuple[Sample, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    """Who did not do it, and why."""

    def of(self, contestant: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.contestant == contestant]

    def took_part(self) -> list[Contestant]:
        names = {sample.contestant for sample in self.samples}
        return [each for each in ALL if each.name in names]

    def figures(self, contestant: str) -> Figures:
        usages = [sample.usage for sample in self.of(contestant)]
        beside = [(usage, broker) for usage in usages if (broker := usage.broker_cpu_seconds) is not None]
        outputs = [sample.output_bytes for sample in self.of(contestant) if sample.output_bytes is not None]
        size = self.size_bytes
        return Figures(
            Spread.of([self.size_bytes / MB / usage.seconds for usage in usages]),
            Spread.of([usage.cpu_seconds / (self.size_bytes / GB) for usage in usages]),
            Spread.of([usage.peak_rss_bytes / MB for usage in usages]),
            _median([output / size for output in outputs]),
            _median([broker / (size / GB) for _, broker in beside]),
            _median([(usage.cpu_seconds + broker) / usage.seconds for usage, broker in beside]),
        )

    def ratio(self, contestant: str, against: str) -> Spread:
        """Rate against rate, round by round, so that a slow minute of the machine hits both sides."""
        return self._by_round(contestant, against, lambda usage: 1 / usage.seconds)

    def _by_round(self, contestant: str, against: str, figure: Callable[[Usage], float]) -> Spread:
        others = {sample.number: figure(sample.usage) for sample in self.of(against)}
        mine = self.of(contestant)
        return Spread.of([figure(each.usage) / others[each.number] for each in mine if each.number in others])

    @property
    def bound(self) -> str:
        """What a restore is held against."""
        return PRODUCE_LARGE if self.of(PRODUCE_LARGE) else PRODUCE

    @property
    def is_small(self) -> bool:
        return self.size_bytes < LEAST_TO_JUDGE

    def targets(self) -> list[Target]:
        """What the workload promises and what the samples say to it."""
        found = [*self._backup_targets(), *self._restore_targets()]
        for peer in (each for each in self.took_part() if each.kind == "peer"):
            found += self._against(peer)
        return found

    def _backup_targets(self) -> Iterator[Target]:
        if not self.of(BACKUP):
            return
        figures, workload = self.figures(BACKUP), self.workload
        for least, against, words in (
            (workload.least_of_copy, COPY, "cp and sync"),
            (workload.least_of_drop, DROP, "the fetch that only drops"),
        ):
            if least is not None and self.of(against):
                yield _at_least(f"backup at least {least:.0%} of {words}", self.ratio(BACKUP, against).median, least)
        if (most := workload.most_cpu) is not None:
            cpu = figures.cpu.median
            yield Target(f"backup at most {most} CPU-s/GB", f"{cpu:.2f}", cpu <= most)
        memory = figures.rss.high
        yield Target(f"backup at most {MOST_MEMORY} MB of memory", f"{memory:.0f} MB", memory <= MOST_MEMORY)

    def _restore_targets(self) -> Iterator[Target]:
        if self.of(RESTORE) and self.of(self.bound):
            least = LEAST_OF_PRODUCE
            text = f"restore at least {least:.0%} of raw produce in large batches"
            yield _at_least(text, self.ratio(RESTORE, self.bound).median, least)

    def _against(self, peer: Contestant) -> Iterator[Target]:
        mine = BACKUP if peer.side == "backup" else RESTORE
        if not self.of(mine):
            return
        ours, theirs = self.figures(mine), self.figures(peer.name)
        yield from (
            Target(f"{mine} ahead of {peer.title}, {what}", f"{a:.{digits}f} to {b:.{digits}f}", ahead)
            for what, a, b, digits, ahead in (
                ("MB/s", ours.rate.median, theirs.rate.median, 0, ours.rate.median > theirs.rate.median),
                ("CPU-s/GB", ours.cpu.median, theirs.cpu.median, 2, ours.cpu.median < theirs.cpu.median),
                ("MB of memory", ours.rss.high, theirs.rss.high, 0, ours.rss.high < theirs.rss.high),
            )
        )
        if peer.name in OSO:
            times = self._by_round(peer.name, mine, lambda usage: usage.cpu_seconds).median
            least = self.workload.least_times_oso
            text = f"{mine} at least {least:g} times the CPU efficiency of {peer.title}"
            yield Target(text, f"{times:.1f}", times >= least)


def _median(values: Sequence[float]) -> float | None:
    return Spread.of(values).median if values else None


def _at_least(text: str, found: float, least: float) -> Target:
    return Target(text, f"{found:.0%}", found >= least)


def to_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """All there is: samples as measured, and what was made of them."""
    return [
        {
            "name": outcome.workload.name,
            "title": outcome.workload.title,
            "size_bytes": outcome.size_bytes,
            "batch_bytes": outcome.batch_bytes,
            "failed": dict(outcome.failed),
            "samples": [
                {
                    "contestant": sample.contestant,
                    "round": sample.number,
                    "output_bytes": sample.output_bytes,
                    **sample.usage.to_json(),
                }
                for sample in outcome.samples
            ],
            "targets": [
                {"text": target.text, "found": target.found, "met": target.met} for target in outcome.targets()
            ],
        }
        for outcome in outcomes
    ]


def from_json(found: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """What `to_json` made. Raises KeyError for a workload or contestant that this version does not know."""
    return [
        Outcome(
            by_name(each["name"]),
            each["size_bytes"],
            each["batch_bytes"],
            tuple(_sample(sample) for sample in each["samples"]),
            each.get("failed", {}),
        )
        for each in found
    ]


def _sample(told: Mapping[str, Any]) -> Sample:
    rest = {key: value for key, value in told.items() if key not in ("contestant", "round", "output_bytes")}
    return Sample(told["contestant"], told["round"], Usage(**rest), told["output_bytes"])
