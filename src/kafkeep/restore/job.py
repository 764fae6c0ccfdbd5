"""The record of a restore in the repository's audit: the plan before anything is changed, the report at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from kafkeep.repository.documents import offset_map_to_json
from kafkeep.repository.repository import Repository
from kafkeep.restore.plan import RestorePlan
from kafkeep.restore.result import RestoreResult
from kafkeep.times import rfc3339

STARTED, FINISHED, OFFSET_MAP = "restore-started", "restore-finished", "offset-map"


class RestoreJob:
    """Written in two objects, because nothing in a repository is ever changed: begun and finished."""

    def __init__(self, repository: Repository, plan: RestorePlan, name: str, now: Callable[[], datetime]) -> None:
        self._repository = repository
        self._plan = plan
        self._now = now
        self.name = name

    @classmethod
    def begin(cls, repository: Repository, plan: RestorePlan, *, now: Callable[[], datetime]) -> RestoreJob:
        """Puts down what is about to happen, above all the settings that a guard will hide until the end."""
        name = repository.put_audit(
            STARTED,
            {
                "time": rfc3339(now()),
                "point": plan.point,
                "target_cluster": plan.target_cluster,
                "topics": [
                    {
                        "source": topic.source,
                        "target": topic.target,
                        "action": topic.action,
                        "configs": [list(config) for config in topic.configs],
                        "put_back": [list(config) for config in topic.guard.put_back],
                        "remove": list(topic.guard.remove),
                    }
                    for topic in plan.topics
                ],
            },
        )
        return cls(repository, plan, name, now)

    def finish(self, result: RestoreResult, topic_ids: Mapping[str, str]) -> str:
        """Keeps the offset maps and the report; returns the report's object name. `topic_ids` are the target topics'
        own: a map holds for no later topic of the same name."""
        partitions: list[dict[str, Any]] = []
        for part in result.partitions:
            digest = self._repository.put_document(OFFSET_MAP, offset_map_to_json(part.offset_map))
            partitions.append(
                {
                    "source": [part.source.topic, part.source.topic_id, part.source.partition, part.source.lineage],
                    "source_range": [part.source_range.start, part.source_range.stop],
                    "target": [part.target.topic, part.target.partition],
                    "complete": part.complete,
                    "records": part.offset_map.records,
                    "offset_map": digest,
                }
            )
        return self._repository.put_audit(
            FINISHED,
            {
                "time": rfc3339(self._now()),
                "started": self.name,
                "point": result.point,
                "target_cluster": self._plan.target_cluster,
                "target_topic_ids": dict(topic_ids),
                "partitions": partitions,
                "groups": [
                    {
                        "group_id": group.group_id,
                        "positions": [[p.topic, p.partition, source, target] for p, source, target in group.positions],
                    }
                    for group in result.groups
                ],
                "failures": [[failure.subject, failure.reason, failure.message] for failure in result.failures],
                "interrupted": result.interrupted,
            },
        )
