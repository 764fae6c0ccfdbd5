"""Ten minutes in which processes, brokers and topics come and go; afterwards every record that was committed is restored
exactly once, in order and unchanged, and no aborted one.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.kafka import KafkaCluster, NewKafka, create_topic, read_committed, unique
from tests.support.oracle import assert_whole, check_log, declared_gaps
from tests.support.proof import Verdict, judge
from tests.support.soak import TransactionalWriter, Truth, Writer
from tests.support.soak_chaos import Actor, Brokers, Following, Reborn, all_ended, trimmer
from tests.support.sweep import open_repository
from tests.support.sweep_command import Kafkeep

from kafkeep.model import RecoveryPoint
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore

pytestmark = pytest.mark.integration

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))


class Soak:
    """One run: a cluster, what writes into it, what disturbs it, and a repository."""

    def __init__(self, kafka: KafkaCluster, folder: Path, *, seed: int) -> None:
        self.kafka, self.seed = kafka, seed
        self.truth, self.prefix = Truth(), unique("soak")
        self.kafkeep = Kafkeep(folder / "home", inside=True)
        self.repository = folder / "repository"
        self.place = ["--repo", str(self.repository), "--cluster", kafka.bootstrap]
        self.pattern = ["--topics", f"{self.prefix}.*"]
        self.writers: list[Writer] = []

    def topic(self, name: str, partitions: int) -> str:
        topic = f"{self.prefix}.{name}"
        config = {"min.insync.replicas": "2"}
        create_topic(self.kafka.client_properties, topic, partitions=partitions, replication=3, config=config)
        return topic

    def run(self, seconds: float, *, pace: float, earlier: int) -> str:
        """Disturbs for so long, each disturbance `pace` times as often as in a long run; restores the last point and so
        many earlier ones. The figures as one line.
        """
        kafka, truth = self.kafka, self.truth
        plain = Writer(kafka, truth, self.topic("plain", 4), 4, per_second=300)
        bought = TransactionalWriter(kafka, truth, self.topic("bought", 3), 3, per_second=200)
        trimmed = Writer(kafka, truth, self.topic("trimmed", 2), 2, per_second=150)
        self.writers = [plain, bought, trimmed]
        for writer in self.writers:
            writer.start()
        reborn = Reborn(kafka, truth, f"{self.prefix}.reborn")
        brokers = Brokers(kafka, truth, self.prefix)
        self.kafkeep("init", *self.place[:2]).expect(0)
        self.kafkeep("backup", *self.place, *self.pattern).expect(0, 3)
        following = Following(self.kafkeep, [*self.place, *self.pattern, "--interval", "300ms"], truth)
        following.start()
        acts = {
            "kills": (following.kill, (4.0, 14.0)),
            "brokers": (brokers.bounce, (8.0, 20.0)),
            "leaders": (brokers.move_leaders, (4.0, 10.0)),
            "topics": (reborn.again, (15.0, 45.0)),
            "deletions": (trimmer(kafka, truth, trimmed), (30.0, 60.0)),
        }
        actors = {
            name: Actor(name, act, (least / pace, most / pace), self.seed)
            for name, (act, (least, most)) in acts.items()
        }
        try:
            for actor in actors.values():
                actor.start()
            time.sleep(seconds)
            all_ended(actors)
            for writer in (*self.writers, reborn.writer):
                writer.end()
        finally:
            following.stop()
            for node in kafka.lab.nodes:
                node.start()
        for writer in (*self.writers, reborn.writer):
            truth.take(kafka, writer.topic, writer.topic_id)
        return self.judge(earlier)

    def judge(self, earlier: int) -> str:
        """The last point and earlier ones, restored by the command and read by an independent consumer."""
        self.truth.check_source()
        last = self.kafkeep("backup", *self.place, *self.pattern).expect(0, 3, 4)
        assert last["exit_code"] == 4 or not last["failures"], last
        assert self.kafkeep("verify", *self.place[:2], "--level", "data").expect(0)["findings"] == []
        store = LocalStore(self.repository)
        commits = check_log(store)
        repository = open_repository(store)
        assert_whole(repository)
        points = repository.points()
        whole = [point for point in points[:-1] if point.complete]
        chosen = [*random.Random(self.seed).sample(whole, min(earlier, len(whole))), points[-1]]
        assert points[-1].complete
        self._nothing_is_missing(points[-1])
        verdicts = [self._restored(repository, point) for point in chosen]
        return self._told(sum(verdicts, Verdict()), points, commits, [point.number for point in chosen])

    def _nothing_is_missing(self, point: RecoveryPoint) -> None:
        """The last point reaches behind every record there is."""
        stops = {(cut.generation.topic_id, cut.generation.partition): cut.stop for cut in point.cuts}
        living = {topic_id for topic_id, _ in stops}
        for part, records in self.truth.records.items():
            if part[0] in living and records:
                assert stops[part] > max(records), f"{part} ends at {stops[part]}, {max(records)} was committed"

    def _restored(self, repository: Repository, point: RecoveryPoint) -> Verdict:
        place = f"p{point.number}-"
        topics = sorted({cut.generation.topic for cut in point.cuts})
        options = ["--rename", f"s/^/{place}/", "--groups", "none", "--whole-history", "--allow-loss", "skip"]
        self.kafkeep("restore", str(point.number), *self.place, *options).expect(0, 21)
        with ThreadPoolExecutor(4) as pool:
            read = pool.map(lambda topic: read_committed(self.kafka.client_properties, place + topic), topics)
            found = {
                (topic, part): records
                for topic, parts in zip(topics, read, strict=True)
                for part, records in parts.items()
            }
        declared = declared_gaps(repository.store, point.number)
        expected = {}
        for view in repository.view(point).partitions:
            generation, cut = view.generation, view.cut
            part = (generation.topic_id, generation.partition)
            gaps = declared.get(part, [])
            for _, end in gaps:
                assert end <= self.truth.deleted_to[part], f"{generation}: {gaps}, and nobody deleted so far"
            expected[generation.topic, generation.partition] = self.truth.expected(part, cut.stop, gaps)
        verdict = judge(expected, found, aborted=self.truth.aborted)
        wrong = {part: judge({part: records}, {part: found[part]}) for part, records in expected.items()}
        wrong = {part: one for part, one in wrong.items() if not one.exact}
        assert verdict.exact, f"point {point.number} of {self.repository}: {verdict}, {wrong}"
        _numbers_are_dense(found[f"{self.prefix}.plain", part] for part in range(4))
        return verdict

    def _told(self, verdict: Verdict, points: Sequence[RecoveryPoint], commits: int, chosen: list[int]) -> str:
        counted = ", ".join(f"{number} {what}" for what, number in sorted(self.truth.counts.items()))
        return (
            f"seed {self.seed}: {counted}; {len(points)} points, {commits} commits; points {chosen} restored: "
            f"{verdict.records} records judged, {verdict.lost} lost, {verdict.duplicated} duplicated, "
            f"{verdict.reordered} reordered, {verdict.altered} altered, {verdict.aborted_visible} aborted visible"
        )


def _numbers_are_dense(partitions: object) -> None:
    """Told from the values alone: each partition's records are numbered from 0 without a break."""
    for records in partitions:  # type: ignore[attr-defined]
        numbers = [int(record.value.split(b" ", 3)[2]) for record in records]
        assert numbers == list(range(len(numbers)))


@pytest.mark.soak
def test_ten_minutes(new_kafka: NewKafka, tmp_path: Path) -> None:
    """SOAK_SECONDS makes it shorter or longer."""
    soak = Soak(new_kafka(brokers=3), tmp_path, seed=random.SystemRandom().randrange(10**6))
    print(f"\n{SECONDS:.0f} s, {soak.run(SECONDS, pace=1, earlier=2)}")


def test_a_short_run(kafka_431_three: KafkaCluster, tmp_path: Path) -> None:
    """The same at a faster pace, so that it is known to work."""
    soak = Soak(kafka_431_three, tmp_path, seed=random.SystemRandom().randrange(10**6))
    print(f"\n15 s, {soak.run(15, pace=4, earlier=1)}")
