"""A signed repository on the command line: how it begins, who may do what in it, and what is never shown."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.golden.make_signed import put
from tests.support.operations import now, without_pauses
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record
from tests.support.simulated_settings import SettledCluster, settle
from tests.support.sweep_command import Kafkeep

from kafkeep.cli.init import Created
from kafkeep.repository.changes import RaiseEpoch
from kafkeep.repository.keyring import Access
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.trust import ADMIN
from kafkeep.secret import Secret

REPO = ("--repo", "./r")
ADMINS = ("--signing-key-file", "./admin.key")
WRITERS = ("--signing-key-file", "./writer.key")
BACKUP = ("backup", *REPO, "--cluster", "source:1", "--topics", "orders")
PRUNE = ("prune", *REPO, "--keep-last", "1", "--min-points", "1", "--execute")


class Served(SettledCluster):
    """A simulated cluster that the command line opens and closes."""

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error: object) -> None:
        return None


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    with without_pauses():
        yield


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    return Kafkeep(tmp_path, inside=True)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Served:
    cluster = Served("source")
    cluster.add_topic("orders")
    cluster.topics["orders"].logs[0].append([record(b"a"), record(b"b")])
    settle(cluster)

    def opened(config: Any, **_: Any) -> SimulatedCluster:
        return cluster

    monkeypatch.setattr("kafkeep.kafka.cluster.Cluster", opened)
    return cluster


def made(kafkeep: Kafkeep, name: str) -> dict[str, Any]:
    """A signing key in that file: `id` and `signer`."""
    return kafkeep("trust", "init", "--out", f"./{name}.key").expect(0)


def signed(kafkeep: Kafkeep, *more: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A signed repository with an admin and a writer, and what `trust init` told of them."""
    admin, writer = made(kafkeep, "admin"), made(kafkeep, "writer")
    kafkeep("init", *REPO, "--signed", "--admin-name", "ops", *ADMINS, *more).expect(0)
    given = ("trust", "add", writer["signer"], "--role", "writer", "--name", "backup host")
    kafkeep(*given, *REPO, *ADMINS).expect(0)
    return admin, writer


def signing_key(kafkeep: Kafkeep, name: str) -> SigningKey:
    return SigningKey.parse(Secret((kafkeep.folder / f"{name}.key").read_text()))


def test_a_life(kafkeep: Kafkeep, source: Served) -> None:
    admin, writer = signed(kafkeep)
    listed = kafkeep("trust", "list", *REPO).expect(0)
    assert listed["signed"] is True
    assert listed["signers"] == [
        {"id": admin["id"], "role": "admin", "name": "ops", "signer": admin["signer"]},
        {"id": writer["id"], "role": "writer", "name": "backup host", "signer": writer["signer"]},
    ]
    kafkeep(*BACKUP).refused(12, "key-refused")
    for count in range(2):
        source.topics["orders"].logs[0].append([record(f"more {count}".encode())])
        kafkeep(*BACKUP, *WRITERS).expect(0)
    for command in (PRUNE, ("pin", "2", *REPO, "--reason", "x"), ("trust", "remove", admin["id"], *REPO)):
        assert "it is a writer's" in kafkeep(*command, *WRITERS).refused(12, "key-refused")
        assert "no signing key was given" in kafkeep(*command).refused(12, "key-refused")
    assert kafkeep(*PRUNE, *ADMINS).expect(0)["type"] == "summary"
    kafkeep("trust", "remove", writer["id"], *REPO, *ADMINS).expect(0)
    source.topics["orders"].logs[0].append([record(b"of nobody")])
    assert "nobody trusts it" in kafkeep(*BACKUP, *WRITERS).refused(12, "key-refused")
    kafkeep("trust", "remove", writer["id"], *REPO, *ADMINS).refused(24, "plan-refused")
    kafkeep("trust", "remove", admin["signer"], *REPO, *ADMINS).refused(24, "plan-refused")
    kafkeep("verify", *REPO).expect(0)
    put(LocalStore(kafkeep.folder / "r"), RaiseEpoch(1), signing_key(kafkeep, "writer"))
    ended = kafkeep("verify", *REPO).expect(22)
    assert ["whom nobody trusts" in alarm["reason"] for alarm in ended["alarms"]] == [True]


def test_what_people_read(kafkeep: Kafkeep) -> None:
    signer = made(kafkeep, "admin")["signer"]
    told = kafkeep._inside("init", *REPO, "--signed", *ADMINS).out
    assert f"begun by the admin {signer}" in told
    assert signer in kafkeep._inside("trust", "list", *REPO).out
    kafkeep("init", "--repo", "./plain").expect(0)
    assert "are not signed" in kafkeep._inside("trust", "list", "--repo", "./plain").out
    assert kafkeep("trust", "list", "--repo", "./plain").expect(0)["signed"] is False
    assert set(asdict(Created("", "", "", "", (), None, ()))) <= set(
        kafkeep("init", "--repo", "./more", "--signed", *ADMINS).expect(0)
    )


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (("--signed",), "kafkeep trust init"),
        (ADMINS, "Add --signed"),
        (("--admin-name", "x"), "Add --signed"),
        (("--signed", "--admin-name", "x" * 201, *ADMINS), "at most 200"),
        (("--signed", "--admin-name", "a\nb", *ADMINS), "at most 200"),
    ],
)
def test_what_init_refuses(kafkeep: Kafkeep, given: tuple[str, ...], hint: str) -> None:
    made(kafkeep, "admin")
    ended = kafkeep("init", *REPO, *given).expect(2)
    assert ended["slug"] == "usage" and hint in f"{ended['message']} {ended['hint']}"
    assert not (kafkeep.folder / "r" / "kafkeep.json").exists() and not (kafkeep.folder / "r" / "log").exists()


def test_the_setting_is_as_good_as_the_option(kafkeep: Kafkeep, source: Served) -> None:
    admin, writer = made(kafkeep, "admin"), made(kafkeep, "writer")
    pinned = f'[repository.prod]\nurl = "r"\nadmins = ["{admin["signer"]}"]\nsigning_key = {{ file = "NAME.key" }}\n'
    kafkeep.settings(pinned.replace("NAME", "writer"))
    assert "none of the admins" in str(kafkeep("init", "--repo", "prod", "--signed").expect(2)["message"])
    kafkeep.settings(pinned.replace("NAME", "admin"))
    assert "not to be signed" in str(kafkeep("init", "--repo", "prod").expect(2)["message"])
    assert kafkeep("init", "--repo", "prod", "--signed").expect(0)["admins"] == [admin["signer"]]
    kafkeep("trust", "add", writer["signer"], "--role", "writer", "--repo", "prod").expect(0)
    kafkeep.settings(pinned.replace("NAME", "writer"))
    kafkeep("backup", "--repo", "prod", "--cluster", "source:1", "--topics", "orders").expect(0)


def test_signed_and_encrypted(kafkeep: Kafkeep, source: Served) -> None:
    recipient = str(kafkeep("keys", "init", "--out", "./alice.key").expect(0)["recipient"])
    given = ("--encrypt", "--recipient", recipient, "--writer-key-out", "./host.key")
    admin, writer = made(kafkeep, "admin"), made(kafkeep, "writer")
    kafkeep("init", *REPO, "--signed", *ADMINS, *given).expect(0)
    host = ("--writer-key-file", "./host.key")
    kafkeep("trust", "add", writer["signer"], "--role", "writer", *REPO, *ADMINS, *host).expect(0)
    kafkeep(*BACKUP, *WRITERS, *host).expect(0)
    source.topics["orders"].logs[0].append([record(b"of nobody")])
    kafkeep(*BACKUP, *host).refused(12, "key-refused")
    kafkeep("verify", *REPO, "--level", "data", "--identity-file", "./alice.key").expect(0)
    listed = kafkeep("trust", "list", *REPO, *host).expect(0)["signers"]
    assert [each["id"] for each in listed] == [admin["id"], writer["id"]]
    kafkeep("keys", "rotate", *REPO, "--identity-file", "./alice.key", *WRITERS).refused(12, "key-refused")
    kafkeep("keys", "rotate", *REPO, "--identity-file", "./alice.key", *ADMINS).expect(0)


@pytest.mark.fault("C8")
def test_an_interrupted_creation_is_finished_by_its_admin_alone(kafkeep: Kafkeep) -> None:
    """Whoever may create objects could begin a repository before its owner does."""
    admin, _ = made(kafkeep, "admin"), made(kafkeep, "writer")
    first = kafkeep("init", *REPO, "--signed", *ADMINS).expect(0)
    (kafkeep.folder / "r" / "kafkeep.json").unlink()
    assert "by other admins" in kafkeep("init", *REPO, "--signed", *WRITERS).refused(12, "key-refused")
    assert not (kafkeep.folder / "r" / "kafkeep.json").exists()
    again = kafkeep("init", *REPO, "--signed", "--admin-name", "another", *ADMINS).expect(0)
    assert (again["id"], again["admins"]) == (first["id"], [admin["signer"]])


def test_a_key_for_a_repository_that_is_not_signed_is_refused(kafkeep: Kafkeep) -> None:
    made(kafkeep, "admin")
    kafkeep("init", *REPO).expect(0)
    for verb in (("points",), ("trust", "list")):
        assert "are not signed" in str(kafkeep(*verb, *REPO, *ADMINS).expect(2)["message"])
    signer = made(kafkeep, "second")["signer"]
    kafkeep("trust", "add", signer, "--role", "admin", *REPO).refused(24, "plan-refused")


def test_what_trust_add_refuses(kafkeep: Kafkeep) -> None:
    admin, writer = signed(kafkeep)
    add = ("trust", "add", writer["signer"], *REPO, *ADMINS)
    kafkeep(*add, "--role", "writer", "--name", "backup host").refused(24, "plan-refused")
    assert "at most 200" in str(kafkeep(*add, "--role", "writer", "--name", "x" * 201).expect(2)["message"])
    kafkeep("trust", "add", "kafkeep-signer-1:x", "--role", "writer", *REPO, *ADMINS).expect(12)
    kafkeep("trust", "add", admin["signer"], "--role", "writer", *REPO, *ADMINS).refused(24, "plan-refused")
    kafkeep(*add, "--role", "admin").expect(0)
    kafkeep("trust", "add", admin["signer"], "--role", "writer", *REPO, *WRITERS).expect(0)
    kafkeep("trust", "remove", writer["id"], *REPO, *ADMINS).refused(12, "key-refused")


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside the true admin"])
def test_another_repository_in_the_place_of_ours_is_refused(kafkeep: Kafkeep, beside: bool) -> None:
    """Public keys are public: one who names the true admin beside themselves has begun another repository all the same."""
    admin, _ = signed(kafkeep)
    settings = f'[repository.prod]\nurl = "r"\nadmins = ["{admin["signer"]}"]\n'
    kafkeep.settings(settings)
    kafkeep("points", "--repo", "prod").expect(0)
    (kafkeep.folder / "r").rename(kafkeep.folder / "true")
    theirs = SigningKey.generate()
    true = (signing_key(kafkeep, "admin").trusted(ADMIN),) if beside else ()
    Repository.init(
        LocalStore(kafkeep.folder / "r"),
        now=now,
        rng=random.Random(3),
        admins=(*true, theirs.trusted(ADMIN)),
        access=Access(signing_key=theirs),
    )
    for verb in (("points",), ("verify",), ("repair",), ("rebuild", "--in-place")):
        assert "whom the settings do not name" in str(kafkeep(*verb, "--repo", "prod").expect(20)["message"])
    kafkeep.settings('[repository.prod]\nurl = "true"\nadmins = ["nobody"]\n')
    for command in (("points", "--repo", "prod"), ("config", "check")):
        assert "signer" in str(kafkeep(*command).expect(2, 12))
    kafkeep.settings(settings.replace('"r"', '"plain"'))
    kafkeep("init", "--repo", "./plain").expect(0)
    assert "nobody's signature" in str(kafkeep("points", "--repo", "prod").expect(20)["message"])


def test_a_key_is_never_shown(kafkeep: Kafkeep, source: Served) -> None:
    signed(kafkeep)
    keys = [signing_key(kafkeep, name).reveal() for name in ("admin", "writer")]
    shown = []
    for command in (
        (*BACKUP, *WRITERS),
        (*PRUNE, *WRITERS),
        (*PRUNE, *ADMINS),
        ("trust", "list", *REPO, *ADMINS),
        ("points", *REPO, *WRITERS),
        ("trust", "add", keys[1], "--role", "writer", *REPO, *ADMINS),
        ("config", "show"),
    ):
        for ended in (kafkeep(*command), kafkeep._inside("-vv", *command)):
            assert "No such option" not in ended.err
            shown.append(ended.out + ended.err)
    files = [path for path in kafkeep.folder.rglob("*") if path.is_file() and path.suffix != ".key"]
    shown += [path.read_bytes().decode("latin-1") for path in files]
    for key in keys:
        assert not [text for text in shown if key in text or key.split(":")[1] in text]
    for name in ("admin", "writer"):
        assert (kafkeep.folder / f"{name}.key").stat().st_mode & 0o777 == 0o600
    held = (kafkeep.folder / "admin.key").read_bytes()
    kafkeep("trust", "init", "--out", "./admin.key").refused(2, "usage")
    assert (kafkeep.folder / "admin.key").read_bytes() == held
