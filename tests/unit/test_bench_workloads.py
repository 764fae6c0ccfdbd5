"""The data of the benchmark is what its titles say, and other programs are told what they need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import peers, segments, workloads
from bench.children import _repacked
from bench.field import renamed
from bench.measure import BenchError
from bench.workloads import FIRST_MS, REPACKED_BYTES, WORKLOADS, Workload, batches, by_name, stamped, values

from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.records import decode
from kafkeep.model import TopicPartition


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_batches_have_the_size_and_codec_they_are_said_to_have(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads, "DISTINCT_BYTES", 4 * workload.batch_bytes)
    made = batches(workload)
    assert sum(map(len, made)) / len(made) == pytest.approx(workload.batch_bytes, rel=0.09)
    info = walk(memoryview(made[0]))[0][0]
    assert info.codec == workload.codec
    value = decode(memoryview(made[0]), info)[0].value
    assert value is not None and len(value) == pytest.approx(workload.record_bytes, rel=0.1)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer different batches than a contest sends."""
    monkeypatch.setattr(workloads, "DISTINCT_BYTES", 40 * 64 * 1024)


def test_filled_partitions_are_spread() -> None:
    idle = by_name("idle").filled_partitions()
    assert len(idle) == 100 and len({partition.topic for partition in idle}) == 100
    assert by_name("64k").filled_partitions() == [TopicPartition("bench-64k", number) for number in range(8)]
    assert len(by_name("filled").filled_partitions()) == 1000


@pytest.mark.usefixtures("little")
def test_a_batch_at_another_time_keeps_its_records() -> None:
    batch = batches(by_name("64k-lz4"))[0]
    head, body = stamped(batch, FIRST_MS + 5000)
    moved = head + bytes(body)
    before, after = walk(memoryview(batch))[0][0], walk(memoryview(moved))[0][0]
    pairs = list(zip(decode(memoryview(batch), before), decode(memoryview(moved), after), strict=True))
    assert all((old.key, old.value, old.timestamp + 5000) == (new.key, new.value, new.timestamp) for old, new in pairs)


@pytest.mark.usefixtures("little")
def test_repacked_batches_are_large_and_hold_the_same_records() -> None:
    made = b"".join(
        offset.to_bytes(8, "big") + batch[8:]
        for number, batch in enumerate(batches(by_name("64k")))
        for offset in [number * walk(memoryview(batch))[0][0].record_count]
    )
    packed = list(_repacked(iter([memoryview(made)])))
    assert [len(batch) > 0.9 * REPACKED_BYTES for batch in packed] == [True] * (len(packed) - 1) + [False]
    assert max(map(len, packed)) <= REPACKED_BYTES + 10_000

    def records(data: bytes) -> list[tuple[int, bytes | None, bytes | None]]:
        infos = walk(memoryview(data))[0]
        ends = [sum(info.size for info in infos[: number + 1]) for number in range(len(infos))]
        return [
            (record.timestamp, record.key, record.value)
            for info, end in zip(infos, ends, strict=True)
            for record in decode(memoryview(data)[end - info.size : end], info)
        ]

    assert records(b"".join(packed)) == records(made)


@pytest.mark.usefixtures("little")
def test_payloads_fit_on_lines() -> None:
    made = values(by_name("2k"))
    assert len(made) > 1000 and not any(b"\n" in value for value in made)


def test_folders_of_topics_are_found_and_those_about_to_be_deleted_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "bench-64k-10",
        "bench-64k-2",
        "bench-64k-lz4-0",
        "bench-64k-3.0123456789abcdef0123456789abcdef-delete",
    ):
        (tmp_path / name).mkdir()
    found = segments.partition_folders([tmp_path], "bench-64k")
    assert [partition.partition for partition in found] == [2, 10]
    monkeypatch.setattr(segments, "_DELETE_SECONDS", 0.0)
    asked: list[str] = []

    def delete() -> None:
        asked.append("deleted")

    with pytest.raises(BenchError, match="still has files"):
        segments.await_deleted([tmp_path], "bench-64k", delete=delete)
    for name in ("bench-64k-10", "bench-64k-2"):
        (tmp_path / name).rmdir()
    with pytest.raises(BenchError, match="still has files"):
        segments.await_deleted([tmp_path], "bench-64k", delete=delete)
    (tmp_path / "bench-64k-3.0123456789abcdef0123456789abcdef-delete").rmdir()
    segments.await_deleted([tmp_path], "bench-64k", delete=delete)
    assert len(asked) == 3


def test_topics_that_a_broker_makes_late_are_deleted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_AGAIN_SECONDS", 0.01)
    late = tmp_path / "bench-64k-0"
    calls = 0

    def delete() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            late.mkdir()  # behind the look at what is there
        else:
            late.rmdir()

    segments.await_deleted([tmp_path], "bench-64k", delete=delete)
    assert calls == 2


def test_the_other_backup_program_stays_on_this_machine_and_gets_its_defaults(tmp_path: Path) -> None:
    settings = peers.oso_backup("127.0.0.1:1,127.0.0.1:2", ["a", "b"], tmp_path, "lz4")
    assert settings["source"] == {
        "bootstrap_servers": ["127.0.0.1:1", "127.0.0.1:2"],
        "topics": {"include": ["a", "b"]},
    }
    assert settings["backup"] == {"compression": "lz4", "stop_at_current_offsets": True}
    assert settings["metrics"] == {"enabled": False}
    assert settings["offset_storage"]["db_path"].startswith(str(tmp_path))
    restore = peers.oso_restore("127.0.0.1:1", {"a": "b"}, tmp_path, record_bytes=1000, window=(5, 9))
    assert restore["restore"] == {
        "create_topics": True,
        "topic_mapping": {"a": "b"},
        "time_window_start": 5,
        "time_window_end": 9,
    }
    large = peers.oso_restore("127.0.0.1:1", {"a": "b"}, tmp_path, record_bytes=1_000_000)
    assert large["restore"]["produce_batch_size"] == 1
    json.dumps([settings, restore])


def test_the_other_backup_program_is_named_or_on_the_path(tmp_path: Path) -> None:
    assert peers.find_oso({"BENCH_OSO": "/somewhere", "PATH": str(tmp_path)}) == "/somewhere"
    assert peers.find_oso({"PATH": str(tmp_path)}) is None
    (tmp_path / "kafka-backup").touch(mode=0o755)
    assert peers.find_oso({"PATH": str(tmp_path)}) == str(tmp_path / "kafka-backup")


def test_kafkas_tools_are_told_all_topics_and_the_codec(tmp_path: Path) -> None:
    told = peers.consumer_perf("h:1", by_name("filled"), 7)
    assert told[told.index("--include") + 1].split("|")[0] == "bench\\-filled\\.0000"
    assert told[told.index("--num-records") + 1] == "7"
    assert "compression.type=zstd" in peers.producer_perf("h:1", "t", by_name("64k-zstd"), 7, tmp_path)


def test_topics_get_another_prefix() -> None:
    assert renamed(by_name("64k"), "raw") == {"bench-64k": "raw-64k"}
    assert renamed(by_name("topics"), "copy")["bench-topics.0499"] == "copy-topics.0499"
