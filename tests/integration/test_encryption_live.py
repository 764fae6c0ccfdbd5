"""An encrypted repository between real topics: written without the right to read, put back by whoever may; nothing of what it
holds shows in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.support.faults import Figures
from tests.support.kafka import commit, create_topic, unique
from tests.support.live import RESTORED, Live, contents
from tests.support.sweep_command import Ended, Kafkeep

pytestmark = pytest.mark.integration

RECORDS = 60


class Canaries:
    """Names and contents that are to be seen on the cluster alone."""

    def __init__(self) -> None:
        self.topic, self.group = unique("canary-topic"), unique("canary-group")
        self.records = tuple(unique(f"canary-{part}") for part in ("key", "value", "header-name", "header-value"))

    @staticmethod
    def forms(text: str) -> Iterator[bytes]:
        raw = text.encode()
        yield raw
        yield raw.hex().encode()
        yield quote(text, safe="").encode()
        for shift in range(3):
            yield base64.b64encode(b"\0" * shift + raw)[4:-4]

    def found(self, data: bytes, *, names: bool) -> list[str]:
        """Those that show; `names`: of topics and groups too."""
        texts = (*self.records, *((self.topic, self.group) if names else ()))
        return [text for text in texts if any(form in data for form in self.forms(text))]


def fill(live: Live, canaries: Canaries) -> None:
    """Uncompressed batches on both partitions, and a group with a position."""
    create_topic(live.kafka.client_properties, canaries.topic, partitions=2)
    key, value, name, content = canaries.records
    producer = Producer({**live.kafka.client_properties, "compression.type": "none", "linger.ms": 5})
    for number in range(RECORDS):
        producer.produce(
            canaries.topic,
            partition=number % 2,
            key=f"{key} {number}".encode(),
            value=None if number % 7 == 6 else f"{value} {number} ".encode() * 20,
            headers=[(name, content.encode()), (name, None)],
        )
    assert producer.flush(30) == 0
    consumer = Consumer({**live.kafka.client_properties, "group.id": canaries.group})
    commit(consumer, [TopicPartition(canaries.topic, 0, 17)])
    consumer.close()


def files_under(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


@pytest.mark.fault("E3")
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_what_is_backed_up_without_the_right_to_read_comes_back_to_who_may(
    live_4: Live, tmp_path: Path, compression: str, fault: Figures
) -> None:
    canaries, kafkeep = Canaries(), Kafkeep(tmp_path / "home", inside=True)
    fill(live_4, canaries)
    home, cluster = kafkeep.folder, ("--cluster", live_4.kafka.bootstrap)
    repo, copy, writer = ("--repo", "./r"), ("--repo", "./copy"), ("--writer-key-file", "./writer.key")
    identity, chosen = ("--identity-file", "./reader.key"), ("--topics", canaries.topic)
    told: list[Ended] = []

    def done(*arguments: str, status: int = 0) -> Ended:
        told.append(kafkeep("-vv", *arguments))
        told[-1].expect(status)
        return told[-1]

    recipient = done("keys", "init", "--out", "./reader.key").last["recipient"]
    done(
        *("init", *repo, "--encrypt", "--recipient", recipient, "--writer-key-out", "./writer.key"),
        *("--compression", compression),
    )
    (tmp_path / "reader.key").write_bytes((home / "reader.key").read_bytes())
    (home / "reader.key").unlink()  # the host that backs up has never more than the writer key
    done("backup", *repo, *writer, *cluster, *chosen)
    done("verify", *repo, *writer, "--level", "objects")
    done("copy", *repo, *writer, "--to", "./copy")
    done("restore", "latest", *repo, *writer, *cluster, "--rename", f"s/^/{RESTORED}/", status=12)
    stored = files_under(home / "r", home / "copy", home / "cache")
    assert len(stored) > 10
    for path in stored:
        assert canaries.found(str(path).encode(), names=True) == []
        assert canaries.found(path.read_bytes(), names=True) == [], path

    (home / "reader.key").touch(mode=0o600)
    (home / "reader.key").write_bytes((tmp_path / "reader.key").read_bytes())
    done("verify", *copy, *identity, "--level", "data")
    done("restore", "latest", *copy, *identity, *cluster, "--rename", f"s/^/{RESTORED}/", "--groups", "none")
    done("compare", "latest", *copy, *identity, *cluster, "--rename", f"s/^/{RESTORED}/")
    before, after = live_4.seen(canaries.topic), live_4.seen(RESTORED + canaries.topic)
    assert sum(map(len, before.values())) == RECORDS
    assert contents(after, with_type=False) == contents(before, with_type=False)
    for ended in told:
        for text in (ended.out, ended.err):
            assert canaries.found(text.encode(), names=False) == []
    for path in files_under(home / "copy", home / "cache"):
        assert canaries.found(path.read_bytes(), names=True) == [], path
    fault.figures(files=len(stored))


def test_the_search_finds_what_is_not_encrypted(live_4: Live, tmp_path: Path) -> None:
    canaries, kafkeep = Canaries(), Kafkeep(tmp_path, inside=True)
    fill(live_4, canaries)
    kafkeep("init", "--repo", "./r", "--compression", "none").expect(0)
    kafkeep("backup", "--repo", "./r", "--cluster", live_4.kafka.bootstrap, "--topics", canaries.topic).expect(0)
    seen = {text for path in files_under(tmp_path / "r") for text in canaries.found(path.read_bytes(), names=True)}
    assert seen == {canaries.topic, canaries.group, *canaries.records}
