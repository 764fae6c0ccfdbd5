"""Recovery points and targets as a restore's plan sees them, without a cluster and mostly without a repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.support.repositories import generation

from kafkeep.model import (
    ClusterMetadata,
    Gap,
    Generation,
    Group,
    GroupOffset,
    OffsetRange,
    PartitionCut,
    RecoveryPoint,
    RunFacts,
    RunRef,
    TopicMetadata,
    TopicPartition,
)
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import PartitionContent, PartitionRestore, RestorePlan
from kafkeep.restore.planning import plan_restore
from kafkeep.restore.result import RestoreResult
from kafkeep.restore.survey import TargetSurvey, TargetTopic
from kafkeep.restore.window import Window

NOTHING_PLANNED = RestorePlan(
    point=1,
    source_cluster="source",
    target_cluster="target",
    route="produce",
    topics=(),
    partitions=(),
    groups=(),
    warnings=(),
    refusals=(),
)
RESTORED = RestoreResult(
    point=1,
    job="audit/day/name",
    topics_created=(),
    partitions=(),
    groups=(),
    records=30,
    size_bytes=3_000_000,
    warnings=(),
    failures=(),
    lost=0,
    interrupted=False,
    seconds=1.0,
)
ID = "I" * 22
NOW_MS = 2_000_000_000_000
POINT = RecoveryPoint(
    number=5,
    name=None,
    tags=(),
    started="",
    finished="",
    cluster_id="source",
    cuts=(),
    selection=("*",),
    documents=(),
    consistency="partition",
    complete=True,
    failures=(),
)


def run(topic: str, partition: int, start: int, stop: int, *, newest: int = NOW_MS, **facts: Any) -> RunRef:
    """Other `facts` replace those of a plain run."""
    plain = RunFacts(
        generation=Generation(topic, ID, partition),
        coverage=OffsetRange(start, stop),
        leader_epochs=(),
        batches=1,
        records=stop - start,
        control_batches=0,
        raw_bytes=10 * (stop - start),
        stored_bytes=10,
        min_base_timestamp=0,
        max_timestamp=newest,
        log_append_time=False,
        create_time=True,
        largest_batch=100,
        codecs=(0,),
        aborted=(),
        open_transactions=(),
        holes=False,
        old_magic=False,
    )
    return RunRef(replace(plain, **facts), f"pack-{start}", 0)


def gap(topic: str, partition: int, start: int, stop: int, *, reason: str = "retention") -> Gap:
    return Gap(Generation(topic, ID, partition), OffsetRange(start, stop), reason, f"log start {stop}", "")


def content(
    topic: str,
    partition: int = 0,
    *,
    start: int = 0,
    stop: int = 100,
    history: int = 0,
    gaps: tuple[tuple[int, int], ...] = (),
    newest: int = NOW_MS,
) -> PartitionContent:
    """Runs of fifty offsets. Where gaps are given the runs overlap them, which a plan never looks at."""
    runs = tuple(run(topic, partition, at, at + 50, newest=newest) for at in range(history, stop, 50))
    lost = tuple(gap(topic, partition, *each) for each in gaps)
    return PartitionContent(
        PartitionCut(Generation(topic, ID, partition), stop, start, stop, stop, 0), history, runs, lost
    )


def topic(
    name: str, *, partitions: int = 1, replicas: int = 1, internal: bool = False, **configs: str | None
) -> TopicMetadata:
    named = tuple(sorted((key.replace("_", "."), value) for key, value in configs.items()))
    return TopicMetadata(name, ID, internal, tuple(tuple(range(replicas)) for _ in range(partitions)), named)


def there(name: str, *, partitions: int = 1, empty: bool = True, error: str = "", **overrides: str) -> TargetTopic:
    named = {key.replace("_", "."): value for key, value in overrides.items()}
    return TargetTopic(name=name, topic_id=ID, partitions=partitions, empty=empty, overrides=named, error=error)


def group(name: str, *positions: tuple[str, int], kind: str = "classic") -> Group:
    offsets = tuple(GroupOffset(TopicPartition(topic, 0), offset, 9, f"m{offset}") for topic, offset in positions)
    return Group(name, kind, "Empty", "consumer", offsets)


def planned(
    *topics: TopicMetadata,
    contents: list[PartitionContent] | None = None,
    having: tuple[Group, ...] = (),
    target: Mapping[str, TargetTopic] | None = None,
    active: Mapping[str, str] | None = None,
    brokers: int = 3,
    unsupported: frozenset[tuple[str, str]] = frozenset(),
    point: RecoveryPoint = POINT,
    **options: Any,
) -> RestorePlan:
    found = [content(each.name, number) for each in topics for number in range(len(each.partitions))]
    survey = TargetSurvey(
        cluster_id="target", brokers=brokers, topics=target or {}, active_groups=active or {}, unsupported=unsupported
    )
    return plan_restore(
        point,
        ClusterMetadata("source", topics, having),
        found if contents is None else contents,
        survey,
        RestoreOptions(**options),
        now_ms=NOW_MS,
    )


def kinds(plan: RestorePlan) -> list[tuple[str, str]]:
    return [(refusal.kind, refusal.subject) for refusal in plan.refusals]


def part_of(repository: Repository, start: int, stop: int, window: Window) -> PartitionRestore:
    """Offsets of the only partition of `orders` that a repository holds, to the same partition."""
    source = generation()
    return PartitionRestore(
        source=source,
        target=TopicPartition(source.topic, source.partition),
        start=start,
        stop=stop,
        runs=tuple(repository.state.generations[source].runs),
        held_back=(),
        window=window,
        most_records=0,
        raw_bytes=0,
        gaps=(),
    )
