"""What the benchmark makes of its samples: ratios round by round, promises, tables, pictures, and the way back from JSON."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar
from xml.etree import ElementTree

import pytest
from bench import __main__ as contest
from bench import contestants, entry, outcome, plots, report, window
from bench.__main__ import chosen_names
from bench.contestants import (
    ALL,
    BACKUP,
    CONSUMER_PERF,
    COPY,
    DROP,
    EXECUTORS,
    IDLE,
    OSO_BACKUP,
    OSO_RESTORE,
    PRODUCE,
    PRODUCE_LARGE,
    RESTORE,
)
from bench.field import offered_executors
from bench.measure import BenchError, Usage, last_lines
from bench.outcome import Outcome
from bench.rounds import Sample, reason
from bench.window import WindowOutcome, WindowSample
from bench.workloads import by_name
from rich.console import Console

GB = 1_000_000_000


def usage(seconds: float, cpu: float = 1.0, rss_mb: int = 100, broker: float | None = None) -> Usage:
    return Usage(
        seconds=seconds,
        cpu_seconds=cpu,
        system_seconds=0.1,
        peak_rss_bytes=rss_mb * 1_000_000,
        page_faults=1,
        broker_cpu_seconds=broker,
    )


def outcome_of(*samples: Sample, name: str = "64k") -> Outcome:
    return Outcome(by_name(name), GB, 65_533.0, samples)


WHOLE = outcome_of(
    Sample(COPY, 1, usage(1.0), GB),
    Sample(DROP, 1, usage(0.5)),
    Sample(CONSUMER_PERF, 1, usage(4.0, cpu=4.0, rss_mb=300)),
    Sample(OSO_BACKUP, 1, usage(9.0, cpu=5.0, rss_mb=90), GB // 3),
    Sample(BACKUP, 1, usage(1.25, cpu=0.7, rss_mb=80), GB),
    Sample(IDLE, 1, usage(0.4, cpu=0.4)),
    Sample(PRODUCE, 1, usage(2.0)),
    Sample(PRODUCE_LARGE, 1, usage(1.0)),
    Sample(OSO_RESTORE, 1, usage(9.0, cpu=9.0, rss_mb=90)),
    Sample(RESTORE, 1, usage(1.5, cpu=1.0, rss_mb=80, broker=1.7)),
)


def verdict(found: Outcome, beginning: str) -> tuple[str, bool]:
    target = next(target for target in found.targets() if target.text.startswith(beginning))
    return target.found, target.met


def test_a_slow_minute_hits_both_sides_of_a_ratio() -> None:
    found = outcome_of(
        Sample(COPY, 1, usage(1.0)),
        Sample(BACKUP, 1, usage(2.0)),
        Sample(COPY, 2, usage(10.0)),
        Sample(BACKUP, 2, usage(20.0)),
    )
    assert found.ratio(BACKUP, COPY) == outcome.Spread(0.5, 0.5, 0.5)


def test_a_peer_that_gave_up_is_compared_where_it_took_part() -> None:
    found = outcome_of(Sample(BACKUP, 1, usage(1.0)), Sample(BACKUP, 2, usage(2.0)), Sample(OSO_BACKUP, 1, usage(4.0)))
    assert found.ratio(BACKUP, OSO_BACKUP).median == 4.0


def test_promises_are_held_against_bounds_and_peers() -> None:
    assert verdict(WHOLE, "backup at least 70% of cp") == ("80%", True)
    assert verdict(WHOLE, "backup at most 0.8 CPU-s/GB") == ("0.70", True)
    assert verdict(WHOLE, "restore at least 75%") == ("67%", False)
    assert verdict(WHOLE, "backup ahead of Kafka's ConsumerPerformance, drops, MB/s") == ("800 to 250", True)
    assert verdict(WHOLE, "backup ahead of osodevops/kafka-backup backup, zstd, MB of memory") == ("80 to 90", True)
    assert verdict(WHOLE, "backup at least 6 times") == ("7.1", True)
    assert verdict(WHOLE, "restore at least 6 times") == ("9.0", True)


def test_a_restore_is_held_against_what_was_repacked() -> None:
    small = outcome_of(Sample(PRODUCE, 1, usage(9.0)), Sample(RESTORE, 1, usage(1.0)), name="1m")
    assert (WHOLE.bound, small.bound) == (PRODUCE_LARGE, PRODUCE)
    assert verdict(replace(WHOLE, workload=by_name("2k")), "restore at least 75%") == ("67%", False)


def test_small_batches_promise_a_part_of_the_fetch_that_drops() -> None:
    found = replace(WHOLE, workload=by_name("2k"))
    assert verdict(found, "backup at least 70% of the fetch that only drops") == ("40%", False)
    assert verdict(found, "backup at least 4 times") == ("7.1", True)
    assert not any("cp and sync" in target.text for target in found.targets())


def test_results_come_back_from_json_as_they_were() -> None:
    failed = replace(WHOLE, failed={"producer-perf": "it knows one topic only"})
    again = outcome.from_json(json.loads(json.dumps(outcome.to_json([failed]))))
    assert again == [failed]
    seen = WindowOutcome(
        GB, 512, (WindowSample("kafkeep points", usage(0.5), None), WindowSample("r", usage(2.0), 1.0))
    )
    assert window.from_json(json.loads(json.dumps(seen.to_json()))) == seen


def test_the_page_has_a_table_and_a_picture_for_each_workload(tmp_path: Path) -> None:
    failed = replace(WHOLE, failed={"producer-perf": "it knows one topic only"})
    seen = WindowOutcome(GB, 512, (WindowSample("kafkeep restore", usage(2.0), 1.0),))
    page = tmp_path / "page.md"
    page.write_text(f"head {report.BEGIN}former{report.END} tail", encoding="utf-8")
    text = report.to_markdown([failed], seen, {"cores": "2"})
    report.replace_in(page, text, begin=report.BEGIN, end=report.END)
    found = page.read_text(encoding="utf-8")
    assert found.startswith("head ") and found.endswith(" tail") and "former" not in found
    assert "| kafkeep backup | 800 (800-800) | 0.70 (0.70-0.70) |  |  | 80 | 100% | 80% | 40% |  |" in found
    assert "| kafkeep restore | 667 (667-667) | 1.00 (1.00-1.00) | 1.70 | 1.80 | 80 |  |  |  | 67% |" in found
    assert "![1 KB records, 64 KB batches](benchmarks-64k.svg)" in found
    assert "Kafka's ProducerPerformance is missing: it knows one topic only." in found
    assert "restore at least 75% of raw produce in large batches: 67%, **missed**" in found
    assert "first record after 1.00 (1.00-1.00) s, all after 2.00 (2.00-2.00) s" in found


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(BenchError, match="to replace"):
        report.replace_in(page, "text", begin=report.BEGIN, end=report.END)
    assert page.read_text(encoding="utf-8") == "nothing"


def test_a_picture_is_well_formed_and_its_bars_are_to_scale() -> None:
    found = plots.draw(WHOLE)
    root = ElementTree.fromstring(found)
    assert root.tag.endswith("svg")
    texts = ["".join(text.itertext()) for text in root.iter() if text.tag.endswith("text")]
    taking_part = [each.title for each in ALL if WHOLE.of(each.name)]
    assert [text for text in texts if text in taking_part] == taking_part
    widths = [
        float(rect.get("width", "0"))
        for rect in root.iter()
        if rect.tag.endswith("rect") and rect.get("fill") == plots.COLOURS["kafkeep"] and rect.get("height") == "13"
    ]
    rate, cpu, _ = widths[:3]
    # 800 of 2000 MB/s, and 0.7 of 5 CPU-s/GB.
    assert rate / cpu == pytest.approx((800 / 2000) / (0.7 / 5.0), rel=0.02)


def test_bounds_show_no_memory() -> None:
    row = next(row for row in report.rows(WHOLE) if row[0].startswith("cp "))
    assert row[3] == "" and re.fullmatch(r"1000 \(1000-1000\)", row[1])


def test_a_failed_program_is_quoted_with_what_it_says_of_the_error() -> None:
    talk = "kafka-backup restore ended with 1:\n INFO starting\nError: message too large\n\nStack backtrace:\n 0: main"
    assert reason(talk) == "Error: message too large"
    assert reason("java did not end within 300 s") == "java did not end within 300 s"


def test_a_long_line_of_a_failed_program_is_quoted_from_its_beginning() -> None:
    assert last_lines("one\ntwo\nthree\n", 4) == "thre"
    assert last_lines("one\ntwo\nthree\n", 6) == "two\nthree"
    assert last_lines("starting\nError: " + 100 * "no room; ", 50).startswith("Error: no room; ")
    assert last_lines("") == ""


def test_a_working_folder_is_made_and_what_hinders_it_told(tmp_path: Path) -> None:
    with entry.working_folder(tmp_path / "not" / "there") as folder:
        assert folder.is_dir() and folder.parent == tmp_path / "not" / "there"
    assert not folder.exists()
    file = tmp_path / "file"
    file.touch()
    with (
        pytest.raises(BenchError, match=f"{file} .File exists.: name another one by --dir"),
        entry.working_folder(file),
    ):
        pass
    with pytest.raises(BenchError, match="GB of disk are needed"), entry.working_folder(tmp_path, 10**15):
        pass
    assert list(tmp_path.glob("kafkeep-bench-*")) == []


def test_only_names_some_workloads_and_refuses_others() -> None:
    assert chosen_names("64k,window") == {"64k", "window"}
    with pytest.raises(Exception, match="no workload 65k"):
        chosen_names("64k,65k")


def test_a_window_promises_to_read_no_more_than_it_holds() -> None:
    samples = tuple(
        WindowSample(title, usage(5.0), first)
        for title, first in (("kafkeep restore --since --until", 1.5), (window._OSO, 2.5))
    )
    small = window.Reads("kafkeep restore --since --until --preflight exist", (20, GB // 80), (5, 4000))
    found = window.WindowOutcome(GB, 700, samples, (small,))
    assert [(target.found, target.met) for target in found.targets()] == [("1.2%", True), ("1.50 to 2.50", True)]
    assert "12.5 MB of packs in 20 reads (1.2% of the archive), 0.00 MB of commits" in list(found.lines())[-1]
    assert window.from_json(json.loads(json.dumps(found.to_json()))) == found
    wide = replace(found, reads=(replace(small, packs=(20, GB // 10)),))
    assert not next(iter(wide.targets())).met


def test_contestants_are_chosen_by_name_or_kind_with_whom_they_need() -> None:
    assert contestants.chosen(None) == frozenset(contestants.NAMES)
    assert contestants.chosen(["restore"]) == {RESTORE, BACKUP}
    assert contestants.chosen(["bound", "oso-restore"], ["cp"]) == {
        DROP,
        PRODUCE,
        PRODUCE_LARGE,
        OSO_RESTORE,
        OSO_BACKUP,
    }
    assert contestants.chosen(None, ["peer"]).isdisjoint({OSO_BACKUP, CONSUMER_PERF})
    with pytest.raises(ValueError, match="no contestant cq"):
        contestants.chosen(["cq"])


def test_a_workload_that_cannot_be_played_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    brokers: list[list[str]] = []

    @contextmanager
    def opened(folder: Path, console: Console, *, heap_mb: int) -> Iterator[SimpleNamespace]:
        brokers.append([])
        yield SimpleNamespace(lab=None, oso=None, note=console.print)

    def play(field: SimpleNamespace, name: str, *_: object) -> Outcome:
        brokers[-1].append(name)
        if name in ("64k-zstd", "topics"):
            raise BenchError("a broker that stands still")
        return outcome_of(name=name)

    monkeypatch.setattr(contest, "opened", opened)
    monkeypatch.setattr(contest, "play", play)
    monkeypatch.setattr(contest, "Results", Found)
    options = contest.arguments(["--only", "64k-zstd,1m,filled,topics,idle", "--size", "16", "--dir", str(tmp_path)])
    with pytest.raises(BenchError, match="64k-zstd, topics"):
        contest.contest(options, Console(file=io.StringIO()))
    assert brokers == [["64k-zstd"], ["1m"], ["filled", "topics"], ["idle"]]
    assert Found.names == ["1m", "filled", "idle"] and not any(tmp_path.iterdir())


class Found:
    """Keeps what a run found, and writes nothing."""

    names: ClassVar[list[str]] = []
    facts: dict[str, str]

    def __init__(self, console: Console) -> None:
        self.names.clear()

    def add(self, found: Outcome) -> None:
        self.names.append(found.workload.name)

    def end(self, docs: Path | None) -> None:
        assert docs is None


def test_executors_are_those_that_the_help_offers() -> None:
    assert offered_executors("  --connections N") == frozenset()
    assert offered_executors("  --executor [threads|processes]  how") == {"processes"}
    assert set(EXECUTORS.values()) == {"processes", "dask"}
