"""P3, P5: what others wrote: records that cannot be opened, and names that lead elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.faults import Figures
from tests.support.faults_archive import back_up, new_source, open_repository
from tests.support.forgeries import Forge, forged
from tests.support.operations import new_repository, put_back, without_pauses
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import Entry
from tests.support.sweep_places import put_folder
from tests.unit.test_kafka_records import MALFORMED

from kafkeep.errors import KafkeepError
from kafkeep.kafka.wire.batch import HEADER, walk
from kafkeep.model import BatchInfo, TopicPartition
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    with without_pauses():
        yield


@pytest.mark.fault("P3")
@pytest.mark.parametrize("name", MALFORMED)
def test_p3_malformed_records_under_a_right_crc(name: str) -> None:
    """Stored byte for byte and whole to verify, or the one partition fails; the others are backed up. A restore sends what
    was stored, or ends with an error of ours."""
    data = MALFORMED[name]
    source, store = new_source(), MemoryStore()
    log = source.log(TopicPartition("payments", 0))
    info = BatchInfo._make(HEADER.unpack_from(data))
    log.entries, log.end = [Entry(0, info.next_offset, data, ())], max(1, info.next_offset)
    new_repository(store)
    result = back_up(source, store)
    failed = {failure.subject for failure in result.failures}
    assert failed in (set(), {"payments-0"})
    repository = open_repository(store)
    report = verify(store, level="data", workers=1)
    assert (report.findings, report.alarms) == ((), ())
    held = {
        run.generation.topic: b"".join(bytes(chunk) for chunk in repository.read_run(run))
        for entry in repository.state.packs
        for run in entry.runs
    }
    assert held["orders"]
    if not failed:
        assert held["payments"] == data
        assert len(walk(memoryview(held["payments"]))[0]) == 1
    target = SimulatedCluster("target")
    try:
        put_back(target, repository, repository.point("latest"))
    except KafkeepError as error:
        assert "payments" in error.message or "offset 0" in error.message
    else:
        assert target.topics["orders"].logs[0].entries


NAMES = {
    "up": "../outside",
    "far up": "../" * 40 + "etc/passwd",
    "up in the middle": "a/../../outside",
    "up alone": "..",
    "here": ".",
    "absolute": "/etc/passwd",
    "double slash": "//outside",
    "backslashes": "..\\..\\outside",
    "drive": "C:\\outside",
    "share": "\\\\host\\share",
    "escaped": "%2e%2e%2foutside",
    "url": "file:///etc/passwd",
    "nothing": "",
    "nul": "a\0b",
    "newline": "a\nb",
    "return": "a\rb",
    "tab": "a\tb",
    "terminal sequence": "a\x1b[2Jb",
    "c1 control": "a\x9b2Jb",
    "from right to left": "a\u202etxt.exe",
    "invisible": "a\u200bb",
    "fullwidth": "\uff0e\uff0e\uff0foutside",
    "combining": "e\u0301",
    "not ascii": "käfer",
    "64 KiB": "a" * 65536,
    "250 characters": "a" * 250,
    "space": "a b",
    "shell": "$(touch outside)",
    "backquote": "`touch outside`",
    "quote": "a'; touch outside; '",
    "glob": "*",
    "home": "~root",
    "stream": "a:b",
    "pipe": "a|b",
}
"""None of them is a legal name of a topic."""


def as_topic(name: str) -> Forge:
    def change(value: dict[str, Any]) -> None:
        value["body"]["packs"][0]["runs"][1]["generation"][0] = name
        value["body"]["opened"][0]["generation"][0] = name

    return change


def as_pack(name: str) -> Forge:
    return lambda value: value["body"]["packs"][0].update(name=name)


def below_pack(name: str) -> Forge:
    return lambda value: value["body"]["packs"][0].update(name=f"pack/{name}")


def as_document(name: str) -> Forge:
    return lambda value: value["body"]["point"].update(documents=[["metadata", name]])


PLACES = {"topic": as_topic, "pack": as_pack, "below pack": below_pack, "document": as_document}


@pytest.mark.fault("P5")
@pytest.mark.parametrize("place", PLACES)
def test_p5_names_that_lead_elsewhere(place: str, tmp_path: Path, fault: Figures) -> None:
    """In a commit that is otherwise honest: it counts for nothing, and nothing outside of the folder is touched or read."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"canary" * 100)
    before = outside.stat()
    chosen = list(NAMES.items())[0 if fault.full else list(PLACES).index(place) :: fault.count(quick=7, full=1)]
    for number, (what, name) in enumerate(chosen):
        folder = tmp_path / f"repository-{number}"
        put_folder(forged(PLACES[place](name)), folder)
        repository = open_repository(LocalStore(folder))
        assert [alarm.number for alarm in repository.state.alarms] == [2], what
        assert not {name, f"pack/{name}"} & {entry.name for entry in repository.state.packs}
        report = verify(LocalStore(folder), level="data", workers=1)
        assert report.findings == () and [alarm.number for alarm in report.alarms] == [2]
        assert "canary" not in repr(report)
    after = outside.stat()
    assert (after.st_atime_ns, after.st_mtime_ns) == (before.st_atime_ns, before.st_mtime_ns)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["outside", *(f"repository-{n}" for n in range(len(chosen)))]
    )
    fault.figures(names=len(chosen))
