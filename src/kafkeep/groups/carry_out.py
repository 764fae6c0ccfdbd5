"""Carrying changes out: a few hundred groups at a time, over several connections, each read before and after.

A broker answers the requests of one connection one by one, and a commit is answered when its replicas have it; so
connections, not pipelines, make ten thousand groups fast.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import field

from kafkeep.errors import KafkaError, KafkaUnreachable
from kafkeep.events import EventSink, PartFailed, Progress, ignore
from kafkeep.groups.changes import GroupChange, same_place
from kafkeep.groups.inspect import Positions, positions_of
from kafkeep.groups.result import PositionDifference
from kafkeep.groups.survey import SHARE
from kafkeep.kafka.admin import Admin
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.codes import code_name
from kafkeep.model import Failure, GroupOffset, TopicPartition
from kafkeep.records import dataclass
from kafkeep.work.messages import Finished
from kafkeep.work.threads import run_on_threads

GROUPS_PER_TASK = 100
"""So many groups are read in one request."""
OPERATION = "groups"


@dataclass(slots=True)
class Carried:
    """What came of some changes."""

    done: list[GroupChange] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    differences: list[PositionDifference] = field(default_factory=list)
    interrupted: bool = False

    def add(self, other: Carried) -> None:
        self.done += other.done
        self.failures += other.failures
        self.differences += other.differences
        self.interrupted |= other.interrupted

    def fail(self, change: GroupChange, reason: str, message: str) -> None:
        self.failures.append(Failure(f"group {change.group_id}", reason, f"group {change.group_id}: {message}"))


def carry_out(
    cluster: Cluster,
    changes: Sequence[GroupChange],
    *,
    connections: int,
    stop: threading.Event,
    sink: EventSink = ignore,
) -> Carried:
    """Changes every group whose positions are still what the changes begin from, and reads all of them back.

    A group that fails stops no other. When `stop` is set no further group is begun; what was begun is read back.
    """
    size = max(1, min(GROUPS_PER_TASK, math.ceil(len(changes) / connections)))
    tasks = [changes[first : first + size] for first in range(0, len(changes), size)]
    lost = threading.Event()

    def work(task: Sequence[GroupChange], emit: Callable[[None], None], cancelled: threading.Event) -> Carried:
        carried = Carried()
        if lost.is_set():
            for change in task:
                carried.fail(change, "kafka-unreachable", "not tried, the cluster was lost before")
            return carried
        with cluster.another() as own:
            try:
                _carry_out(own.admin, task, carried, lambda: stop.is_set() or cancelled.is_set())
            except KafkaUnreachable as error:
                lost.set()
                _left(task, carried, error)
            except KafkaError as error:
                _left(task, carried, error)
        return carried

    whole = Carried()
    for message in run_on_threads(tasks, work, threads=connections):
        if isinstance(message, Finished):
            whole.add(message.result)
            for failure in message.result.failures:
                sink(PartFailed(failure.subject, failure.reason, failure.message))
            sink(Progress(OPERATION, sum(len(change.positions) for change in message.result.done), 0))
    return whole


def _left(task: Sequence[GroupChange], carried: Carried, error: KafkaError) -> None:
    """The error for all groups of the task that nothing is known of yet."""
    known = {change.group_id for change in carried.done}
    known |= {failure.subject.removeprefix("group ") for failure in carried.failures}
    known |= {difference.group_id for difference in carried.differences}
    for change in task:
        if change.group_id not in known:
            carried.fail(change, error.slug, f"nobody knows whether it was changed: {error}")


def _carry_out(admin: Admin, task: Sequence[GroupChange], carried: Carried, stopped: Callable[[], bool]) -> None:
    kinds = {change.group_id: change.kind for change in task}
    before = positions_of(admin, kinds)
    begun: list[GroupChange] = []
    for change in task:
        if stopped():
            carried.interrupted = True
            break
        now = before[change.group_id]
        if isinstance(now, KafkaError):
            carried.fail(change, now.slug, str(now))
        elif moved := _moved(change, now):
            carried.fail(change, "moved-meanwhile", f"{moved} was moved while the plan was carried out, left as it is")
        elif _change_group(admin, change, now, carried):
            begun.append(change)
    after = positions_of(admin, {change.group_id: change.kind for change in begun})
    for change in begun:
        _read_back(change, after[change.group_id], carried)


def _moved(change: GroupChange, now: Positions) -> TopicPartition | None:
    """The first position that is no longer what the change begins from."""
    return next((p.target for p in change.positions if not same_place(change.kind, now.get(p.target), p.before)), None)


def _change_group(admin: Admin, change: GroupChange, now: Positions, carried: Carried) -> bool:
    """False when the group is known to be as it was, or when a part of it failed; the failure is noted then."""
    try:
        if change.delete:
            error = admin.delete_groups([change.group_id])[change.group_id]
            codes: dict[TopicPartition, int] = {}
            if error is not None:
                raise error
        elif change.kind == SHARE:
            codes = _change_share_group(admin, change, now)
        else:
            codes = _change_offsets(admin, change)
    except KafkaUnreachable:
        raise
    except KafkaError as error:
        carried.fail(change, error.slug, str(error))
        return False
    failed: dict[int, list[TopicPartition]] = {}
    for target, code in codes.items():
        if code:
            failed.setdefault(code, []).append(target)
    for code, targets in failed.items():
        more = f" and {len(targets) - 1} more" if len(targets) > 1 else ""
        carried.fail(change, code_name(code), f"{targets[0]}{more} refused: {code_name(code)}")
    return not failed


def _change_offsets(admin: Admin, change: GroupChange) -> dict[TopicPartition, int]:
    codes: dict[TopicPartition, int] = {}
    if wanted := [p.after for p in change.positions if p.after is not None]:
        codes |= admin.commit_group_offsets(change.group_id, wanted)
    if gone := [p.target for p in change.positions if p.after is None]:
        codes |= admin.delete_group_offsets(change.group_id, gone)
    return codes


def _change_share_group(admin: Admin, change: GroupChange, now: Positions) -> dict[TopicPartition, int]:
    """Only whole topics can be taken away, so what stays of such a topic is set again."""
    codes: dict[TopicPartition, int] = {}
    wanted = {p.target: p.after.offset for p in change.positions if p.after is not None}
    if gone := {p.target.topic for p in change.positions if p.after is None}:
        changed = {p.target for p in change.positions}
        wanted |= {tp: p.offset for tp, p in now.items() if tp.topic in gone and tp not in changed}
        by_topic = admin.delete_share_group_offsets(change.group_id, gone)
        codes |= {p.target: by_topic[p.target.topic] for p in change.positions if p.after is None}
    return codes | (admin.set_share_group_offsets(change.group_id, wanted) if wanted else {})


def _read_back(change: GroupChange, now: Positions | KafkaError, carried: Carried) -> None:
    if isinstance(now, KafkaError):
        carried.fail(change, now.slug, f"was changed and cannot be read back: {now}")
        return
    wrong = [
        PositionDifference(change.group_id, p.target, _offset(p.after), _offset(now.get(p.target)))
        for p in change.positions
        if not same_place(change.kind, now.get(p.target), p.after)
    ]
    carried.differences += wrong
    if not wrong:
        carried.done.append(change)


def _offset(position: GroupOffset | None) -> int | None:
    return None if position is None else position.offset
