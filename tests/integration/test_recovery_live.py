"""One archive holds, one plan restores: a rich cluster comes back in an empty one, and Kafka's own tools see no
difference.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.kafka import KafkaCluster, NewKafka
from tests.support.kafka_tells import FEATURES, told
from tests.support.rich import Rich

from kafkeep.metadata.options import SERVICE_AREAS
from kafkeep.recovery.options import SETTINGS_AREAS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Operator:
    """A person at the command line of one cluster."""

    kafka: KafkaCluster
    repo: Path
    home: Path

    def kafkeep(self, verb: str, *arguments: str, status: int = 0, cluster: bool = True) -> dict[str, Any]:
        """The summary of `kafkeep --json …` as a process of its own."""
        where = ("--repo", str(self.repo), *(("--cluster", "lab") if cluster else ()))
        words = ["--config", str(self.kafka.settings_file), *verb.split(), *arguments, *where]
        done = subprocess.run(
            [sys.executable, "-m", "kafkeep", "--json", *words],
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(self.home), "HOME": str(self.home)},
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stdout[-3000:] + done.stderr[-2000:]
        last: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return last


@pytest.mark.parametrize("version", ["4.3.1", "3.9.2"])
def test_a_whole_cluster_comes_back_by_one_command(version: str, new_kafka: NewKafka, tmp_path: Path) -> None:
    rich = Rich()
    users = tmp_path / "users.tsv"
    users.write_text(rich.passwords_text())
    users.chmod(0o600)
    whole = ("--with", "all", "--users-file", str(users))
    with ThreadPoolExecutor() as pool:
        source, target = pool.map(lambda _: new_kafka(kafka=version, security="sasl"), range(2))
        rich.fill(source)
        rich.check_logins(source)
        here, there = (Operator(kafka, tmp_path / "repo", tmp_path) for kafka in (source, target))
        here.kafkeep("init", cluster=False)
        here.kafkeep("backup", "--name", "whole")
        before = pool.submit(told, source)
        if version == "4.3.1":
            server = ("--bootstrap-server", target.lab.bootstrap_of("INTERNAL"))
            target.lab.tool(FEATURES, *server, "downgrade", "--feature", "share.version=0")
        planned = there.kafkeep("restore", "whole", *whole, "--dry-run")
        assert not planned["records"]["refusals"] and not planned["settings"]["refusals"]
        areas = {step["area"] for step in planned["settings"]["steps"]}
        lacks = set() if version == "4.3.1" else {"features", "group-configs"}
        assert areas == set(SETTINGS_AREAS) - set(SERVICE_AREAS) - lacks
        assert planned["settings"]["left_out"] == []
        done = there.kafkeep("restore", "whole", *whole)
        wanted = before.result()
    assert {step["step"]["area"] for step in done["settings"]["steps"]} == areas
    assert all(step["failure"] is None for step in done["settings"]["steps"]) and not done["records"]["failures"]

    found = told(target)
    assert all(wanted.values()), wanted
    assert found == wanted
    rich.check_logins(target)
    there.kafkeep("compare", "whole")
    there.kafkeep("metadata diff", "whole")
    again = there.kafkeep("restore", "whole", "--resume", "--users-file", str(users), status=4)
    assert again["records"] is None and again["settings"]["steps"] == []
    left = there.kafkeep("metadata apply", "whole", "--users-file", str(users), status=4)
    assert left["steps"] == []
