"""What scripts see of backup, restore and compare on a real broker: exit status and the last JSON line."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.support.kafka import KafkaCluster, Sample, produce, unique
from tests.support.live import Filling, delete_records, until
from tests.support.sweep_command import Kafkeep

pytestmark = pytest.mark.integration

LONGEST_END_SECONDS = 30.0
"""Far less than the interval of rounds, whatever else the machine has to do."""


@pytest.fixture
def kafkeep(kafka_431: KafkaCluster, tmp_path: Path) -> Kafkeep:
    command = Kafkeep(tmp_path / "home", inside=True)
    command.settings(
        f'[cluster.lab]\nbootstrap = "{kafka_431.bootstrap}"\n[repository.main]\nurl = "file://{tmp_path}/repository"\n'
    )
    command("init", "--repo", "main").expect(0)
    return command


def test_from_the_first_backup_to_a_difference(kafka_431: KafkaCluster, kafkeep: Kafkeep) -> None:
    topic = unique("exit")
    where = ("--repo", "main", "--cluster", "lab")
    filling = Filling(kafka_431, topic).create().produce(20)
    first = kafkeep("backup", *where, "--topics", topic).expect(0)
    assert (first["records"], first["point"]["number"]) == (20, 1)
    kafkeep("backup", *where, "--topics", topic).expect(4)

    filling.produce(10)
    delete_records(kafka_431, topic, 0, 24)
    gap = kafkeep("backup", *where, "--topics", topic).expect(3)
    assert [(found["offsets"], found["reason"]) for found in gap["gaps"]] == [
        ({"start": 20, "stop": 24}, "delete-records")
    ]
    shown = kafkeep("show", "latest", "--repo", "main").expect(0)
    assert [found["offsets"] for part in shown["partitions"] for found in part["gaps"]] == [{"start": 20, "stop": 24}]

    kafkeep("restore", "latest", *where, "--topics", topic, "--dry-run").expect(24)
    kafkeep("restore", "latest", *where, "--topics", topic).refused(24, "target-not-empty")
    renamed = (*where, "--topics", topic, "--rename", "s/^/back-/")
    map_file = kafkeep.folder / "map.json"
    restored = kafkeep("restore", "1", *renamed, "--offset-map", str(map_file)).expect(0)
    assert restored["records"] == 20
    kafkeep("compare", "1", *renamed).expect(0)
    kafkeep("compare", "1", *renamed, "--map", str(map_file)).expect(0)
    whole = (*where, "--topics", topic, "--rename", "s/^/whole-/", "--whole-history")
    kafkeep("restore", "latest", *whole, "--dry-run").expect(24)
    kafkeep("restore", "latest", *whole).refused(24, "declared-loss")
    skip = (*whole, "--allow-loss", "skip")
    kafkeep("restore", "latest", *skip, "--dry-run").expect(21)
    lossy = kafkeep("restore", "latest", *skip).expect(21)
    assert (lossy["lost"], lossy["records"]) == (4, 26) and lossy["loss_report"]
    prefix = (*where, "--topics", topic, "--rename", "s/^/prefix-/", "--whole-history", "--allow-loss", "prefix")
    assert kafkeep("restore", "latest", *prefix).expect(21)["records"] == 20

    value = json.loads(map_file.read_text())
    value["partitions"][0]["end"] += 1
    tampered = kafkeep.folder / "tampered.json"
    tampered.write_text(json.dumps(value))
    produce(kafka_431.client_properties, f"back-{topic}", [Sample(value=b"planted")])
    different = kafkeep("compare", "1", *renamed, "--map", str(tampered)).expect(22)
    assert [part["differences"] for part in different["partitions"]] == [1]
    assert "planted" in json.dumps(different["differences"])
    kafkeep("compare", "1", *where, "--topics", topic, "--rename", "s/^/nowhere-/").expect(22)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_rounds_end_by_a_signal(kafka_431: KafkaCluster, kafkeep: Kafkeep, number: signal.Signals) -> None:
    topic = unique("rounds")
    Filling(kafka_431, topic).create().produce(5)
    follow = ("backup", "--repo", "main", "--cluster", "lab", "--topics", topic, "--follow", "--interval", "1h")
    with kafkeep.started(*follow) as running:
        until(lambda: kafkeep("show", "latest", "--repo", "main").status == 0, seconds=60, what="the first point")
        running.process.send_signal(number)
        assert running.process.wait(LONGEST_END_SECONDS) == 0
    assert kafkeep("backup", "--repo", "main", "--cluster", "lab", "--topics", topic).status == 4
