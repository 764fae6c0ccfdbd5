"""Restores that die at any calls, beside brokers that fail and forget: at the end every record is there once, in order."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.mortal import DEATHS, Killed, Life, Processes, process
from tests.support.operations import back_up, contents, new_repository, records_of, stored
from tests.support.simulated_cluster import PRODUCE_FAULTS, SimulatedCluster
from tests.support.simulated_log import COMMIT, record

from kafkeep.errors import CorruptObject
from kafkeep.model import GroupOffset, RecoveryPoint, TopicPartition
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.repository.shapes import from_shape, to_shape
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore import produce
from kafkeep.restore.options import SMALL_ONES, UP_TO_FULL, RestoreOptions
from kafkeep.restore.result import RestoreResult
from kafkeep.restore.unfinished import find_job
from kafkeep.restore_reports import told_by_restores

SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


pytestmark = pytest.mark.usefixtures("quick")

WRITES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from([0, 0, 1, 3, 4]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=25,
)
"""(partition, records, codec, in a transaction, compacted afterwards)."""


def archive(writes: list[tuple[int, int, int, bool, bool]]) -> dict[str, bytes]:
    source = SimulatedCluster("source")
    source.add_topic("orders", 3, configs={"cleanup.policy": "compact"})
    for number, (partition, count, codec, transactional, compacted) in enumerate(writes):
        log = source.log(TopicPartition("orders", partition))
        values = [record(b"%d.%d" % (number, n), key=b"k", timestamp=number) for n in range(count)]
        if transactional:
            log.append(values, codec=codec, producer_id=7, transactional=True)
            log.decide(7, COMMIT)
        else:
            log.append(values, codec=codec)
        if compacted:
            log.compact(lambda item: item.offset % 3 != 1, below=log.end - 1)
    source.groups["readers"] = [GroupOffset(TopicPartition("orders", 0), 2, 1, "m")]
    repository = new_repository()
    assert back_up(source, repository).point is not None
    assert isinstance(repository.store, MemoryStore)
    return dict(repository.store.objects)


def live_and_die(
    processes: Processes,
    repository: Repository,
    point: RecoveryPoint,
    options: RestoreOptions,
    deaths: list[tuple[int, str, bool]],
) -> RestoreResult | None:
    """One process after the other; None when the last one died with its report in."""
    for at, death, forgotten in deaths:
        if told_by_restores(repository, point, "target").mapped:
            return None
        try:
            return process(processes, Life(at, death), options)
        except Killed:
            if forgotten:
                while processes.target.late:
                    processes.target.deliver_late()
                for topic in processes.target.topics.values():
                    for log in topic.logs:
                        log.producers.clear()
    return None if told_by_restores(repository, point, "target").mapped else process(processes, Life(), options)


@pytest.mark.fault("C5", histories_of_deaths=60)
@SLOW
@given(
    writes=WRITES,
    deaths=st.lists(st.tuples(st.integers(1, 30), st.sampled_from(DEATHS), st.booleans()), max_size=5),
    faults=st.lists(st.sampled_from(PRODUCE_FAULTS), max_size=8),
    request_bytes=st.sampled_from([1, 300, 1 << 20]),
    repack_bytes=st.sampled_from([0, 150, 400, 1 << 18]),
    repack_rule=st.sampled_from([SMALL_ONES, UP_TO_FULL]),
    nodes=st.integers(1, 3),
    first_sequence=st.sampled_from([0, 2**31 - 3]),
)
def test_however_often_it_dies_each_record_is_there_once(
    writes: list[tuple[int, int, int, bool, bool]],
    deaths: list[tuple[int, str, bool]],
    faults: list[str],
    request_bytes: int,
    repack_bytes: int,
    repack_rule: int,
    nodes: int,
    first_sequence: int,
) -> None:
    processes = Processes(archive(writes), SimulatedCluster("target", nodes=nodes))
    options = RestoreOptions(request_bytes=request_bytes, repack_bytes=repack_bytes, repack_rule=repack_rule)
    processes.target.produce_faults.extend(faults)
    _, repository = processes.next(Life())
    point = repository.point("latest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(produce, "_FIRST_SEQUENCE", first_sequence)
        result = live_and_die(processes, repository, point, options, deaths)
    while processes.target.late:
        processes.target.deliver_late()
    assert result is None or (result.failures == () and not result.interrupted)
    assert processes.target.topics["orders"].configs == {"cleanup.policy": "compact"}
    maps = told_by_restores(repository, point, "target").mapped
    for generation, records in stored(repository, point).items():
        partition = generation.topic_partition
        log = processes.target.log(partition)
        assert contents(records_of(log)) == contents(records)
        mapped = maps[(partition, partition)]
        assert mapped.complete and mapped.offsets.end == log.end
        assert [mapped.offsets.target_of(item.offset) for item in records] == list(range(len(records)))


# --- the options in the record


PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=8),
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    type(None): st.none(),
}


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type: a field that is added later is tried as well."""
    if kind in PLAIN:
        return PLAIN[kind]
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind)
        return st.builds(typing.cast(Any, kind), **{name: anything(hint) for name, hint in hints.items()})
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is frozenset:
        return st.frozensets(anything(inner[0]), max_size=3)
    if origin is tuple and inner[1:] == (Ellipsis,):
        return st.lists(anything(inner[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(anything, inner))
    return st.one_of(*map(anything, inner))


@given(anything(RestoreOptions))
def test_options_come_back_from_the_record_as_they_were(options: RestoreOptions) -> None:
    value = to_shape(options)
    assert value.keys() == set(RestoreOptions.__dataclass_fields__)
    repository = new_repository()
    name = repository.put_audit("options", value)
    ((kept, found),) = repository.audits()
    assert kept == name
    assert from_shape(RestoreOptions, found, "options") == options


def mutations(value: Any) -> Iterator[Any]:
    for key in value:
        yield {name: part for name, part in value.items() if name != key}
        for other in (None, 1.5, "text", 1, True, [1], [["a", "b", "c"]], {"a": 1}):
            yield value | {key: other}
    yield value | {"unknown": 1}
    yield [value]


def test_a_record_of_another_shape_is_refused_or_reads_as_what_it_says() -> None:
    value = to_shape(RestoreOptions(renames=(Rename.parse("a=b"),), until_offsets=((TopicPartition("t", 1), 5),)))
    refused = 0
    for other in mutations(value):
        try:
            found = from_shape(RestoreOptions, other, "options")
        except (TypeError, ValueError):
            refused += 1
            continue
        assert to_shape(found) == other
    assert refused > 100


def test_a_damaged_record_is_told_as_damage() -> None:
    processes = Processes(archive([(0, 3, 0, False, False)]), SimulatedCluster("target", nodes=1))
    with pytest.raises(Killed):
        process(processes, Life(4), RestoreOptions())
    _, repository = processes.next(Life())
    (started,) = [value for _, value in repository.audits("restore-started")]
    assert isinstance(started, dict)
    for key in ("options", "producer", "topics", "partitions"):
        name = repository.put_audit(
            "restore-started", started | {key: [[1]] if key != "options" else started["options"] | {"attempts": "x"}}
        )
        with pytest.raises(CorruptObject):
            find_job(repository, name, 1, "target")
