"""What a restore makes of ranges that the backup lost, and of offsets from a file, on a real broker; judged by
confluent-kafka."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.kafka import Content, KafkaCluster, Position, commit_positions, committed_positions, unique
from tests.support.live import Filling, Live, contents, delete_records, new_repository
from tests.support.sweep_command import Kafkeep

from kafkeep.errors import LossRefused
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import RecoveryPoint
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Overtaken:
    """Records 0-19 were backed up; of 20-29 the first four were deleted before the second backup."""

    live: Live
    topic: str
    groups: dict[str, int]
    repository: Repository
    point: RecoveryPoint
    before: list[Content]
    after: list[Content]

    def restore(self, prefix: str, **options: Any) -> Any:
        return self.live.put_back(
            self.repository,
            self.point,
            renames=(Rename.parse(f"s/^/{prefix}-/"),),
            groups=tuple(self.groups),
            whole_history=True,
            **options,
        )

    def positions(self, prefix: str) -> dict[int, int]:
        """By source position: the position in the restored topic."""
        settings = self.live.kafka.client_properties
        found = {
            at: committed_positions(settings, group, f"{prefix}-{self.topic}") for group, at in self.groups.items()
        }
        return {at: where[0] for at, where in found.items() if where}


@pytest.fixture(scope="module")
def overtaken(kafka_431: KafkaCluster) -> Iterator[Overtaken]:
    with Cluster(kafka_431.cluster_config()) as cluster:
        live = Live(kafka_431, cluster)
        topic = unique("overtaken")
        filling = Filling(kafka_431, topic).create().produce(20)
        repository = new_repository()
        live.back_up(repository, topic)
        before = contents(live.seen(topic))[0]
        filling.produce(10)
        delete_records(kafka_431, topic, 0, 24)
        groups = {f"{topic}-{at}": at for at in (7, 20, 22, 24, 27, 30)}
        for group, at in groups.items():
            commit_positions(kafka_431.client_properties, group, [Position(topic, 0, at)])
        point = live.back_up(repository, topic).point
        assert point is not None
        yield Overtaken(live, topic, groups, repository, point, before, contents(live.seen(topic))[0])


def test_a_gap_is_refused_until_somebody_allows_it(overtaken: Overtaken) -> None:
    with pytest.raises(LossRefused, match=r"4 offset\(s\) are lost: \[20, 24\) \(delete-records: "):
        overtaken.restore("refused")
    assert f"refused-{overtaken.topic}" not in overtaken.live.cluster.topology().topics


def test_without_the_gap(overtaken: Overtaken) -> None:
    result = overtaken.restore("skip", allow_loss="skip")
    assert (result.failures, result.lost, result.records) == ((), 4, 26)
    assert contents(overtaken.live.seen(f"skip-{overtaken.topic}"))[0] == overtaken.before + overtaken.after
    assert overtaken.positions("skip") == {7: 7, 24: 20, 27: 23, 30: 26}
    assert {p.committed: p.place for p in result.not_set} == {20: "gap", 22: "gap"}


def test_in_front_of_the_gap(overtaken: Overtaken) -> None:
    result = overtaken.restore("prefix", allow_loss="prefix")
    assert (result.failures, result.lost, result.records) == ((), 10, 20)
    assert contents(overtaken.live.seen(f"prefix-{overtaken.topic}"))[0] == overtaken.before
    assert overtaken.positions("prefix") == {7: 7}
    assert {p.committed: p.place for p in result.not_set} == {
        20: "gap",
        22: "gap",
        24: "beyond",
        27: "beyond",
        30: "beyond",
    }
    (report,) = [
        value
        for name, value in overtaken.repository.audits("loss-report")
        if name == result.loss_report and isinstance(value, dict)
    ]
    assert [part["restored"] for part in report["partitions"]] == [[0, 20]]


def test_offsets_from_a_file(kafka_431: KafkaCluster, tmp_path: Path) -> None:
    """What `kafka-consumer-groups --reset-offsets --export` writes for one group is taken as it is."""
    topic, group = unique("offsets"), unique("g")
    Filling(kafka_431, topic).create(partitions=2).produce(40, partitions=2)
    commit_positions(kafka_431.client_properties, group, [Position(topic, number, 5 + number) for number in range(2)])
    exported = tmp_path / "export.csv"
    told = kafka_431.lab.tool(
        "consumer-groups",
        *("--bootstrap-server", kafka_431.bootstrap, "--command-config", str(kafka_431.lab.client_properties_file)),
        *("--reset-offsets", "--export", "--to-current", "--dry-run", "--group", group, "--topic", topic),
    ).stdout
    lines = [line for line in told.splitlines() if line.replace('"', "").startswith(f"{topic},")]
    exported.write_text("\n".join(lines) + "\n")
    kafkeep = Kafkeep(tmp_path / "home", inside=True)
    kafkeep.settings(
        f'[cluster.lab]\nbootstrap = "{kafka_431.bootstrap}"\n[repository.main]\nurl = "file://{tmp_path}/repository"\n'
    )
    where = ("--repo", "main", "--cluster", "lab")
    kafkeep("init", "--repo", "main").expect(0)
    kafkeep("backup", *where, "--topics", topic).expect(0)
    rename = ("--rename", "s/^/back-/", "--groups", "none", "--offsets", str(exported))
    kafkeep("restore", "latest", *where, *rename, "--until-offset", f"{topic}/0=6", "--dry-run").refused(2, "usage")
    restored = kafkeep("restore", "latest", *where, *rename, "--from-offset", f"{topic}/1=2").expect(0)
    assert restored["records"] == 9
    with Cluster(kafka_431.cluster_config()) as cluster:
        seen = Live(kafka_431, cluster).seen(topic), Live(kafka_431, cluster).seen(f"back-{topic}")
    whole, back = map(contents, seen)
    assert back == {0: whole[0][:5], 1: whole[1][2:6]}
