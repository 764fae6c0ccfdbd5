"""Real commands on one real repository, each killed by SIGKILL at a random moment beside producers at work.

`Killing` chooses commands by chance, starts each as a process, kills it at a moment drawn from the whole of its usual
duration, and looks at the repository after each: it opens, its log is whole, nothing that was reported is gone. `finish`
lets everything end in peace and has an independent consumer judge what comes back.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from tests.support.kafka import Content, KafkaCluster, create_topic, produce, produce_transaction, unique
from tests.support.oracle import assert_whole, kinds_of
from tests.support.oracle_load import Load, samples
from tests.support.proof_command import at_source
from tests.support.sweep import open_repository
from tests.support.sweep_command import COMMAND, Kafkeep

from kafkeep import model
from kafkeep.repository.stores.base import Store
from kafkeep.verify.run import verify

FIRST_GUESS_SECONDS: Final = 1.0
"""How long a command takes up to its first line and how long from there, as long as none is known."""
FOLLOWING_SECONDS: Final = 3.0
"""A command without an end is killed within this time after its first line."""
KILLED_WHILE_STARTING: Final = 0.25
"""So much of all kills falls into the time before a command's first line, the rest into the time after it."""
LONGEST_SECONDS: Final = 120.0
BETWEEN_PEACE: Final = 20
"""After so many kills everything is read back, and the next backup must go on."""
QUIETLY: Final = (0, 4)


@dataclass(frozen=True)
class Place:
    """A repository as commands name it, and a look at its store beside them."""

    name: str
    repo: str
    command: Kafkeep
    store: Callable[[], Store]


@dataclass(frozen=True, kw_only=True)
class Deed:
    """A command that may be killed."""

    name: str
    arguments: tuple[str, ...]
    weight: int = 1
    ends: bool = True


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When to kill: so many seconds after the start, or after the first line of output."""

    after_first_line: bool
    seconds: float


@dataclass
class Tally:
    """What became of the processes of one command."""

    starting: int = 0
    """Killed before the first line of output."""
    at_work: int = 0
    late: int = 0
    """Over before the kill came."""
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=9))
    """Seconds up to the first line."""
    works: deque[float] = field(default_factory=lambda: deque(maxlen=9))
    """Seconds from there to the end."""

    @property
    def killed(self) -> int:
        return self.starting + self.at_work

    @property
    def start_seconds(self) -> float:
        return statistics.median(self.starts) if self.starts else FIRST_GUESS_SECONDS

    @property
    def work_seconds(self) -> float:
        return statistics.median(self.works) if self.works else FIRST_GUESS_SECONDS


@dataclass(frozen=True)
class Topics:
    """What is written to while the commands are killed. The log of `trimmed` loses its beginning time and again, so that
    pruning has packs to delete; the others keep all."""

    plain: Mapping[str, int]
    transactional: Mapping[str, int]
    trimmed: Mapping[str, int]

    @property
    def whole(self) -> dict[str, int]:
        return dict(self.plain) | dict(self.transactional)


def new_topics(kafka: KafkaCluster) -> Topics:
    """Topics with some records each."""
    prefix = unique("kills")
    topics = Topics({f"{prefix}.plain": 2}, {f"{prefix}.tx": 1}, {f"{prefix}.trimmed": 2})
    settings = kafka.client_properties
    for names in (topics.plain, topics.transactional, topics.trimmed):
        for name, partitions in names.items():
            create_topic(settings, name, partitions=partitions)
            if names is topics.transactional:
                records = samples(50, partitions=partitions, seed=1)
                produce_transaction(settings, name, records, transactional_id=f"{name}-first", commit=True)
            else:
                produce(settings, name, samples(500, partitions=partitions, seed=2), codec="lz4")
    return topics


class Killing:
    """See the module's text."""

    def __init__(self, place: Place, kafka: KafkaCluster, topics: Topics, dice: random.Random) -> None:
        self.place, self.kafka, self.topics, self._dice = place, kafka, topics, dice
        self.tallies: dict[str, Tally] = {}
        self.statuses: Counter[str] = Counter()
        self.commits: Counter[str] = Counter()
        """By their kind, at the end."""
        self.left_behind: set[str] = set()
        """Packs that no commit named when everything was read."""
        self._head = 0
        self._pinned: dict[int, dict[model.TopicPartition, list[Content]]] = {}
        self._deeds: tuple[Deed, ...] = ()
        self._before: dict[model.TopicPartition, int] = {}

    @property
    def killed(self) -> int:
        return sum(tally.killed for tally in self.tallies.values())

    def begin(self) -> None:
        """A repository with one pinned point of each selection of topics."""
        command, repo = self.place.command, ("--repo", self.place.repo)
        identity = command("init", *repo).expect(0)["id"]
        self._deeds = self._all_deeds(identity)
        for selection in (self.topics.whole, dict(self.topics.trimmed)):
            number = command(*self._backup(selection)).expect(0)["point"]["number"]
            command("pin", str(number), *repo, "--reason", "must come back").expect(0)
            self._pinned[number] = at_source(self.kafka, selection)
        self._before = {part: len(found) for of in self._pinned.values() for part, found in of.items()}

    def _backup(self, selection: Mapping[str, int]) -> tuple[str, ...]:
        place = ("--repo", self.place.repo, "--cluster", self.kafka.bootstrap)
        return ("backup", *place, "--topics", ",".join(selection))

    def _all_deeds(self, identity: str) -> tuple[Deed, ...]:
        repo = ("--repo", self.place.repo)
        whole, trimmed = self._backup(self.topics.whole), self._backup(self.topics.trimmed)
        rules = ("--keep-last", "2", "--min-points", "1", "--undo-window", "1ms", "--i-mean-it", identity)
        return (
            Deed(name="backup", arguments=whole, weight=3),
            Deed(name="backup of the trimmed topic", arguments=trimmed, weight=2),
            Deed(name="backup --follow", arguments=(*whole, "--follow", "--interval", "300ms"), weight=2, ends=False),
            Deed(name="compact", arguments=("compact", *repo, "--execute"), weight=2),
            Deed(name="prune", arguments=("prune", *repo, *rules, "--execute"), weight=3),
        )

    def run(self, kills: int, until: float) -> None:
        """Kills so many commands, or as many as can be until a moment of the monotonic clock."""
        peace = BETWEEN_PEACE
        while self.killed < kills and time.monotonic() < until:
            if self._dice.random() < 0.4:
                self._trim()
            deed = self._dice.choices(self._deeds, [deed.weight for deed in self._deeds])[0]
            self._look(self._kill(deed))
            if self.killed >= peace:
                peace += BETWEEN_PEACE
                self._peace()

    def _kill(self, deed: Deed) -> list[dict[str, Any]]:
        """Starts a command and kills it; the lines it had printed."""
        tally = self.tallies.setdefault(deed.name, Tally())
        if self._dice.random() < KILLED_WHILE_STARTING:
            moment = Moment(after_first_line=False, seconds=self._dice.uniform(0, tally.start_seconds))
        else:
            usual = tally.work_seconds if deed.ends else FOLLOWING_SECONDS
            moment = Moment(after_first_line=True, seconds=self._dice.uniform(0, usual * 1.1))
        status, lines, told = self._process(deed, moment)
        if status == -signal.SIGKILL:
            tally.at_work += bool(lines)
            tally.starting += not lines
            return lines
        self.statuses[f"{deed.name}: {status}"] += 1
        assert status in QUIETLY, f"{deed.name} ended with {status}: {told[-3000:]}"
        tally.late += 1
        return lines

    def _process(self, deed: Deed, moment: Moment | None) -> tuple[int, list[dict[str, Any]], str]:
        """A command to its end, or to the moment at which it is killed: its status, the lines it printed, its stderr."""
        command = self.place.command
        with (command.folder / "printed").open("w+") as out, (command.folder / "told").open("w+") as err:
            with subprocess.Popen(
                [*COMMAND, "--json", *deed.arguments],
                env=command.environment,
                cwd=command.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            ) as process:
                try:
                    self._watch(process, out, self.tallies.setdefault(deed.name, Tally()), moment)
                except subprocess.TimeoutExpired:
                    assert moment is not None, f"{deed.name} does not end"
                finally:
                    process.kill()
            out.seek(0)
            whole, _, _ = out.read().rpartition("\n")
            err.seek(0)
            return process.returncode, [json.loads(line) for line in whole.splitlines()], err.read()

    @staticmethod
    def _watch(process: subprocess.Popen[bytes], out: IO[str], tally: Tally, moment: Moment | None) -> None:
        """TimeoutExpired when the moment has come."""
        began = time.monotonic()
        if moment is not None and not moment.after_first_line:
            process.wait(moment.seconds)
            return
        while process.poll() is None and not os.fstat(out.fileno()).st_size:
            if time.monotonic() > began + LONGEST_SECONDS:
                raise subprocess.TimeoutExpired(process.args, LONGEST_SECONDS)
            time.sleep(0.002)
        first_line = time.monotonic()
        tally.starts.append(first_line - began)
        process.wait(LONGEST_SECONDS if moment is None else moment.seconds)
        tally.works.append(time.monotonic() - first_line)

    def _look(self, lines: list[dict[str, Any]]) -> None:
        """The second look, by somebody else: all that was reported is there."""
        store = self.place.store()
        repository = open_repository(store)
        head = repository.state.head
        reported = [line["number"] for line in lines if line["type"] == "committed"]
        assert head >= max([self._head, *reported]), f"commit {max([self._head, *reported])} was there, now {head}"
        self._head = head
        report = verify(store, level="chain")
        assert (report.findings, report.alarms) == ((), ())
        assert set(self._pinned) <= {point.number for point in repository.points()}
        store.close()

    def _trim(self) -> None:
        """Takes away the beginning of the log, of what is in the repository already."""
        store = self.place.store()
        cuts = {
            cut.generation.topic_partition: cut.stop
            for point in open_repository(store).points()
            for cut in point.cuts
            if cut.generation.topic in self.topics.trimmed
        }
        store.close()
        wanted = [TopicPartition(part.topic, part.partition, stop) for part, stop in cuts.items()]
        admin = AdminClient(dict(self.kafka.client_properties))
        for done in admin.delete_records(self._dice.sample(wanted, 1)).values():
            done.result(30)

    def _peace(self) -> None:
        """Commands that are let end; then every byte is read."""
        for deed in self._deeds:
            if deed.ends:
                self._undisturbed(deed)
        store = self.place.store()
        repository = open_repository(store)
        known = {entry.name for entry in repository.state.packs} | repository.state.swept
        self.left_behind |= {info.name for info in store.list("pack/")} - known
        assert_whole(repository)
        store.close()

    def _undisturbed(self, deed: Deed) -> None:
        status, _, told = self._process(deed, None)
        assert status in QUIETLY, f"{deed.name} ended with {status}: {told[-3000:]}"

    def finish(self, load: Load) -> None:
        """When nothing is written any more: everything comes back once and in order, and nothing is left over."""
        last = [deed for deed in self._deeds if deed.ends]
        for deed in [*last, *[last[-1]] * 2]:  # an orphan goes when its epoch is two behind
            self.place.command(*deed.arguments).expect(*QUIETLY)
        store = self.place.store()
        repository = open_repository(store)
        assert_whole(repository)
        assert {info.name for info in store.list("pack/")} == {entry.name for entry in repository.state.packs}
        self.commits = kinds_of(store)
        newest: dict[bool, int] = {
            point.cuts[0].generation.topic in self.topics.trimmed: point.number for point in repository.points()
        }
        store.close()
        whole, trimmed = self.topics.whole, dict(self.topics.trimmed)
        judged = [(newest[False], whole, at_source(self.kafka, whole))]
        judged.append((newest[True], trimmed, at_source(self.kafka, trimmed)))
        judged += zip(self._pinned, (whole, trimmed), self._pinned.values(), strict=True)
        found = [self._restored(number, selection) for number, selection, _ in judged]
        for (number, _, expected), brought in zip(judged, found, strict=True):
            assert brought == expected, f"point {number} is not what the source held"
        acknowledged = load.ledger.committed()
        for part, records in found[0].items():
            values = [record.value for record in records]
            assert values[self._before[part] :] == acknowledged.get(part, []), f"{part}: not what was acknowledged"
        assert sum(map(len, found[0].values())) > sum(map(len, self._pinned[min(self._pinned)].values()))

    def _restored(self, number: int, selection: dict[str, int]) -> dict[model.TopicPartition, list[Content]]:
        place = unique("back")
        self.place.command(
            *("restore", str(number), "--repo", self.place.repo, "--cluster", self.kafka.bootstrap),
            *("--topics", ",".join(selection), "--rename", f"s/^/{place}-/", "--groups", "none"),
        ).expect(0)
        return at_source(self.kafka, selection, prefix=f"{place}-")


def table(killing: Killing) -> str:
    """What was killed, for people."""
    columns = ("starting", "at work", "too late", "start s", "work s")
    lines = [f"{killing.place.name:<30}" + "".join(f"{column:>10}" for column in columns)]
    for name, tally in sorted(killing.tallies.items()):
        row = f"{tally.starting:>10}{tally.at_work:>10}{tally.late:>10}"
        lines.append(f"{name:<30}{row}{tally.start_seconds:>10.2f}{tally.work_seconds:>10.2f}")
    return "\n".join(lines)
