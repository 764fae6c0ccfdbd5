"""What Kafka's own command-line classes tell of a whole cluster, as lines that can be held against another cluster's."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from tests.support.kafka import KafkaCluster

FEATURES = "org.apache.kafka.tools.FeatureCommand"
ASKED: tuple[tuple[str, ...], ...] = (
    ("topics", "--describe", "--exclude-internal"),
    ("configs", "--describe", "--entity-type", "brokers"),
    ("configs", "--describe", "--entity-type", "client-metrics"),
    ("configs", "--describe", "--entity-type", "users"),
    ("configs", "--describe", "--entity-type", "clients"),
    ("configs", "--describe", "--entity-type", "users", "--entity-type", "clients"),
    ("configs", "--describe", "--entity-type", "ips"),
    ("acls", "--list"),
    ("consumer-groups", "--describe", "--all-groups"),
    (FEATURES, "describe"),
)
ASKED_FROM_4_ON = (("configs", "--describe", "--entity-type", "groups"),)

DIFFERENT_BY_NATURE = re.compile(r"(?<=TopicId: )\S+|(?<=Epoch: )\d+")
"""A topic made again has another id, and features are finalized at another epoch. Everything else must be equal."""
LIST = re.compile(r"(Configs: | are )(?=\S+=)")
"""What stands in front of a list of values."""


def told(cluster: KafkaCluster) -> dict[str, list[str]]:
    """By question, sorted lines. A line that belongs under a head has that head in front."""
    asked = ASKED + (() if cluster.version.startswith("3.") else ASKED_FROM_4_ON)
    server = ("--bootstrap-server", cluster.lab.bootstrap_of("INTERNAL"))

    def ask(command: tuple[str, ...]) -> list[str]:
        return lines_of(cluster.lab.tool(command[0], *server, *command[1:]).stdout)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(map(" ".join, asked), pool.map(ask, asked), strict=True))


def lines_of(text: str) -> list[str]:
    """Sorted, because the tools walk hash maps."""
    found: list[str] = []
    head = ""
    for line in filter(str.strip, text.splitlines()):
        words = _in_order(" ".join(DIFFERENT_BY_NATURE.sub("*", line).split()))
        if line.startswith((" ", "\t")):
            found.append(f"{head} | {words}")
        else:
            head = words
            found.append(head)
    return sorted(found)


def _in_order(line: str) -> str:
    """What a line lists in the order of a hash map, in an order of its own."""
    before, *listed = LIST.split(line, maxsplit=1)
    return before + "".join(listed[:1]) + ",".join(sorted(part.strip() for part in "".join(listed[1:]).split(",")))
