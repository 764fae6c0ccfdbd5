"""What the benchmark of idle partitions makes of its rounds."""

from __future__ import annotations

from dataclasses import replace

from bench.idle import FULL, Round, kinds, markdown, row, verdicts

IDLE = Round(
    title="nothing new",
    seconds=1.5,
    cpu_seconds=1.0,
    peak_rss_bytes=100 * 2**20,
    requests={"OffsetFetch": 20, "Metadata": 2},
    records=0,
    objects=0,
    stored_bytes=0,
)
ACTIVE = replace(IDLE, title="1 % of partitions active", cpu_seconds=1.9, objects=4, stored_bytes=9000, records=2000)


def test_a_row_is_the_middle_of_its_rounds() -> None:
    told = row("nothing new", [IDLE, replace(IDLE, cpu_seconds=2.0), replace(IDLE, cpu_seconds=1.1)])
    assert told == ("nothing new", "1.50", "1.10 (1.00-2.00)", "100", "0", "0", "22", "20 OffsetFetch, 2 Metadata")


def test_promises_of_rounds() -> None:
    met = {each.text: each.met for each in verdicts([IDLE, ACTIVE])}
    assert len(met) == 4 and all(met.values())
    worse = [replace(IDLE, objects=1), replace(ACTIVE, cpu_seconds=2.5, objects=11, peak_rss_bytes=513 * 2**20)]
    assert not any(each.met for each in verdicts(worse))


def test_the_first_round_counts_for_memory_alone() -> None:
    first = replace(IDLE, title="the first", cpu_seconds=9.0, objects=20, peak_rss_bytes=600 * 2**20)
    assert [each.met for each in verdicts([first, IDLE, ACTIVE])] == [True, True, True, False]


def test_the_page_has_a_line_for_each_kind_of_round() -> None:
    text = markdown(FULL, [IDLE, ACTIVE, IDLE], {"cores": "2"})
    assert list(kinds([IDLE, ACTIVE, IDLE])) == ["nothing new", "1 % of partitions active"]
    assert "10 000 partitions" in text and "| nothing new | 1.50 | 1.00 | 100 | 0 | 0 | 22 |" in text
