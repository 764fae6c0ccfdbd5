"""What people get wrong: each is a clear error that names what failed, the right exit status, and no harm done."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.kafka import KafkaCluster, create_topic, produce, unique
from tests.support.oracle import contents
from tests.support.oracle_load import samples
from tests.support.sweep import open_repository
from tests.support.sweep_command import Kafkeep, cluster_table
from tests.support.sweep_places import read_only, small_file_system

from kafkeep.lab.config import ADMIN
from kafkeep.repository.envelope import Kind, unwrap, wrap
from kafkeep.repository.stores.local import LocalStore

pytestmark = pytest.mark.integration


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    return Kafkeep(tmp_path / "home", inside=True)


@pytest.fixture
def repository(kafkeep: Kafkeep, tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    kafkeep("init", "--repo", str(path)).expect(0)
    return path


@pytest.fixture(scope="module")
def topic(kafka_431: KafkaCluster) -> str:
    name = unique("input")
    create_topic(kafka_431.client_properties, name, partitions=2)
    produce(kafka_431.client_properties, name, samples(500, partitions=2))
    return name


@pytest.fixture
def filled(kafkeep: Kafkeep, repository: Path, kafka_431: KafkaCluster, topic: str) -> Path:
    """A repository with one recovery point."""
    kafkeep(*backup(repository, kafka_431.bootstrap, topic)).expect(0)
    return repository


def backup(repository: Path | str, cluster: str, topic: str = "*") -> list[str]:
    return ["backup", "--repo", str(repository), "--cluster", cluster, "--topics", topic]


def assert_untouched(repository: Path) -> None:
    """Still as `init` made it."""
    state = open_repository(LocalStore(repository)).state
    assert (state.head, list(state.packs)) == (0, [])
    assert list((repository / "tmp").iterdir()) == []


# --- addresses -------------------------------------------------------------------------------------------------------


@contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """A port that takes connections and answers every one with these bytes; None: never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if answer is not None:
                    connection.recv(4096)
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()
            thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_nobody_listens(kafkeep: Kafkeep, repository: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert address in kafkeep(*backup(repository, address)).refused(14, "kafka-unreachable")
    assert_untouched(repository)


def test_no_such_host(kafkeep: Kafkeep, repository: Path) -> None:
    told = kafkeep(*backup(repository, "no-such-host.invalid:9092")).refused(14, "kafka-unreachable")
    assert "no-such-host.invalid" in told
    assert_untouched(repository)


def test_one_address_of_several_is_enough(
    kafkeep: Kafkeep, repository: Path, kafka_431: KafkaCluster, topic: str
) -> None:
    addresses = f"127.0.0.1:{free_port()},{kafka_431.bootstrap}"
    kafkeep(*backup(repository, addresses, topic)).expect(0)


def test_something_else_listens(kafkeep: Kafkeep, repository: Path) -> None:
    with listener(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as address:
        done = kafkeep(*backup(repository, address))
    assert address in done.refused(14, done.last["slug"])
    assert done.last["slug"] in ("kafka-protocol", "kafka-unreachable")
    assert_untouched(repository)


def test_listener_that_never_answers(kafkeep: Kafkeep, repository: Path) -> None:
    with listener(None) as address:
        kafkeep.settings(cluster_table("mute", address, "plaintext", more="connect_timeout_seconds = 1"))
        began = time.monotonic()
        assert address in kafkeep(*backup(repository, "mute")).refused(14, "kafka-unreachable")
        assert time.monotonic() - began < 60
    assert_untouched(repository)


# --- logins and TLS --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
def test_wrong_password(kafkeep: Kafkeep, repository: Path, kafka_431_scram: KafkaCluster, mechanism: str) -> None:
    lab = kafka_431_scram.lab
    secret = kafkeep.folder / "password"
    secret.touch(mode=0o600)
    secret.write_text("canary-wrong-password")
    source = f'{{ file = "{secret}" }}'
    kafkeep.settings(
        cluster_table("lab", lab.bootstrap, "sasl_tls", ca=lab.tls.ca, mechanism=mechanism, user=ADMIN, password=source)
    )
    done = kafkeep(*backup(repository, "lab"))
    assert done.refused(14, "kafka-login")
    assert "canary-wrong-password" not in done.out + done.err
    assert_untouched(repository)


def test_mechanism_the_broker_does_not_take(kafkeep: Kafkeep, repository: Path, kafka_431_tls: KafkaCluster) -> None:
    """A login at a listener without logins."""
    lab = kafka_431_tls.lab
    secret = kafkeep.folder / "password"
    secret.touch(mode=0o600)
    secret.write_text("canary")
    table = cluster_table(
        "lab", lab.bootstrap, "sasl_tls", ca=lab.tls.ca, mechanism="PLAIN", user="x", password=f'{{ file = "{secret}" }}'
    )  # fmt: skip
    kafkeep.settings(table)
    done = kafkeep(*backup(repository, "lab"))
    assert done.refused(14, done.last["slug"])
    assert done.last["slug"] in ("kafka-login", "kafka-unsupported")
    assert_untouched(repository)


def test_plaintext_to_a_tls_port(kafkeep: Kafkeep, repository: Path, kafka_431_tls: KafkaCluster) -> None:
    done = kafkeep(*backup(repository, kafka_431_tls.bootstrap))
    told = done.refused(14, done.last["slug"])
    assert done.last["slug"] in ("kafka-unreachable", "kafka-protocol")
    assert kafka_431_tls.bootstrap in told
    assert "security" in told or "listener" in told, "the hint leads to the protocol"
    assert_untouched(repository)


def test_tls_to_a_plaintext_port(
    kafkeep: Kafkeep, repository: Path, kafka_431: KafkaCluster, kafka_431_tls: KafkaCluster
) -> None:
    kafkeep.settings(cluster_table("lab", kafka_431.bootstrap, "tls", ca=kafka_431_tls.lab.tls.ca))
    done = kafkeep(*backup(repository, "lab"))
    told = done.refused(14, done.last["slug"])
    assert done.last["slug"] in ("kafka-unreachable", "kafka-protocol", "kafka-login")
    assert kafka_431.bootstrap in told
    assert_untouched(repository)


@pytest.mark.fault("E7")
def test_unknown_authority(kafkeep: Kafkeep, repository: Path, kafka_431_tls: KafkaCluster, tmp_path: Path) -> None:
    kafkeep.settings(cluster_table("lab", kafka_431_tls.bootstrap, "tls", ca=Authority(tmp_path, "stranger").ca_file))
    done = kafkeep(*backup(repository, "lab"))
    told = done.refused(14, "kafka-login")
    assert f"the certificate of {kafka_431_tls.bootstrap} is not accepted" in told
    assert "ca_file" in told
    assert_untouched(repository)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named", "nearest"),
    [
        ('[cluster.a]\nbootstrp = "h:1"\n', "bootstrp", "bootstrap"),
        ('[cluster.a]\nbootstrap = "h:1"\nsecurity = "tls"\n[cluster.a.tls]\nca_fiel = "x"\n', "ca_fiel", "ca_file"),
        ('[clusters.a]\nbootstrap = "h:1"\n', "clusters", "cluster"),
        ('[repository.a]\nurl = "/x"\ncompresion = "zstd"\n', "compresion", "compression"),
    ],
)
def test_unknown_key(kafkeep: Kafkeep, repository: Path, text: str, named: str, nearest: str) -> None:
    kafkeep.settings(text)
    told = kafkeep(*backup(repository, "a")).refused(2, "settings")
    assert f"'{named}'" in told
    assert f"'{nearest}'" in told
    assert "kafkeep.toml" in told
    assert_untouched(repository)


def test_names_that_are_not_there(kafkeep: Kafkeep, repository: Path) -> None:
    kafkeep.settings(cluster_table("production", "h:1", "plaintext"))
    assert "'production'" in kafkeep(*backup(repository, "porduction")).refused(2, "settings")
    assert "no repository is named 'mian'" in kafkeep(*backup("mian", "production")).refused(2, "settings")


def test_no_topic_matches(kafkeep: Kafkeep, repository: Path, kafka_431: KafkaCluster) -> None:
    assert "no-such-*" in kafkeep(*backup(repository, kafka_431.bootstrap, "no-such-*")).refused(4, "nothing-to-do")
    assert_untouched(repository)


def test_named_topic_is_not_there(kafkeep: Kafkeep, repository: Path, kafka_431: KafkaCluster, topic: str) -> None:
    """The rest is captured, and the one that is missing is named."""
    done = kafkeep(*backup(repository, kafka_431.bootstrap, f"{topic},no-such-topic")).expect(3)
    assert [failure["subject"] for failure in done["failures"]] == ["no-such-topic"]
    assert done["records"] == 500


def test_no_such_point(kafkeep: Kafkeep, filled: Path, kafka_431: KafkaCluster) -> None:
    for verb in (["show", "77"], ["restore", "77", "--cluster", kafka_431.bootstrap]):
        assert "'77'" in kafkeep(*verb, "--repo", str(filled)).refused(2, "point-not-found")


# --- repositories ----------------------------------------------------------------------------------------------------


def every_verb(repository: Path | str, cluster: str) -> list[list[str]]:
    place = ["--repo", str(repository)]
    return [
        ["points", *place],
        ["show", "latest", *place],
        ["diff", "1", "2", *place],
        ["verify", *place],
        ["backup", *place, "--cluster", cluster],
        ["restore", "latest", *place, "--cluster", cluster],
        ["compare", "latest", *place, "--cluster", cluster],
    ]


def test_no_repository(kafkeep: Kafkeep, kafka_431: KafkaCluster, tmp_path: Path) -> None:
    for place in (tmp_path / "nothing", tmp_path):
        for verb in every_verb(place, kafka_431.bootstrap):
            assert str(place) in kafkeep(*verb).refused(10, "no-repository"), verb
    assert not (tmp_path / "nothing").exists()


def test_file_in_place_of_the_folder(kafkeep: Kafkeep, kafka_431: KafkaCluster, tmp_path: Path) -> None:
    """ENOTDIR is "could not read", never "is not there"."""
    place = tmp_path / "file"
    place.write_text("not a repository")
    for verb in [*every_verb(place, kafka_431.bootstrap), ["init", "--repo", str(place)]]:
        assert str(place) in kafkeep(*verb).refused(13, "store"), verb
    assert place.read_text() == "not a repository"


@pytest.mark.fault("S19")
def test_repository_on_a_read_only_file_system(
    kafkeep: Kafkeep, filled: Path, kafka_431: KafkaCluster, topic: str, tmp_path: Path
) -> None:
    """Changes are refused with the place's name; everything that only reads works on."""
    with small_file_system(tmp_path / "mount", 16 * 2**20) as mount:
        place = mount / "repository"
        shutil.copytree(filled, place)
        produce(kafka_431.client_properties, topic, samples(10, partitions=2, seed=9))
        with read_only(mount):
            for verb in (backup(place, kafka_431.bootstrap, topic), ["init", "--repo", str(mount / "new")]):
                told = kafkeep(*verb).refused(13, "store-access-denied")
                assert str(mount) in told
                assert "ead-only file system" in told
            kafkeep("points", "--repo", str(place)).expect(0)
            kafkeep("verify", "--repo", str(place), "--level", "data").expect(0)
            given = ["--repo", str(place), "--cluster", kafka_431.bootstrap]
            assert kafkeep("compare", "latest", *given).expect(0)["exit_code"] == 0
            restore = ["restore", "latest", *given, "--rename", f"s/^/{unique('dry')}-/", "--groups", "none"]
            kafkeep(*restore, "--dry-run").expect(0)
            assert str(place) in kafkeep(*restore).refused(13, "store-access-denied"), "it keeps its report there"
            planned = kafkeep(*restore, "--dry-run").expect(0)
            assert [topic["action"] for topic in planned["topics"]] == ["create"], "and has made nothing before"
        kafkeep(*backup(place, kafka_431.bootstrap, topic)).expect(0)
        assert len(contents(open_repository(LocalStore(place)))) == 2


def test_damaged_repository_document(kafkeep: Kafkeep, filled: Path, kafka_431: KafkaCluster) -> None:
    document = filled / "kafkeep.json"
    document.write_bytes(document.read_bytes()[:-1])
    for verb in every_verb(filled, kafka_431.bootstrap):
        if verb[0] == "verify":
            findings = kafkeep(*verb).expect(22)["findings"]
            assert [finding["object"] for finding in findings] == ["kafkeep.json"]
        else:
            assert "kafkeep.json" in kafkeep(*verb).refused(20, "corrupt-object"), verb


@pytest.mark.parametrize("change", [{"format": 2}, {"features_required": {"read": ["time-travel"]}}, {"digest": "md6"}])
def test_repository_of_a_newer_kafkeep(
    kafkeep: Kafkeep, filled: Path, kafka_431: KafkaCluster, change: dict[str, Any]
) -> None:
    document = filled / "kafkeep.json"
    value: Any = unwrap(document.read_bytes(), Kind.REPOSITORY, "kafkeep.json")
    if "features_required" in change:
        change = {"features_required": value["features_required"] | change["features_required"]}
    document.write_bytes(wrap(Kind.REPOSITORY, value | change))
    for verb in every_verb(filled, kafka_431.bootstrap):
        assert "kafkeep.json" in kafkeep(*verb).refused(23, "unknown-format"), verb


def test_repository_of_another_cluster(
    kafkeep: Kafkeep, filled: Path, kafka_431: KafkaCluster, kafka_392: KafkaCluster
) -> None:
    before = sorted(filled.rglob("*"))
    told = kafkeep(*backup(filled, kafka_392.bootstrap)).refused(14, "wrong-cluster")
    assert kafka_431.lab.cluster_id in told
    assert kafka_392.lab.cluster_id in told
    assert [path for path in sorted(filled.rglob("*")) if "hint" not in path.parts] == [
        path for path in before if "hint" not in path.parts
    ]


def test_second_creation(kafkeep: Kafkeep, filled: Path) -> None:
    assert str(filled) in kafkeep("init", "--repo", str(filled)).refused(2, "repository-exists")
    kafkeep("verify", "--repo", str(filled), "--level", "data").expect(0)


def test_folder_of_something_else(kafkeep: Kafkeep, tmp_path: Path) -> None:
    """A folder that holds other files becomes a repository beside them; none is touched."""
    place = tmp_path / "documents"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    kafkeep("init", "--repo", str(place)).expect(0)
    assert (place / "thesis.txt").read_text() == "years of work"
