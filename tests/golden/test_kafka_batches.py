"""Log segments real brokers wrote, against what confluent-kafka read of them (made by batches/make.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kafka.record.default_records import DefaultRecordBatch

from kafkeep.kafka.wire.batch import control_type, needs_rebuild, rewrite, walk
from kafkeep.kafka.wire.records import Record, decode, rebuild
from kafkeep.model import BatchInfo

pytestmark = pytest.mark.usefixtures("either_way")

FOLDER = Path(__file__).parent / "batches"
CASES = sorted(path.stem for path in FOLDER.glob("*.log"))


def batches(name: str) -> list[tuple[BatchInfo, memoryview]]:
    log = memoryview((FOLDER / f"{name}.log").read_bytes())
    infos, taken = walk(log)
    assert taken == len(log)
    found, position = [], 0
    for info in infos:
        found.append((info, log[position : position + info.size]))
        position += info.size
    return found


def expected(name: str) -> list[Record]:
    def raw(text: str | None) -> bytes | None:
        return None if text is None else bytes.fromhex(text)

    return [
        Record(
            entry["offset"],
            entry["timestamp"],
            raw(entry["key"]),
            raw(entry["value"]),
            tuple((bytes.fromhex(key), raw(value)) for key, value in entry["headers"]),
        )
        for entry in json.loads((FOLDER / f"{name}.json").read_text())
    ]


def aborted_producers(name: str) -> set[int]:
    """In these logs each transaction has a producer of its own."""
    return {info.producer_id for info, batch in batches(name) if info.is_control and control_type(batch) == 0}


def test_every_case_is_there_for_both_releases() -> None:
    assert len(CASES) == 26
    assert {name.partition("-")[0] for name in CASES} == {"3.9.2", "4.3.1"}


@pytest.mark.parametrize("name", CASES)
def test_records_are_what_consumers_read(name: str) -> None:
    aborted = aborted_producers(name)
    seen = [
        record
        for info, batch in batches(name)
        if not info.is_control and info.producer_id not in aborted
        for record in decode(batch, info)
    ]
    assert seen == expected(name)


@pytest.mark.parametrize("name", CASES)
def test_every_data_batch_becomes_producible(name: str) -> None:
    for info, batch in batches(name):
        if info.is_control or info.record_count == 0:
            continue
        made = rebuild(batch, info) if needs_rebuild(info) else rewrite(batch, info) + bytes(batch[61:])
        judge = DefaultRecordBatch(made)
        assert judge.validate_crc()
        assert not judge.is_transactional
        assert (judge.base_offset, judge.producer_id, judge.compression_type) == (0, -1, info.codec)
        after = walk(memoryview(made))[0][0]
        assert after.record_count == after.last_offset_delta + 1
        assert [record[1:] for record in decode(memoryview(made), after)] == [
            record[1:] for record in decode(batch, info)
        ]


def test_the_cases_hold_what_they_are_for() -> None:
    for version in ("3.9.2", "4.3.1"):
        for codec, name in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
            for case in (f"{version}-{name}", f"{version}-java-{name}"):
                assert {info.codec for info, _ in batches(case)} == {codec}
        kinds = [control_type(batch) for info, batch in batches(f"{version}-transactions") if info.is_control]
        assert kinds == [1, 0, 1]
        assert any(info.has_holes for info, _ in batches(f"{version}-compacted"))
        assert all(info.is_log_append_time for info, _ in batches(f"{version}-append-time"))
