"""What operations tell while they work: frozen events into a sink that the caller gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from kafkeep.model import Gap, GenerationClosed, GenerationOpened, TopicPartition
from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; `type` is the name in --json output."""

    type: ClassVar[str] = "event"


@dataclass(frozen=True, slots=True)
class Stage(Event):
    """A named stage of a recipe begins."""

    type: ClassVar[str] = "stage"
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class WorkPlanned(Event):
    """How much there is to do: the total that `Progress` counts towards; None where it is not known beforehand."""

    type: ClassVar[str] = "work-planned"
    operation: str
    partitions: int
    records: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """Done since the last `Progress` (deltas, not totals)."""

    type: ClassVar[str] = "progress"
    operation: str
    records: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PackStored(Event):
    type: ClassVar[str] = "pack-stored"
    name: str
    runs: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Committed(Event):
    """A commit is durable: what it covers is restorable from now on."""

    type: ClassVar[str] = "committed"
    number: int
    kind: str
    packs: int
    records: int


@dataclass(frozen=True, slots=True)
class GapFound(Event):
    type: ClassVar[str] = "gap"
    gap: Gap


@dataclass(frozen=True, slots=True)
class GenerationChanged(Event):
    type: ClassVar[str] = "generation"
    change: GenerationOpened | GenerationClosed


@dataclass(frozen=True, slots=True)
class PartFailed(Event):
    type: ClassVar[str] = "part-failed"
    subject: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Warned(Event):
    type: ClassVar[str] = "warning"
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Retried(Event):
    """A retryable error was met and the call is made again after `delay_seconds`."""

    type: ClassVar[str] = "retry"
    what: str
    reason: str
    attempt: int
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class PartitionDone(Event):
    type: ClassVar[str] = "partition-done"
    operation: str
    topic_partition: TopicPartition
    records: int
    size_bytes: int


EventSink = Callable[[Event], None]
"""Called from any thread; must be quick and must not raise."""


def ignore(event: Event) -> None:
    """The sink of callers that do not listen."""
