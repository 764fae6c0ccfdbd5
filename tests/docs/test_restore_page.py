"""docs/restore.md shows what restores do: its example of times and its table of the guard are carried out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.operations import ORDERS, back_up, new_repository, put_back, records_of
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.cli.offsets_file import read_offsets
from kafkeep.restore.guard import guard_for
from kafkeep.restore.options import ALLOW_LOSS

PAGE = (Path(__file__).parents[2] / "docs" / "restore.md").read_text()


def row(head: str) -> list[str]:
    """The cells of a table's row, without its head."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {head} |")]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def minutes(text: str) -> int:
    hours, rest = text.split(":")
    return (int(hours) * 60 + int(rest)) * 60_000


@pytest.mark.parametrize("rule", ["cut", "filter"])
@pytest.mark.parametrize("together", [1, 6])
def test_the_example_of_times(rule: str, together: int) -> None:
    stamps = [minutes(cell) for cell in row("time")]
    source = SimulatedCluster("source")
    log = source.add_topic("orders").logs[0]
    items = [record(b"%d" % at, timestamp=stamp) for at, stamp in enumerate(stamps)]
    for at in range(0, len(items), together):
        log.append(items[at : at + together])
    repository = new_repository()
    point = back_up(source, repository).point
    target = SimulatedCluster("target")
    put_back(
        target,
        repository,
        point,
        since_timestamp=minutes("10:00"),
        until_timestamp=minutes("10:05"),
        until_rule=rule,
    )
    told = [cell == "restored" for cell in row(f"`{rule}`")]
    assert len(told) == len(stamps) and any(told)
    assert [int(item.value or b"") for item in records_of(target.log(ORDERS))] == [
        at for at, yes in enumerate(told) if yes
    ]


def test_the_table_of_the_guard() -> None:
    table = PAGE.split("| setting | while loading |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([a-z.]+\.[a-z.]+)`", table))
    modern = guard_for((("remote.storage.enable", "true"),), 100, frozenset()).configs
    unsupported = frozenset(
        (name, value) for name, value in modern if name.startswith("message.timestamp.") and value.isdigit()
    )
    old = guard_for((), 100, unsupported).configs
    assert named == {name for configs in (modern, old) for name, _ in configs}


def test_the_files_of_offsets_can_be_read() -> None:
    (lines,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    (value,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert len(read_offsets(lines, "x.csv").ends) == 2
    assert len(read_offsets(value, "x.json").begins) == 1


def test_every_allowance_is_explained() -> None:
    assert all(row(f"`{choice}`") for choice in ALLOW_LOSS)
