"""What the caller of an executor receives, in one stream."""

from __future__ import annotations

from typing import Generic, TypeVar

from kafkeep.records import dataclass

Task = TypeVar("Task")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Emitted(Generic[Item]):
    """Something a task handed over before its end."""

    item: Item


@dataclass(frozen=True, slots=True)
class Finished(Generic[Task, Result]):
    """A task that returned."""

    task: Task
    result: Result


@dataclass(frozen=True, slots=True)
class Lost(Generic[Task]):
    """A task whose worker ended under it. All that it emitted came before; what else it did is not known."""

    task: Task
    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing arrived for `tick_seconds`: the caller's chance to look at its clock."""


Message = Emitted[Item] | Finished[Task, Result] | Lost[Task] | Tick
