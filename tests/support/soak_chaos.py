"""What disturbs a soak: processes killed, brokers gone, leaders moved, topics made anew, records deleted."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from tests.support.kafka import DeliveryError, KafkaCluster, create_topic, delete_topics, partitions_of
from tests.support.live import delete_records, until
from tests.support.soak import PATIENCE_SECONDS, Truth, Writer
from tests.support.sweep_command import COMMAND, Kafkeep

from kafkeep.errors import LabError

REASSIGN = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"


class Actor(threading.Thread):
    """Does one thing again and again, `every` so many seconds by chance, until it is told to end."""

    def __init__(self, name: str, act: Callable[[random.Random], None], every: tuple[float, float], seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self._act, self._every = act, every
        self._dice = random.Random(f"{name} {seed}")
        self._ending = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ending.wait(self._dice.uniform(*self._every)):
                self._act(self._dice)
        except BaseException as error:  # noqa: BLE001 - told by `end`
            self.error = error

    def end(self) -> None:
        self._ending.set()
        self.join(2 * PATIENCE_SECONDS)
        assert not self.is_alive(), f"{self.name} does not end"
        if self.error is not None:
            raise AssertionError(f"{self.name}: {self.error!r}") from self.error


class Following:
    """`kafkeep backup --follow` as a process that is killed and started again."""

    def __init__(self, kafkeep: Kafkeep, arguments: list[str], truth: Truth) -> None:
        self._kafkeep, self._arguments, self._truth = kafkeep, arguments, truth
        self._process: subprocess.Popen[bytes] | None = None
        self.told = kafkeep.folder / "follow.jsonl"
        self.problems = kafkeep.folder / "follow.err"

    def start(self) -> None:
        with self.told.open("ab") as out, self.problems.open("ab") as err:
            command = [*COMMAND, "--json", "backup", "--follow", *self._arguments]
            folder, environment = self._kafkeep.folder, self._kafkeep.environment
            self._process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=err)

    def kill(self, _: random.Random) -> None:
        """SIGKILL and a new start. A process that ended by itself is counted: a following backup should not."""
        assert self._process is not None
        if self._process.poll() is not None:
            self._truth.count(f"followers that ended with status {self._process.returncode}")
        else:
            self._process.kill()
            self._truth.count("kills of kafkeep")
        self._process.wait(60)
        self.start()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(60)


class Brokers:
    """Takes one broker away at a time, and waits until every replica is in sync before the next."""

    def __init__(self, kafka: KafkaCluster, truth: Truth, prefix: str) -> None:
        self._kafka, self._truth, self._prefix = kafka, truth, prefix
        self._held = threading.Lock()

    def bounce(self, dice: random.Random) -> None:
        with self._held:
            node = self._kafka.lab.node(dice.choices((1, 2, 3), (1, 3, 3))[0])
            if dice.random() < 0.6:
                node.kill()
                self._truth.count("brokers killed")
            else:
                node.stop()
                self._truth.count("brokers stopped")
            time.sleep(dice.uniform(0.5, 6))
            node.start()
            until(self.in_sync, seconds=PATIENCE_SECONDS, what="all replicas being in sync")

    def in_sync(self) -> bool:
        try:
            topics = AdminClient(self._kafka.client_properties).list_topics(timeout=5).topics
        except KafkaException:
            return False
        own = [topic for name, topic in topics.items() if name.startswith((self._prefix, "__transaction"))]
        parts = [part for topic in own for part in topic.partitions.values()]
        return bool(parts) and all(len(part.isrs) == 3 and part.leader >= 0 for part in parts)

    def move_leaders(self, dice: random.Random) -> None:
        """Another order of replicas, then the election of the first of them."""
        try:
            admin = AdminClient(self._kafka.client_properties)
            topics = admin.list_topics(timeout=5).topics
            parts = [(n, p) for n, topic in topics.items() if n.startswith(self._prefix) for p in topic.partitions]
            chosen = dice.sample(parts, min(3, len(parts)))
            orders = [{"topic": n, "partition": p, "replicas": dice.sample((1, 2, 3), 3)} for n, p in chosen]
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                json.dump({"version": 1, "partitions": orders}, file)
                file.flush()
                server = ["--bootstrap-server", self._kafka.bootstrap]
                self._kafka.lab.tool(REASSIGN, *server, "--reassignment-json-file", file.name, "--execute")
            wanted = [TopicPartition(name, part) for name, part in chosen]
            admin.elect_leaders(ElectionType.PREFERRED, wanted).result(15)
        except (KafkaException, LabError, TimeoutError):
            self._truth.count("leader moves that failed")
            return
        self._truth.count("leader moves", len(chosen))


class Reborn:
    """A topic that is deleted and made anew, each time with another number of partitions and a writer of its own."""

    def __init__(self, kafka: KafkaCluster, truth: Truth, topic: str) -> None:
        self._kafka, self._truth, self.topic = kafka, truth, topic
        self.writer = self._new(2)

    def _new(self, partitions: int) -> Writer:
        def made() -> bool:
            try:
                create_topic(
                    self._kafka.client_properties,
                    self.topic,
                    partitions=partitions,
                    replication=3,
                    config={"min.insync.replicas": "2"},
                )
            except (KafkaException, DeliveryError):
                return self._has(partitions)
            return True

        until(made, seconds=PATIENCE_SECONDS, what="the topic being made")
        writer = Writer(self._kafka, self._truth, self.topic, partitions, per_second=150)
        writer.start()
        return writer

    def _has(self, partitions: int) -> bool:
        """False also when nobody tells."""
        try:
            return partitions_of(self._kafka.client_properties, self.topic) == partitions
        except KafkaException:
            return False

    def again(self, dice: random.Random) -> None:
        self.writer.end()
        self._truth.take(self._kafka, self.topic, self.writer.topic_id)

        def gone() -> bool:
            try:
                delete_topics(self._kafka.client_properties, [self.topic])
            except (KafkaException, DeliveryError):
                return self._has(0)
            return True

        until(gone, seconds=PATIENCE_SECONDS, what="the topic being deleted")
        self._truth.count("topics recreated")
        self.writer = self._new(dice.randint(1, 3))


def trimmer(kafka: KafkaCluster, truth: Truth, writer: Writer) -> Callable[[random.Random], None]:
    """Deletes records by command, after their content was noted."""

    def trim(dice: random.Random) -> None:
        truth.take(kafka, writer.topic, writer.topic_id)
        part = (writer.topic_id, dice.randrange(writer.partitions))
        offsets = sorted(truth.records[part])
        if not offsets:
            return
        upto = dice.choice(offsets[len(offsets) // 2 :])
        truth.deleted_to[part] = max(truth.deleted_to[part], upto)
        try:
            delete_records(kafka, writer.topic, part[1], upto)
        except KafkaException:
            return  # a broker is away; some may be gone nevertheless
        truth.count("deletions of records")

    return trim


def all_ended(actors: Mapping[str, Actor]) -> None:
    """Waits for all, then tells the first error."""
    with ThreadPoolExecutor(len(actors)) as pool:
        for ended in [pool.submit(actor.end) for actor in actors.values()]:
            ended.result()


def lines_of(path: Path, kind: str) -> int:
    """How many lines of a type a killed process has printed; its last may be half a line."""
    mark = f'"type":"{kind}"'
    return sum(mark in line for line in path.read_text(errors="replace").splitlines())
