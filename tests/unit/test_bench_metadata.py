"""The benchmark of metadata reads requests out of kafkeep's own log, and puts its table where it belongs."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from bench import report
from bench.measure import Usage
from bench.metadata_making import Size
from bench.metadata_scale import BEGIN, END, REQUEST, Measured, markdown

from kafkeep.cli.logs import configure
from kafkeep.cli.render import JsonOutput
from kafkeep.cli.text import Redactor
from kafkeep.logger import get_logger

USAGE = Usage(seconds=1.26, cpu_seconds=0.5, system_seconds=0.1, peak_rss_bytes=85_400_000, page_faults=1)


def test_requests_are_found_in_the_log_as_kafkeep_writes_it() -> None:
    talk = io.StringIO()
    output = JsonOutput(io.StringIO(), talk, verbosity=2, redact=Redactor(), clock=lambda: 0.0)
    configure(output, 2)
    log = get_logger("kafkeep.kafka.links")
    for api in ("Metadata", "OffsetFetch", "OffsetFetch"):
        log.debug("request", api=api, version=9, peer="127.0.0.1:9092", seconds=0.1)
    log.debug("another", api="Metadata")
    assert Counter(REQUEST.findall(talk.getvalue())) == {"Metadata": 1, "OffsetFetch": 2}


def test_a_row_names_the_most_frequent_requests_and_counts_the_others() -> None:
    requests = Counter({"OffsetFetch": 20, "Metadata": 5} | {f"Api{number}": 1 for number in range(6)})
    row = Measured("metadata backup", USAGE, requests).row()
    assert row[:5] == ("metadata backup", "1.3", "0.5", "85", "31")
    assert row[5].startswith("20 OffsetFetch, 5 Metadata, ") and row[5].endswith(", 2 others")


def test_the_table_takes_the_place_of_the_one_before_and_of_nothing_else() -> None:
    page = f"head {report.BEGIN}x{report.END} middle {BEGIN}former{END} tail"
    table = markdown(Size(topics=2, partitions=3), [Measured("a", USAGE, Counter())], {"cores": "2"}, "told")
    found = report.replaced(page, table, begin=BEGIN, end=END)
    assert found.startswith(f"head {report.BEGIN}x{report.END} middle {BEGIN}") and found.endswith(f"{END} tail")
    assert "former" not in found and "2 topics, 6 partitions" in found and "| a | 1.3 | 0.5 | 85 | 0 |  |" in found
    with pytest.raises(ValueError, match="to replace"):
        report.replaced("nothing", table, begin=BEGIN, end=END)
