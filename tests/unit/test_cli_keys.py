"""An encrypted repository on the command line: what is made and asked for, and every verb with each kind of key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from tests.support.encrypted import quick_slots
from tests.support.operations import ORDERS, without_pauses
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record
from tests.support.simulated_settings import SettledCluster, settle
from tests.support.sweep_command import Ended, Kafkeep

from kafkeep.model import GroupOffset
from kafkeep.repository.objects import read_repository_document
from kafkeep.repository.stores.local import LocalStore

PASSPHRASE = "correct horse battery staple"


class Served(SettledCluster):
    """A simulated cluster that the command line opens and closes."""

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error: object) -> None:
        return None


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    with without_pauses(), quick_slots():
        yield


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    return Kafkeep(tmp_path, inside=True)


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> dict[str, Served]:
    """`source:1` with records, a group and settings, and `target:1`, which is empty."""
    source = Served("source")
    for topic in ("orders", "payments"):
        source.add_topic(topic)
        source.topics[topic].logs[0].append([record(f"{topic}/{number}".encode()) for number in range(4)])
    source.groups["billing"] = [GroupOffset(ORDERS, 1, -1, "")]
    settle(source)
    found = {"source:1": source, "target:1": Served("target")}

    def opened(config: Any, **_: Any) -> SimulatedCluster:
        return found[config.name]

    monkeypatch.setattr("kafkeep.kafka.cluster.Cluster", opened)
    return found


def private(folder: Path, name: str, text: str = PASSPHRASE) -> str:
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(text)
    return f"./{name}"


def recipient_of(kafkeep: Kafkeep, name: str) -> str:
    """Makes an identity in that file."""
    return str(kafkeep("keys", "init", "--out", f"./{name}").expect(0)["recipient"])


REPO = ("--repo", "./r")
IDENTITY = ("--identity-file", "./alice.key")
WRITER = ("--writer-key-file", "./writer.key")


def text(kafkeep: Kafkeep, *arguments: str) -> str:
    """What people read of a command."""
    return kafkeep._inside(*arguments).out


def encrypted(kafkeep: Kafkeep) -> None:
    recipient = recipient_of(kafkeep, "alice.key")
    given = ("--encrypt", "--recipient", f"{recipient}=alice", "--writer-key-out", "./writer.key")
    kafkeep("init", *REPO, *given).expect(0)


# --- making ----------------------------------------------------------------------------------------------------------


@pytest.mark.fault("E6")
def test_key_files_are_private_and_never_written_over(kafkeep: Kafkeep) -> None:
    encrypted(kafkeep)
    for name in ("alice.key", "writer.key"):
        path = kafkeep.folder / name
        assert path.stat().st_mode & 0o777 == 0o600
        held = path.read_bytes()
        kafkeep("keys", "init", "--out", f"./{name}").refused(2, "usage")
        kafkeep("keys", "export", *REPO, *IDENTITY, "--writer-key-out", f"./{name}").refused(2, "usage")
        kafkeep("init", "--repo", "./s", "--encrypt", *IDENTITY, "--writer-key-out", f"./{name}").refused(2, "usage")
        assert path.read_bytes() == held
    (kafkeep.folder / "link").symlink_to(kafkeep.folder / "nowhere")
    kafkeep("keys", "init", "--out", "./link").refused(2, "usage")
    assert not (kafkeep.folder / "nowhere").exists() and not (kafkeep.folder / "s" / "kafkeep.json").exists()
    kafkeep("keys", "export", *REPO, *IDENTITY, "--writer-key-out", "./second.key").expect(0)
    assert (kafkeep.folder / "second.key").read_bytes() == (kafkeep.folder / "writer.key").read_bytes()
    (kafkeep.folder / "alice.key").chmod(0o644)
    assert "chmod 600" in kafkeep("points", *REPO, *IDENTITY).refused(2, "settings")


def test_what_is_to_be_kept_safe_is_told(kafkeep: Kafkeep) -> None:
    recipient = recipient_of(kafkeep, "alice.key")
    file = private(kafkeep.folder, "p")
    given = (
        "--encrypt",
        "--recipient",
        f"{recipient}=alice",
        "--passphrase-file",
        file,
        "--writer-key-out",
        "./writer.key",
    )
    told = text(kafkeep, "init", *REPO, *given)
    assert (
        f"{recipient} (alice)" in told
        and "(passphrase)" in told
        and "./writer.key" in told.replace(" writer.key", " ./writer.key")
    )
    listed = kafkeep("keys", "list", *REPO, "--passphrase-file", file).expect(0)["recipients"]
    assert [(line["name"], line["passphrase"]) for line in listed] == [("alice", False), ("passphrase", True)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--encrypt", "--recipient", "RECIPIENT"), "nobody could write"),
        (("--recipient", "RECIPIENT"), "not to be encrypted"),
        (("--writer-key-out", "./w"), "not to be encrypted"),
        (("--passphrase-file", "./p"), "not to be encrypted"),
        (("--encrypt",), "asked for at a terminal"),
        (("--encrypt", "--passphrase-file", "./p", "--writer-key-file", "./w"), "was begun"),
        (("--encrypt", "--passphrase-file", "./p", "--recipient", "RECIPIENT=" + "x" * 201), "at most 200"),
    ],
)
def test_what_init_refuses(kafkeep: Kafkeep, given: tuple[str, ...], said: str) -> None:
    recipient = recipient_of(kafkeep, "alice.key")
    private(kafkeep.folder, "p")
    given = tuple(text.replace("RECIPIENT", recipient) for text in given)
    assert said in kafkeep("init", *REPO, *given).refused(2, "usage")
    assert not (kafkeep.folder / "r" / "kafkeep.json").exists()
    assert not (kafkeep.folder / "w").exists()


def test_a_short_passphrase_and_what_is_no_recipient_are_refused(kafkeep: Kafkeep) -> None:
    short = private(kafkeep.folder, "p", "hunter2")
    kafkeep("init", *REPO, "--encrypt", "--passphrase-file", short).refused(12, "key-refused")
    kafkeep("init", *REPO, "--encrypt", "--recipient", "age1xyz", "--writer-key-out", "./w").refused(12, "key-refused")
    assert not (kafkeep.folder / "w").exists()


@pytest.mark.fault("C8")
def test_an_interrupted_creation_is_finished_by_the_same_command(kafkeep: Kafkeep) -> None:
    encrypted(kafkeep)
    (kafkeep.folder / "r" / "kafkeep.json").unlink()
    recipient = recipient_of(kafkeep, "bob.key")
    again = ("--encrypt", "--recipient", recipient, "--writer-key-out", "./writer.key")
    assert kafkeep("init", *REPO, *again).expect(0)["recipients"][0]["name"] == "alice"
    kafkeep("points", *REPO, *WRITER).expect(0)
    (kafkeep.folder / "r" / "kafkeep.json").unlink()
    other = ("--encrypt", "--recipient", recipient, "--writer-key-out", "./other.key")
    kafkeep("init", *REPO, *other).refused(12, "key-refused")
    assert not (kafkeep.folder / "other.key").exists(), "a key of no repository"


# --- what opens it ---------------------------------------------------------------------------------------------------


def test_keys_come_from_settings_too(kafkeep: Kafkeep) -> None:
    encrypted(kafkeep)
    private(kafkeep.folder, "p")
    kafkeep("keys", "add", "--passphrase", "--new-passphrase-file", "./p", *REPO, *IDENTITY).expect(0)
    identity = (kafkeep.folder / "alice.key").read_text()
    command = [sys.executable, "-c", f"print({identity!r})"]
    for source in (
        'identity = { file = "alice.key" }',
        f"identity = {{ command = {command!r} }}",
        'writer_key = { file = "writer.key" }',
        'passphrase = { env = "P" }',
    ):
        kafkeep.settings(f'[repository.prod]\nurl = "r"\n{source}\n')
        kafkeep.variables = {"P": PASSPHRASE}
        kafkeep("points", "--repo", "prod").expect(0)
        kafkeep("config", "check").expect(0)
        kafkeep("points", "--repo", "prod", *IDENTITY).expect(0)
    kafkeep.settings('[repository.prod]\nurl = "r"\nidentity = { command = ["false"] }\n')
    kafkeep("points", "--repo", "prod").refused(2, "settings")
    kafkeep("points", "--repo", "prod", *WRITER).expect(0)
    kafkeep("keys", "check", "--repo", "prod", *WRITER).refused(12, "key-refused")
    kafkeep.settings('[repository.prod]\nurl = "r"\n')
    kafkeep.variables = {"KAFKEEP_REPOSITORY__PROD__PASSPHRASE": PASSPHRASE}
    kafkeep("points", "--repo", "prod").expect(0)
    kafkeep.variables = {"KAFKEEP_REPOSITORY__PROD__PASSPHRASE": "another passphrase"}
    kafkeep("points", "--repo", "prod").refused(12, "key-refused")
    kafkeep.variables = {}
    kafkeep.settings('[repository.prod]\nurl = "r"\npassphrase = "written here"\n')
    kafkeep("points", "--repo", "prod").refused(2, "settings")


def test_a_key_that_is_wrong_missing_or_for_nothing(kafkeep: Kafkeep) -> None:
    encrypted(kafkeep)
    recipient_of(kafkeep, "bob.key")
    kafkeep("points", *REPO).refused(12, "key-refused")
    kafkeep("points", *REPO, "--identity-file", "./bob.key").refused(12, "key-refused")
    kafkeep("points", *REPO, "--identity-file", "./writer.key").refused(12, "key-refused")
    kafkeep("verify", *REPO).refused(12, "key-refused")
    kafkeep("points", *REPO, "--identity-file", "./absent.key").refused(2, "settings")
    kafkeep("init", "--repo", "./plain").expect(0)
    for verb in ("points", "verify"):
        assert "is not encrypted" in kafkeep(verb, "--repo", "./plain", *IDENTITY).refused(2, "usage")
    assert "is not encrypted" in kafkeep("keys", "list", "--repo", "./plain").refused(2, "usage")
    (kafkeep.folder / "metadata.json").write_text("{}")
    apply = ("metadata", "apply", "--file", "./metadata.json", "--cluster", "host:1", *IDENTITY)
    assert "no repository is opened" in kafkeep(*apply).refused(2, "usage")
    kafkeep("init", "--repo", "./other", "--encrypt", *IDENTITY).expect(0)
    assert "belongs to repository" in kafkeep("points", "--repo", "./other", *WRITER).refused(12, "key-refused")


def test_the_passphrase_is_asked_for_at_a_terminal(kafkeep: Kafkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def prompt(text: str, *, hide_input: bool, confirmation_prompt: bool, err: bool) -> str:
        assert hide_input and err
        asked.append((text, confirmation_prompt))
        return PASSPHRASE

    monkeypatch.setattr(click, "prompt", prompt)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    kafkeep("init", *REPO, "--encrypt").expect(0)
    kafkeep("verify", *REPO, "--record").expect(0)
    kafkeep("init", "--repo", "./plain").expect(0)
    kafkeep("points", "--repo", "./plain").expect(0)
    kafkeep("points", "--repo", "./absent").refused(10, "no-repository")
    assert [(text.split()[0], twice) for text, twice in asked] == [("new", True), ("passphrase", False)], (
        "once a command"
    )


# --- every verb ------------------------------------------------------------------------------------------------------


@pytest.mark.fault("I11")
def test_every_verb_with_a_writer_key_and_with_an_identity(kafkeep: Kafkeep, clusters: dict[str, Served]) -> None:
    """What the host that backs up needs, needs its key alone; what opens records ends with 12 before anything happens."""
    encrypted(kafkeep)
    source, target = ("--cluster", "source:1"), ("--cluster", "target:1")

    def done(*arguments: str, status: int = 0) -> Ended:
        ended = kafkeep(*arguments)
        ended.expect(status)
        return ended

    done("backup", *REPO, *WRITER, *source)
    clusters["source:1"].topics["orders"].logs[0].append([record(b"more")])
    done("backup", *REPO, *WRITER, *source, "--name", "second")
    for key in (WRITER, IDENTITY):
        assert done("points", *REPO, *key).last["points"] == 2
        assert "orders" in done("show", "latest", *REPO, *key).out
        assert done("diff", "1", "2", *REPO, *key).last["same"] is False
        for level in ("chain", "exist", "objects"):
            done("verify", *REPO, *key, "--level", level)
        done("metadata", "export", "latest", *REPO, *key, "--dir", f"./export{len(key[0])}")
        done("metadata", "diff", "1", "2", *REPO, *key, status=22)
        done("prune", *REPO, *key, "--keep-last", "5", status=4)
        done("groups", "plan", "latest", *REPO, *key, *source, status=4)
        done("metadata", "apply", "latest", *REPO, *key, *target, "--only", "topics", "--dry-run")
        assert kafkeep("restore", "latest", *REPO, *key, *target, "--dry-run").status == 0
    done("verify", *REPO, *WRITER, "--record", "--max-duration", "1m")
    done("metadata", "backup", *REPO, *WRITER, *source)
    done("tag", "latest", "a=b", *REPO, *WRITER)
    done("pin", "latest", "--reason", "r", *REPO, *WRITER)
    done("unpin", "latest", *REPO, *WRITER)
    done("copy", *REPO, *WRITER, "--to", "./copy")
    done("doctor", "store", *REPO)

    for verb in ("restore", "compare"):
        assert "identity" in kafkeep(verb, "latest", *REPO, *WRITER, *target).refused(12, "key-refused")
    assert not clusters["target:1"].topics
    kafkeep("verify", *REPO, *WRITER, "--level", "data").refused(12, "key-refused")
    for verb in ("check", "add"):
        more = (recipient_of(kafkeep, f"{verb}.key"),) if verb == "add" else ()
        kafkeep("keys", verb, *more, *REPO, *WRITER).refused(12, "key-refused")

    done("keys", "check", *REPO, *IDENTITY)
    done("verify", *REPO, *IDENTITY, "--level", "data")
    done("verify", "--repo", "./copy", *IDENTITY, "--level", "data")
    assert kafkeep("restore", "latest", *REPO, *IDENTITY, *target).status == 0
    assert clusters["target:1"].topics["orders"].logs[0].end == clusters["source:1"].topics["orders"].logs[0].end
    assert done("compare", "latest", *REPO, *IDENTITY, *target).last["verdict"] == "identical"
    done("compare", "latest", *REPO, *IDENTITY, *source)
    listed = done("keys", "list", *REPO, *WRITER).last
    assert {line["topic"] for line in listed["topic_keys"]} == {"orders", "payments"}


def test_runs_are_moved_and_mended_without_their_keys(kafkeep: Kafkeep, clusters: dict[str, Served]) -> None:
    encrypted(kafkeep)
    source = ("--cluster", "source:1")
    for number in range(4):
        clusters["source:1"].topics["orders"].logs[0].append([record(b"more %d" % number)])
        kafkeep("backup", *REPO, *WRITER, *source).expect(0)
    kafkeep("copy", *REPO, *WRITER, "--to", "./copy").expect(0)
    kafkeep("compact", *REPO, *WRITER).expect(0)
    kafkeep("verify", *REPO, *IDENTITY, "--level", "data").expect(0)
    kafkeep("compare", "latest", *REPO, *IDENTITY, *source).expect(0)


# --- recipients and shredding ----------------------------------------------------------------------------------------


def test_recipients_come_and_go(kafkeep: Kafkeep, clusters: dict[str, Served]) -> None:
    encrypted(kafkeep)
    kafkeep("backup", *REPO, *WRITER, "--cluster", "source:1").expect(0)
    bob = recipient_of(kafkeep, "bob.key")
    by_bob = ("--identity-file", "./bob.key")
    assert kafkeep("keys", "add", bob, "--name", "bob", *REPO, *IDENTITY).expect(0)["wrapped"] == 3
    kafkeep("keys", "add", bob, *REPO, *IDENTITY).expect(4)
    kafkeep("keys", "check", *REPO, *by_bob).expect(0)
    assert kafkeep("keys", "remove", "bob", *REPO, *WRITER).expect(0)["objects"]
    kafkeep("points", *REPO, *by_bob).expect(0)
    assert kafkeep("keys", "remove", "bob", *REPO, *WRITER, "--execute").expect(0)["deleted"] == 4
    kafkeep("points", *REPO, *by_bob).refused(12, "key-refused")
    kafkeep("keys", "remove", "alice", *REPO, *IDENTITY).expect(24)
    kafkeep("keys", "remove", "nobody", *REPO, *IDENTITY).refused(2, "usage")
    kafkeep("keys", "add", *REPO, *IDENTITY).refused(2, "usage")
    kafkeep("keys", "rotate", *REPO, *WRITER).expect(0)
    clusters["source:1"].topics["orders"].logs[0].append([record(b"more")])
    kafkeep("backup", *REPO, *WRITER, "--cluster", "source:1").expect(0)
    listed = text(kafkeep, "keys", "list", *REPO, *WRITER)
    assert "alice" in listed and listed.count("orders") == 2


@pytest.mark.fault("G7")
def test_a_topic_is_shredded(kafkeep: Kafkeep, clusters: dict[str, Served]) -> None:
    encrypted(kafkeep)
    source, target = ("--cluster", "source:1"), ("--cluster", "target:1")
    kafkeep("backup", *REPO, *WRITER, *source).expect(0)
    shred = ("keys", "shred", "--reason", "request 17", *REPO, *WRITER)
    plan = kafkeep(*shred, "--topic", "orders").expect(0)
    assert (plan["records"], plan["points"], plan["topics"][0][0]) == (4, [1], "orders")
    kafkeep("verify", *REPO, *IDENTITY, "--level", "data").expect(0)
    assert kafkeep(*shred, "--topic", "orders", "--execute").expect(0)["deleted"] == 1
    kafkeep(*shred, "--topic", "orders", "--execute").expect(4)
    kafkeep(*shred, "--topic", "nothing").refused(2, "usage")
    everything = (*shred, "--topic", "payments")
    repository = kafkeep(*everything).expect(24)
    assert repository["refusals"]
    kafkeep(*everything, "--execute").refused(24, "plan-refused")
    kafkeep(*everything, "--i-mean-it", "0" * 32).refused(2, "usage")
    assert kafkeep("verify", *REPO, *IDENTITY, "--level", "data").expect(0)["shredded"] == ["orders"]
    assert "shredded, and no damage: records of orders" in text(kafkeep, "verify", *REPO, *WRITER)
    assert "4, 4 of them shredded" in text(kafkeep, "points", *REPO, *WRITER)
    assert "request 17" in text(kafkeep, "show", "latest", *REPO, *WRITER)
    refused = kafkeep("restore", "latest", *REPO, *IDENTITY, *target).refused(24, "declared-loss")
    assert "shredded: request 17" in refused and "--allow-loss" in refused
    assert not clusters["target:1"].topics
    kafkeep("restore", "latest", *REPO, *IDENTITY, *target, "--allow-loss", "skip").expect(21)
    assert clusters["target:1"].topics["payments"].logs[0].end == 4
    assert clusters["target:1"].topics["orders"].logs[0].end == 0
    assert kafkeep(*everything, "--i-mean-it", _id(kafkeep), "--execute").expect(0)["deleted"] == 1


def _id(kafkeep: Kafkeep) -> str:
    return read_repository_document(LocalStore(kafkeep.folder / "r")).id


def test_keys_that_are_missing_or_damaged_have_statuses_of_their_own(
    kafkeep: Kafkeep, clusters: dict[str, Served]
) -> None:
    encrypted(kafkeep)
    kafkeep("backup", *REPO, *WRITER, "--cluster", "source:1").expect(0)
    kafkeep("keys", "add", recipient_of(kafkeep, "bob.key"), *REPO, *IDENTITY).expect(0)
    topics = kafkeep("keys", "list", *REPO, *WRITER).expect(0)["topic_keys"]
    alice, bob = (line["id"] for line in kafkeep("keys", "list", *REPO, *WRITER).last["recipients"])
    folder = kafkeep.folder / "r" / "key"
    (folder / topics[0]["id"] / bob).unlink()
    assert kafkeep("keys", "check", *REPO, *IDENTITY).expect(3)["others"] == [[bob, "", 1]]
    (folder / topics[1]["id"] / alice).unlink()
    assert [each["topic"] for each in kafkeep("keys", "check", *REPO, *IDENTITY).expect(12)["missing"]] == ["payments"]
    kafkeep("keys", "add", recipient_of(kafkeep, "carol.key"), *REPO, *IDENTITY).refused(12, "key-refused")
    damaged = folder / topics[0]["id"] / alice
    damaged.chmod(0o600)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert len(kafkeep("keys", "check", *REPO, *IDENTITY).expect(20)["damaged"]) == 1
    assert "cannot be opened" in text(kafkeep, "keys", "check", *REPO, *IDENTITY)
    damaged.unlink()
    by_bob = ("--identity-file", "./bob.key")
    (line,) = [line for line in (kafkeep.folder / "alice.key").read_text().splitlines() if "recipient: " in line]
    kafkeep("keys", "add", line.split("recipient: ")[1], *REPO, *by_bob).refused(12, "key-refused")
    assert [each["topic"] for each in kafkeep("keys", "check", *REPO, *by_bob).expect(12)["missing"]] == ["orders"]
