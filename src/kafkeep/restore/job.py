"""The record of a restore in the repository's audit: the plan before anything is changed, what the topics were when the
first record went in, what was loaded before the guard ended, the report at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from kafkeep.kafka.topology import NO_NODE
from kafkeep.repository.repository import Repository
from kafkeep.repository.shapes import to_shape
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import APPEND, BY_KEY, CREATE, GroupRestore, PartitionRestore, ProducerIdentity, RestorePlan
from kafkeep.restore.produce import DONE, UNCLEAR, WORKING, PartitionProgress, sequence_after
from kafkeep.restore.record import (
    JobBeginning,
    JobRecord,
    LoadedPartition,
    OpenedTopic,
    planned_ranges,
)
from kafkeep.restore.result import RepartitionedTopic, RestoredGroup, RestoredPartition, RestoreResult
from kafkeep.restore.unfinished import FINISHED, LOADED, OPENED, STARTED, job_by_name
from kafkeep.restore_reports import keep_offset_map
from kafkeep.times import rfc3339


class RestoreJob:
    """Written in several objects, because nothing in a repository is ever changed."""

    def __init__(
        self, repository: Repository, plan: RestorePlan, record: JobRecord, now: Callable[[], datetime]
    ) -> None:
        self._repository = repository
        self._plan = plan
        self._record = record
        self._now = now
        self._opened = dict(record.opened)

    @classmethod
    def begin(
        cls,
        repository: Repository,
        plan: RestorePlan,
        options: RestoreOptions,
        producer: ProducerIdentity,
        *,
        now: Callable[[], datetime],
        beside: Mapping[str, Any] | None = None,
    ) -> RestoreJob:
        """Puts down what is about to happen, above all the settings that a guard will hide until the end, and all that a
        later process must know to send the very same batches. `beside` is kept for the caller."""
        beginning = JobBeginning(
            point=plan.point,
            target_cluster=plan.target_cluster,
            options=options,
            producer=producer,
            topics=plan.topics,
            partitions=planned_ranges(plan),
        )
        more = {"beside": dict(beside)} if beside else {}
        name = repository.put_audit(STARTED, {"time": rfc3339(now()), **to_shape(beginning), **more})
        record = JobRecord(name=name, beginning=beginning, opened={}, loaded={}, positions={})
        return cls(repository, plan, record, now)

    @classmethod
    def resume(cls, repository: Repository, plan: RestorePlan, name: str, *, now: Callable[[], datetime]) -> RestoreJob:
        """The job that the plan continues. Raises as `unfinished.find_job`."""
        return cls(repository, plan, job_by_name(repository, name), now)

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def producer(self) -> ProducerIdentity:
        return self._record.beginning.producer

    @property
    def opened(self) -> Mapping[str, OpenedTopic]:
        """By target topic, whichever process opened it."""
        return self._opened

    @property
    def created(self) -> tuple[str, ...]:
        """Target topics that this job made."""
        topics = self._record.beginning.topics
        return tuple(topic.target for topic in topics if topic.action == CREATE and topic.target in self._opened)

    @property
    def appended(self) -> frozenset[str]:
        """Target topics that held records of others when the job began."""
        return frozenset(topic.target for topic in self._record.beginning.topics if topic.action == APPEND)

    def open(self, topics: Sequence[OpenedTopic]) -> None:
        """Keeps where the first records will go, before the first one does."""
        found = [topic for topic in topics if topic.target not in self._opened]
        if found:
            self._put(OPENED, {"topics": [to_shape(topic) for topic in found]})
            self._opened |= {topic.target: topic for topic in found}

    def parts(self, topic_ids: Mapping[str, str], spread: Iterable[PartitionRestore]) -> list[PartitionProgress]:
        """Where the plan's partitions stand before the first record of this process; `spread`: those of its repartitioned
        topics."""
        found = [part for part in self._plan.partitions if part.target.partition != BY_KEY]
        return [self._progress(part) for part in (*found, *spread) if part.target.topic in topic_ids]

    def _progress(self, part: PartitionRestore) -> PartitionProgress:
        opened = self._opened[part.target.topic]
        state = PartitionProgress(
            part=part,
            target_id=opened.topic_id,
            leader=NO_NODE,
            opened=opened.ends[part.target.partition],
            source_next=part.start,
            sequence=sequence_after(0),
            status=UNCLEAR if part.target.topic in self._record.opened else WORKING,
        )
        loaded = self._record.loaded.get(part.target)
        return state if loaded is None else _whole(state, loaded)

    def load(self, partitions: Sequence[RestoredPartition], progress: Sequence[PartitionProgress]) -> None:
        """Keeps what is whole before the guard ends: after that the target may delete and compact."""
        sizes = {state.part.target: state.size_bytes for state in progress}
        parts = [self._partition(part) | {"size_bytes": sizes[part.target]} for part in partitions]
        self._put(LOADED, {"partitions": parts})

    def groups_left(self) -> RestorePlan:
        """The plan with the positions that no earlier process has set: since then their groups may have moved on."""
        done = self._record.positions
        groups = tuple(
            replace(group, positions=tuple(p for p in group.positions if (group.group_id, p.target) not in done))
            for group in self._plan.groups
        )
        return replace(self._plan, groups=groups)

    def groups_set(self, found: Sequence[RestoredGroup]) -> tuple[RestoredGroup, ...]:
        """What this process has set, with what earlier ones had, in the order of the plan."""
        mine = {group.group_id: group for group in found}
        merged = [self._merged(group, mine.get(group.group_id)) for group in self._plan.groups]
        return tuple(group for group in merged if group.positions)

    def _merged(self, planned: GroupRestore, mine: RestoredGroup | None) -> RestoredGroup:
        done = {position[0]: position for position in mine.positions} if mine is not None else {}
        for position in planned.positions:
            earlier = self._record.positions.get((planned.group_id, position.target))
            if earlier is not None:
                done.setdefault(position.target, (position.target, *earlier))
        positions = tuple(done[p.target] for p in planned.positions if p.target in done)
        return (
            RestoredGroup(group_id=planned.group_id, positions=positions, read_again=planned.read_again)
            if mine is None
            else replace(mine, positions=positions)
        )

    def finish(self, result: RestoreResult) -> str:
        """Keeps the offset maps and the report; returns the report's object name."""
        return self._put(
            FINISHED,
            {
                "point": result.point,
                "target_cluster": self._plan.target_cluster,
                # A map holds for no later topic of the same name.
                "target_topic_ids": {target: topic.topic_id for target, topic in self._opened.items()},
                "partitions": [self._partition(part) for part in result.partitions],
                "repartitioned": [self._repartitioned(topic) for topic in result.repartitioned],
                "groups": [
                    {
                        "group_id": group.group_id,
                        "positions": [[p.topic, p.partition, source, target] for p, source, target in group.positions],
                    }
                    for group in result.groups
                ],
                "failures": [[failure.subject, failure.reason, failure.message] for failure in result.failures],
                "positions_not_set": len(result.not_set),
                "loss_report": result.loss_report,
                "interrupted": result.interrupted,
            },
        )

    def _partition(self, part: RestoredPartition) -> dict[str, Any]:
        return {
            "source": [part.source.topic, part.source.topic_id, part.source.partition, part.source.lineage],
            "source_range": [part.source_range.start, part.source_range.stop],
            "target": [part.target.topic, part.target.partition],
            "complete": part.complete,
            "records": part.offset_map.records,
            "offset_map": keep_offset_map(self._repository, part.offset_map),
        }

    def _repartitioned(self, topic: RepartitionedTopic) -> dict[str, Any]:
        """What a later process needs to spread the same records again, and where they lie. `source` of `partitions` names
        no partition, and `source_range` counts records."""
        sources = [part for part in self._plan.partitions if part.target.topic == topic.target]
        return {
            "source": topic.source,
            "target": topic.target,
            "sources": [
                [part.source.partition, part.source.topic_id, part.source.lineage, part.start, part.stop]
                for part in sources
            ],
            "by_time": any(not part.window.is_open for part in sources),
            "partitions": [self._partition(part) for part in topic.partitions],
        }

    def _put(self, kind: str, value: Mapping[str, Any]) -> str:
        return self._repository.put_audit(kind, {"time": rfc3339(self._now()), "started": self.name, **value})


def _whole(state: PartitionProgress, loaded: LoadedPartition) -> PartitionProgress:
    return replace(
        state,
        source_next=loaded.source_range.stop,
        sequence=sequence_after(loaded.offset_map.records),
        rows=loaded.offset_map.rows,
        size_bytes=loaded.size_bytes,
        ended_at=loaded.offset_map.end,
        status=DONE,
    )
