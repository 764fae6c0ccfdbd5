"""`make demo`: a real Kafka cluster is backed up, loses its topics, and comes back in another cluster, identical.

Two clusters of kafkeep's lab; records and consumer groups from confluent-kafka; every step the real `kafkeep` command;
and confluent-kafka again as the judge of what consumers see before the loss and after the restore. Exit status 0 only
when everything is equal.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import KafkaException
from demo import clients
from demo.clients import Content, Settings
from demo.data import READERS, TOPICS, Filler, Reader, Topic
from rich.console import Console
from rich.table import Table

from kafkeep.errors import KafkeepError
from kafkeep.lab import Lab, LabOptions, fetch, start

KAFKEEP = Path(sys.executable).with_name("kafkeep")
FIRST, MORE = 1.0, 0.2


class DemoFailed(Exception):
    """A step did not end as it should."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A topic or a group before the loss and after the restore; `difference` is None when nothing differs."""

    name: str
    what: str
    count: str
    difference: str | None


def main() -> int:
    out = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    try:
        with two_labs() as (source, target), tempfile.TemporaryDirectory(prefix="kafkeep-demo-") as folder:
            verdicts = show(source, target, Path(folder) / "repository", out)
    except (DemoFailed, clients.DeliveryError, KafkaException, KafkeepError) as error:
        out.print(f"\nthe demo failed: {error}", style="bold red", markup=False)
        return 1
    out.print(_table(verdicts))
    differing = [verdict.name for verdict in verdicts if verdict.difference is not None]
    took = f"in {time.monotonic() - began:.0f} s"
    if differing:
        out.print(f"{took}: different in {', '.join(differing)}", style="bold red", markup=False)
        return 1
    out.print(f"{took}: what consumers read before the loss and after the restore is [bold green]identical[/]")
    return 0


@contextmanager
def two_labs() -> Iterator[tuple[Lab, Lab]]:
    """Source and target, started side by side; both end with the demo, whichever way that ends."""
    fetch("4.3.1", env=os.environ)
    with tempfile.TemporaryDirectory(prefix="kafkeep-demo-labs-") as folder, ExitStack() as stack:

        def begin(name: str) -> Lab:
            lab = start(LabOptions(kafka="4.3.1"), directory=Path(folder) / name, env=os.environ, now=datetime.now(UTC))
            stack.callback(lab.stop, grace_seconds=3.0)
            return lab

        with ThreadPoolExecutor(2) as pool:
            source, target = pool.map(begin, ("source", "target"))
        yield source, target


def show(source: Lab, target: Lab, repository: Path, out: Console) -> list[Verdict]:
    """The demo itself, step by step."""
    origin, refuge = settings_of(source), settings_of(target)
    repo, names = ("--repo", repository.as_uri()), [topic.name for topic in TOPICS]
    filler = Filler(origin, clock=(int(time.time()) - 3600) * 1000)

    _step(out, f"A cluster at {source.bootstrap} gets {len(names)} topics")
    filler.create()
    out.print(f"{filler.fill(FIRST)} records:")
    for topic in TOPICS:
        out.print(f"  {topic.name}: {topic.partitions} partitions, {topic.codec}, {topic.what}")
    for reader in READERS:
        clients.read_some(origin, reader.topic, group=reader.group, count=reader.count)
        out.print(f"consumer group {reader.group} has read {reader.count} records of each partition of {reader.topic}")

    _step(out, "Back up")
    _kafkeep(out, "init", *repo)
    _kafkeep(out, "backup", *repo, "--cluster", source.bootstrap, "--name", "first")
    _step(out, f"{filler.fill(MORE)} more records, and a second backup that reads only those")
    _kafkeep(out, "backup", *repo, "--cluster", source.bootstrap, "--name", "second")
    _kafkeep(out, "points", *repo)
    _kafkeep(out, "show", "latest", *repo)
    _kafkeep(out, "verify", *repo, "--level", "data")

    _step(out, "Lose")
    before = {name: clients.read_committed(origin, name) for name in names}
    following = {reader: next_records(origin, reader) for reader in READERS}
    clients.delete_topics(origin, names)
    out.print(f"topics {', '.join(names)} are deleted")

    _step(out, f"Restore into another cluster at {target.bootstrap}, and prove it")
    _kafkeep(out, "restore", "latest", *repo, "--cluster", target.bootstrap)
    _kafkeep(out, "compare", "latest", *repo, "--cluster", target.bootstrap)
    topics = [_judge_topic(topic, before[topic.name], clients.read_committed(refuge, topic.name)) for topic in TOPICS]
    return topics + [_judge_group(refuge, reader, expected) for reader, expected in following.items()]


def settings_of(lab: Lab) -> Settings:
    """librdkafka's settings for a cluster; it talks of errors only."""
    return {"bootstrap.servers": lab.bootstrap, "log_level": 3}


def next_records(settings: Settings, reader: Reader) -> dict[int, Content]:
    """What the group would be given next in each partition that holds more for it."""
    start_at = clients.committed_positions(settings, reader.group, reader.topic)
    if len(start_at) != clients.partitions_of(settings, reader.topic):
        raise DemoFailed(f"group {reader.group} has positions in {len(start_at)} partitions of {reader.topic} only")
    found = clients.read_positions(settings, reader.topic, start=start_at, limit=1)
    return {partition: records[0][1] for partition, records in found.items() if records}


def _judge_topic(topic: Topic, before: dict[int, list[Content]], after: dict[int, list[Content]]) -> Verdict:
    count = sum(map(len, before.values()))
    difference = first_difference(before, after)
    if count == 0:
        difference = "the source held nothing"
    return Verdict(topic.name, f"topic, {topic.codec}", f"{count} records", difference)


def first_difference(before: dict[int, list[Content]], after: dict[int, list[Content]]) -> str | None:
    """Where two topics first differ in key, value, headers, timestamp, order or number of records; None if nowhere."""
    if before.keys() != after.keys():
        return f"{len(before)} partitions before, {len(after)} after"
    for partition, expected in before.items():
        for number, (one, other) in enumerate(zip(expected, after[partition], strict=False)):
            if one != other:
                return f"partition {partition}, record {number}: {one} before, {other} after"
        if len(expected) != len(after[partition]):
            return f"partition {partition}: {len(expected)} records before, {len(after[partition])} after"
    return None


def _judge_group(settings: Settings, reader: Reader, expected: dict[int, Content]) -> Verdict:
    found = clients.read_on(settings, reader.topic, group=reader.group, partitions=expected)
    differing = [partition for partition in sorted(expected) if found[partition] != expected[partition]]
    difference = (
        f"reads on elsewhere in partitions {differing}" if differing or found.keys() != expected.keys() else None
    )
    return Verdict(reader.group, f"group in {reader.topic}", f"reads on in {len(expected)} partitions", difference)


def _kafkeep(out: Console, *arguments: str) -> None:
    """Runs the real command as anybody would, its output shown; DemoFailed unless it ends with 0."""
    out.print(f"\n$ kafkeep {shlex.join(arguments)}", style="bold cyan", markup=False)
    sys.stdout.flush()
    code = subprocess.run([KAFKEEP, *arguments], stdin=subprocess.DEVNULL, check=False).returncode
    if code != 0:
        raise DemoFailed(f"kafkeep {arguments[0]} ended with exit status {code}")


def _step(out: Console, title: str) -> None:
    out.print(f"\n=== {title}", style="bold", markup=False)


def _table(verdicts: list[Verdict]) -> Table:
    table = Table(title="confluent-kafka's view, before and after", title_justify="left", box=None, pad_edge=False)
    for head in ("name", "what", "count", "result"):
        table.add_column(head, style="bold" if head == "name" else None)
    for verdict in verdicts:
        result = "identical" if verdict.difference is None else verdict.difference[:300]
        table.add_row(verdict.name, verdict.what, verdict.count, result, style="red" if verdict.difference else None)
    return table


if __name__ == "__main__":
    sys.exit(main())
