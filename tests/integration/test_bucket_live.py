"""Backups of a real cluster into a bucket of a real S3 service: there and back, two at once, killed, and disturbed."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.kafka import KafkaCluster, create_topic, produce, produce_transaction, read_committed, unique
from tests.support.oracle import assert_whole, check_log, orphans
from tests.support.oracle_load import samples
from tests.support.s3_proxy import Answer, Cut, Fault, Lost, proxied
from tests.support.sweep import Scene, no_pause, open_repository
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server

from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.wrappers import RetryingStore

pytestmark = pytest.mark.integration

KILLS = 6
ROUNDS = 15
"""At most: most machines start two processes so near to one another that three are enough."""


class Bucket:
    """A repository in an empty bucket, known to the settings of several commands as `backups`."""

    def __init__(self, server: S3Server, kafka: KafkaCluster, folder: Path) -> None:
        self.server = server
        self.kafka = kafka
        self.url = f"s3://{server.new_bucket()}/prod"
        self._folder = folder

    @property
    def store(self) -> Store:
        """A look at the bucket beside the commands."""
        return RetryingStore(open_object_store(self.url, self.server.options()), pause=no_pause)

    def command(self, name: str, *, endpoint: str | None = None, more: str = "") -> Kafkeep:
        """A `kafkeep` that knows the bucket, with its login in files."""
        made = Kafkeep(self._folder / name)
        made.knows_bucket("backups", self.url, self.server, endpoint=endpoint, more=f'compression = "none"\n{more}')
        return made

    def prove(self, kafkeep: Kafkeep, topics: dict[str, int]) -> None:
        """Whole at every level, and what comes back is what an independent consumer reads at the source."""
        assert kafkeep("verify", "--repo", "backups", "--level", "data").expect(0)["findings"] == []
        assert_whole(open_repository(self.store))
        place = unique("back")
        named = ["--topics", ",".join(topics), "--rename", f"s/^/{place}-/", "--groups", "none"]
        kafkeep("restore", "latest", "--repo", "backups", "--cluster", self.kafka.bootstrap, *named).expect(0)
        for topic in topics:
            source = read_committed(self.kafka.client_properties, topic)
            assert read_committed(self.kafka.client_properties, f"{place}-{topic}") == source


@pytest.fixture
def bucket(s3_server: S3Server, kafka_431: KafkaCluster, tmp_path: Path) -> Iterator[Bucket]:
    yield Bucket(s3_server, kafka_431, tmp_path)


def filled(kafka: KafkaCluster, *, records: int) -> dict[str, int]:
    topics = {unique("bucket.plain"): 3, unique("bucket.tx"): 1}
    for topic, partitions in topics.items():
        create_topic(kafka.client_properties, topic, partitions=partitions)
    add(kafka, topics, records=records, seed=1)
    return topics


def add(kafka: KafkaCluster, topics: dict[str, int], *, records: int, seed: int) -> None:
    plain, transactional = topics
    produce(kafka.client_properties, plain, samples(records, partitions=3, size=800, seed=seed))
    for commit in (True, False):
        produce_transaction(
            kafka.client_properties,
            transactional,
            samples(30, partitions=1, seed=seed),
            transactional_id=transactional,
            commit=commit,
        )


def test_there_and_back(bucket: Bucket) -> None:
    """Two points in a bucket: listed, verified to the last batch, restored, compared with the live source."""
    kafka = bucket.kafka
    topics = filled(kafka, records=8000)
    kafkeep = bucket.command("home")
    kafkeep("init", "--repo", "backups").expect(0)
    given = ["backup", "--repo", "backups", "--cluster", kafka.bootstrap, "--topics", ",".join(topics)]
    first = kafkeep(*given, "--pack-size", "1MiB", "--limit-upload", "200MiB").expect(0)
    add(kafka, topics, records=500, seed=2)
    second = kafkeep(*given).expect(0)
    assert first["point"]["number"] < second["point"]["number"]
    assert kafkeep("backup", *given[1:]).status == 4
    points = kafkeep("points", "--repo", "backups")
    assert [line["number"] for line in points.lines if line["type"] == "point"] == [
        first["point"]["number"],
        second["point"]["number"],
    ]
    compared = ["compare", "latest", "--repo", "backups", "--cluster", kafka.bootstrap, "--topics", ",".join(topics)]
    kafkeep(*compared).expect(0)
    bucket.prove(kafkeep, topics)
    assert kafkeep("init", "--repo", "backups").refused(2, "repository-exists")


@pytest.mark.fault("C10", rounds=3)
def test_c10_two_backups_at_once_into_a_bucket(bucket: Bucket) -> None:
    """No overlap, no hole; what came second is an orphan and nothing else."""
    kafka = bucket.kafka
    topics = filled(kafka, records=3000)
    writers = [bucket.command("one"), bucket.command("two")]
    writers[0]("init", "--repo", "backups").expect(0)
    given = ["backup", "--repo", "backups", "--cluster", kafka.bootstrap, "--topics", ",".join(topics)]
    for number in range(ROUNDS):
        with ExitStack() as stack:
            both = [stack.enter_context(writer.started(*given, "--pack-size", "1MiB")) for writer in writers]
            ended = [running.end()["exit_code"] for running in both]
        assert set(ended) <= {0, 4}, ended
        assert 0 in ended
        check_log(bucket.store)
        add(kafka, topics, records=3000, seed=number + 10)
        if number >= 2 and orphans(bucket.store):
            break
    assert orphans(bucket.store), "in some rounds both must have read the same records"
    writers[1](*given).expect(0)
    bucket.prove(writers[0], topics)


@pytest.mark.fault("C1", kills=KILLS - 1)
def test_c1_backup_into_a_bucket_is_killed_and_goes_on(bucket: Bucket) -> None:
    kafka = bucket.kafka
    topics = filled(kafka, records=5000)
    kafkeep = bucket.command("home", more="connections = 2")
    kafkeep("init", "--repo", "backups").expect(0)
    steps = ["--connections", "1", "--fetch-size", "64KiB", "--pack-size", "1MiB"]
    given = ["backup", "--repo", "backups", "--cluster", kafka.bootstrap, "--topics", ",".join(topics), *steps]
    dice = random.Random(4)
    for number in range(KILLS):
        # Of the four packs there are, two take two seconds; and who follows does not end after a commit.
        how = ["--limit-upload", "1MiB"] if number % 2 else ["--follow", "--interval", "1h"]
        with kafkeep.started(*given, *how) as running:
            running.until(*(("pack-stored", dice.randint(1, 2)) if number % 2 else ("committed", 1)))
            running.process.send_signal(signal.SIGKILL)
            assert running.process.wait() == -signal.SIGKILL, running.lines
        assert_whole(open_repository(bucket.store))
        add(kafka, topics, records=5000, seed=number + 50)
    kafkeep(*given).expect(0)
    bucket.prove(kafkeep, topics)


@pytest.mark.parametrize("every", [3, 5, 8])
@pytest.mark.fault("S1")
def test_s1_backup_ends_well_while_every_kth_request_fails(scene: Scene, s3_server: S3Server, every: int) -> None:
    """Refusals, lost answers and broken reads: nothing old is lost, and the new point is whole."""
    kinds = (
        Answer(503, "SlowDown"),
        Lost(applied=True),
        Answer(500),
        Lost(applied=False),
        Cut(0.5),
        Answer(409, "OperationAborted"),
    )

    def script(number: int, method: str, path: str) -> Fault | None:
        fault = kinds[number // every % len(kinds)]
        if number % every != every - 1 or (isinstance(fault, Answer) and fault.status == 409 and method != "PUT"):
            return None
        return fault

    url = f"s3://{s3_server.new_bucket()}/scene"
    straight = RetryingStore(open_object_store(url, s3_server.options()), pause=no_pause)
    for name, data in scene.old.objects.items():
        if name.startswith("hint/"):
            straight.put_hint(name, data)
        else:
            straight.put_new(name, data)
    with proxied(s3_server, script) as proxy:
        disturbed = open_object_store(url, s3_server.options(endpoint=proxy.endpoint))
        result = scene.backup(RetryingStore(disturbed, tries=20, pause=no_pause))
        assert result.point is not None
        assert len(proxy.seen) > 2 * every
    scene.judge(straight)
