"""The model of a large cluster: its figures follow from what is given, and not from the number of idle partitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bench import model, report
from bench.model import Given, first_backup, month, one_round, restore, standing

GIVEN = Given()


def test_what_takes_longest_decides() -> None:
    slow_brokers = replace(GIVEN, stored_tb=1.0, brokers=10, broker_mb=10.0)
    assert (first_backup(slow_brokers).bound, first_backup(slow_brokers).seconds) == ("brokers", 10_000.0)
    slow_cores = replace(slow_brokers, broker_mb=1e6, workers=1, cores=2, backup_cpu=100.0, worker_mb=1e6)
    assert (first_backup(slow_cores).bound, first_backup(slow_cores).seconds) == ("cores of workers", 50_000.0)
    slow_store = replace(slow_cores, backup_cpu=0.0, put_seconds=10.0, puts_at_once=1, pack_mib=1e12 / 2**20 / 10)
    assert (first_backup(slow_store).bound, first_backup(slow_store).seconds) == ("latency of the store", 100.0)


def test_objects_of_a_round_do_not_grow_with_idle_partitions() -> None:
    few = replace(GIVEN, partitions=10_000, active=0.1)
    many = replace(GIVEN, partitions=1_000_000, active=0.001)
    assert one_round(many).objects == one_round(few).objects
    assert one_round(many).coordinator_cpu > one_round(few).coordinator_cpu


def test_a_round_reads_what_was_written_since_the_one_before() -> None:
    given = replace(GIVEN, stored_tb=100.0, change_per_day=0.01, interval_seconds=864.0)
    assert one_round(given).read_gb == pytest.approx(10.0)
    assert month(given).read_gb == pytest.approx(30_000.0)


def test_compression_shrinks_what_is_stored_and_not_what_is_read() -> None:
    half = replace(GIVEN, ratio=0.5)
    assert first_backup(half).read_gb == first_backup(GIVEN).read_gb
    assert first_backup(half).stored_gb == first_backup(GIVEN).stored_gb / 2
    assert restore(half).read_gb == restore(GIVEN).read_gb / 2


def test_a_month_costs_what_is_stored_and_what_is_done() -> None:
    given = replace(GIVEN, price_put=0.0, price_get=0.0, price_core_hour=0.0, change_per_day=0.0)
    assert standing(given).dollars_a_month == pytest.approx(1e6 * 0.023)
    assert standing(replace(given, price_put=1e-3)).dollars_a_month == pytest.approx(
        1e6 * 0.023 + month(given).puts * 1e-3
    )


def test_rounds_that_take_longer_than_their_interval_are_told() -> None:
    late = replace(GIVEN, interval_seconds=10.0)
    assert standing(GIVEN).keeps_up and not standing(late).keeps_up
    assert any("longer than the interval" in remark for remark in model.remarks(late))


def test_memory_of_the_coordinator_grows_with_runs_and_partitions() -> None:
    one, two = standing(GIVEN), standing(replace(GIVEN, retention_days=60.0))
    added = 30 * 86_400 / GIVEN.interval_seconds * GIVEN.partitions * GIVEN.active
    assert two.runs - one.runs == pytest.approx(added)
    assert (two.memory_gib - one.memory_gib) * 2**30 == pytest.approx(added * GIVEN.state_run_bytes)


def test_options_replace_defaults_and_nonsense_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    given, page = model.arguments(["--stored-tb", "5", "--partitions", "7", "--docs", "page.md"])
    assert (given.stored_tb, given.partitions, given.brokers, page) == (5.0, 7, Given().brokers, "page.md")
    for wrong in (["--brokers", "0"], ["--active", "-1"]):
        with pytest.raises(SystemExit):
            model.arguments(wrong)
    assert "--brokers" in capsys.readouterr().err


def test_the_table_names_everything_it_hangs_on() -> None:
    text = model.markdown(GIVEN)
    assert "| time | 27.8 h |" in text
    assert all(f"--{name}" in text for name in ("stored-tb", "put-seconds", "price-gb-month", "look-cpu"))


def test_the_figures_on_the_page_are_those_of_the_model() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    assert report.replaced(page, model.markdown(GIVEN), begin=model.BEGIN, end=model.END) == page


@pytest.mark.parametrize(
    ("seconds", "told"), [(1.0, "1.0 s"), (150, "2.5 min"), (9000, "2.5 h"), (172_800, "2.0 days")]
)
def test_times_have_a_fitting_unit(seconds: float, told: str) -> None:
    assert model.duration(seconds) == told
