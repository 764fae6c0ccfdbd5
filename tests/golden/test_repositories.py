"""Repositories written by released versions: this code and the second reader find in them what was put there.

The vectors of docs/format.md are checked here too, against both.
"""

from __future__ import annotations

import ast
import json
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.golden.make_repositories import described
from tests.golden.make_signed import WRITER_KEY
from tests.golden.sealed_vectors import sealed_vectors
from tests.golden.signed_vectors import PRIVATE, REPOSITORY, signed_vectors
from tests.support import second_reader
from tests.support.forgeries import BROKEN, forged
from tests.support.readers import in_that_shape, reader_of, same_state, seen_by
from tests.support.repositories import Clock, Journal, backup, generation, open_repository, piece
from tests.support.second_reader import Broken, Corrupt, Reader, Unknown
from tests.support.second_reader import documents as second_reader_documents
from tests.support.second_reader import signed as second_reader_signed
from tests.support.writer import run_all

from kafkeep.errors import CorruptionError, UnknownFormat
from kafkeep.model import NO_TOPIC_ID, Generation
from kafkeep.repository import layout, names
from kafkeep.repository.envelope import Kind, unwrap, wrap
from kafkeep.repository.format import NO_COMMIT, encode_commit, read_slot
from kafkeep.repository.identities import Identity
from kafkeep.repository.keyring import Access
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import ReadOnlyStore
from kafkeep.secret import Secret
from kafkeep.verify.run import verify

HERE = Path(__file__).parent / "repositories"
ROOT = Path(__file__).resolve().parents[2]
GOLDEN = sorted(path.name for path in HERE.iterdir())
SIGNED = ("format-1-rooted", "format-1-signed", "format-1-trimmed")


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / name / "expected.json").read_text())
    return found


def test_there_are_golden_repositories_of_every_format() -> None:
    assert {"format-1-none", "format-1-zstd", "format-1-held-back", "format-1-kept", "format-1-compacted"} <= set(
        GOLDEN
    )


def identity_of(name: str) -> str:
    """What opens an encrypted one; nothing for the others."""
    path = HERE / name / "identity"
    return path.read_text().strip() if path.exists() else ""


def access_of(name: str) -> Access | None:
    identity = identity_of(name)
    return Access((Identity.parse(Secret(identity)),)) if identity else None


def writing_access_of(name: str) -> Access | None:
    """What it takes to add to it as well."""
    access = access_of(name)
    return replace(access or Access(), signing_key=WRITER_KEY) if name in SIGNED else access


@pytest.mark.parametrize("name", GOLDEN)
def test_this_code_reads_what_was_written(name: str) -> None:
    store = ReadOnlyStore(LocalStore(HERE / name / "repository"))
    repository = open_repository(store, access=access_of(name))
    assert json.loads(json.dumps(described(repository))) == expected(name)
    report = verify(store, level="data", access=access_of(name))
    assert report.findings == () and [alarm.number for alarm in report.alarms] == expected(name).get("alarms", [])
    assert [value for _, value in repository.audits()] == [{"at": "2026-11-20T10:00:00.000Z", "findings": []}]
    for point in repository.points():
        for kind, reference in point.documents:
            assert repository.document(kind, reference)


@pytest.mark.parametrize("name", GOLDEN)
def test_commits_are_encoded_as_they_were(name: str) -> None:
    """Nothing that is optional shows where it is not needed."""
    log = HERE / name / "repository" / "log"
    repository = open_repository(ReadOnlyStore(LocalStore(HERE / name / "repository")), access=access_of(name))
    prev = {-1: NO_COMMIT}
    for path in sorted(log.iterdir()):
        data, seq = path.read_bytes(), int(path.name)
        slot = read_slot(data, seq, prev.get(seq - 1), path.name, repository.seal)
        assert slot.commit is not None and encode_commit(slot.commit, repository.seal) == data
        prev[seq] = slot.digest


@pytest.mark.parametrize("name", GOLDEN)
def test_the_second_reader_reads_the_same(name: str) -> None:
    reader = Reader.open(second_reader.from_folder(HERE / name / "repository"), identity_of(name))
    assert seen_by(reader) == in_that_shape(expected(name))
    assert sorted(reader.alarms) == expected(name).get("alarms", [])


@pytest.mark.parametrize("name", GOLDEN)
def test_this_code_goes_on_where_the_old_one_stopped(name: str, tmp_path: Path) -> None:
    shutil.copytree(HERE / name / "repository", tmp_path / "copy")
    store = LocalStore(tmp_path / "copy")
    repository = open_repository(store, access=writing_access_of(name))
    backup(repository, [piece(generation("new"), 0, 2)], name="of today")
    assert verify(store, level="data", access=access_of(name)).findings == ()
    before = expected(name)["points"]
    after = json.loads(json.dumps(described(open_repository(store, access=access_of(name)))))["points"]
    assert after[: len(before)] == before
    assert after[-1]["name"] == "of today"


def test_the_command_of_the_second_reader_writes_the_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = HERE / "format-1-zstd" / "repository"
    second_reader.main(str(folder))
    assert "1 first complete" in capsys.readouterr().out
    second_reader.main(str(folder), "1", str(tmp_path))
    repository = open_repository(ReadOnlyStore(LocalStore(folder)))
    for part in repository.view(repository.point("1")).partitions:
        data = b"".join(bytes(chunk) for run in part.runs for chunk in repository.read_run(run))
        assert (tmp_path / f"{part.generation.topic}-{part.generation.partition}").read_bytes() == data


# --- the second reader ------------------------------------------------------------------------------------------------


BESIDE: dict[str, set[str]] = {
    "documents": {"blake3", "zstandard"},
    "sealed": {"blake3", "cryptography"},
    "signed": {"blake3", "cryptography"},
}
"""What modules of the second reader need that does not come with Python."""
SECOND = Path(str(second_reader.__file__)).parent


@pytest.mark.parametrize("path", sorted(SECOND.glob("*.py")), ids=lambda path: path.stem)
def test_the_second_reader_is_small_and_stands_alone(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 300
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    }
    assert imported - sys.stdlib_module_names == BESIDE.get(path.stem, set())


def test_the_second_reader_runs_away_from_here(tmp_path: Path) -> None:
    shutil.copytree(SECOND, tmp_path / "second_reader", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "second_reader", str(HERE / "format-1-signed" / "repository")]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    points = expected("format-1-signed")["points"]
    assert told.splitlines() == [f"{point['number']} {point['name']} complete" for point in points]


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.fault("I6")
def test_both_readers_agree_on_every_broken_commit(name: str) -> None:
    store = forged(BROKEN[name][0])
    repository = open_repository(store)
    reader = reader_of(store)
    assert sorted(reader.alarms) == [alarm.number for alarm in repository.state.alarms] == [2]
    assert same_state(reader, repository)
    backup(repository, [piece(generation("orders"), 6, 1)])
    assert same_state(reader_of(store), repository)


def agreed_alarms(store: MemoryStore) -> list[int] | None:
    """The commits that both readers take for broken, None where both refuse to read on."""
    ours: list[int] | None
    try:
        ours = [alarm.number for alarm in open_repository(store).state.alarms]
    except CorruptionError:
        ours = None
    theirs: list[int] | None
    try:
        theirs = sorted(reader_of(store).alarms)
    except Corrupt:
        theirs = None
    assert ours == theirs
    return ours


def test_both_readers_agree_on_random_changes_to_a_commit() -> None:
    """Digests made right again after a random edit of the JSON: both take the same commits for broken."""
    dice = random.Random(7)
    outcomes = {"valid": 0, "broken": 0, "refused": 0}
    for _ in range(800):
        alarms = agreed_alarms(forged(lambda value: scramble(value, dice)))
        outcomes["refused" if alarms is None else "broken" if alarms else "valid"] += 1
    assert min(outcomes.values()) >= 10, outcomes


@pytest.mark.parametrize(
    ("name", "decisions", "rounds"), [("format-1-kept", range(5, 14), 600), ("format-1-compacted", (3, 9, 11), 300)]
)
def test_both_readers_agree_on_random_changes_to_decisions(name: str, decisions: Sequence[int], rounds: int) -> None:
    """The same for commits that decide what is kept and where it lies, whichever of them it is."""
    dice = random.Random(8)
    outcomes = {"valid": 0, "broken": 0, "refused": 0}
    golden = objects_of(HERE / name / "repository")
    for _ in range(rounds):
        store = MemoryStore()
        store.objects = dict(golden)
        number = dice.choice(decisions)
        value = unwrap(golden[names.log_name(number)], Kind.COMMIT, "a decision")
        scramble(value, dice)
        relink(store, number, value)
        alarms = agreed_alarms(store)
        if alarms is not None:
            reader, state = reader_of(store), open_repository(store).state
            assert {name for _, packs in reader.retired.values() for name in packs} == state.retired_packs()
            assert list(reader.points) == [point.number for point in state.points]
            assert reader.swept == state.swept
            theirs = {pack: [run["index"] for run in entry["runs"]] for pack, entry in reader.packs.items()}
            assert theirs == {entry.name: [run.index for run in entry.runs] for entry in state.packs}
        outcomes["refused" if alarms is None else "broken" if alarms else "valid"] += 1
    assert min(outcomes.values()) >= 10, outcomes


def objects_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def relink(store: MemoryStore, number: int, value: Any) -> None:
    """Commit `number` is `value`, and those behind it follow it."""
    store.objects[names.log_name(number)] = wrap(Kind.COMMIT, value)
    while (following := names.log_name(number + 1)) in store.objects:
        later = unwrap(store.objects[following], Kind.COMMIT, following)
        assert isinstance(later, dict)
        later["prev"] = blake3(store.objects[names.log_name(number)]).hexdigest()
        store.objects[following] = wrap(Kind.COMMIT, later)
        number += 1


def scramble(value: Any, dice: random.Random) -> None:
    """Change one place somewhere in a JSON value."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []:
            places.append((node, key))
            walk(node[key])

    walk(value)
    node, key = dice.choice(places)
    old = node[key]
    replacements: list[Any] = [None, True, -1, 0, 1, 2**31, 2**63, "", "x", "é", [], {}, old, [old], [old, old]]
    if isinstance(old, int):
        replacements += [old + 1, old - 1, old + 3] * 3
    if isinstance(old, list):
        replacements += [old[:-1], old + old, old[::-1]]
    choice = dice.randrange(len(replacements) + 1)
    if choice == len(replacements) and isinstance(node, dict):
        del node[key]
    else:
        node[key] = replacements[choice % len(replacements)]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 700)), min_size=1, max_size=6),
    st.sampled_from(["none", "zstd"]),
    st.integers(1, 1500),
)
def test_both_readers_read_any_repository_alike(
    rounds: list[tuple[int, int, int]], compression: str, chunk_bytes: int
) -> None:
    store = MemoryStore()
    repository = Journal(store, compression=compression, chunk_bytes=chunk_bytes).create()
    for partition, batches, size in rounds:
        of = generation("orders", partition)
        known = repository.state.generations.get(of)
        backup(repository, [piece(of, 0 if known is None else known.next_offset, batches, size=size)])
    assert same_state(reader_of(store), repository)


def test_both_readers_read_gaps_and_resumed_work_alike() -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    run_all(repository)
    assert same_state(reader_of(store), repository)


def test_the_second_reader_refuses_every_flip_it_rests_on() -> None:
    store = MemoryStore()
    backup(Journal(store, chunk_bytes=300).create(), [piece(generation("orders"), 0, 2, size=40)])
    whole = seen_by(reader_of(store))
    dice = random.Random(8)
    for name in [name for name in store.objects if not name.startswith(("hint/", "doc/"))]:
        data = store.objects[name]
        for place in range(len(data)):
            damaged = bytearray(data)
            damaged[place] ^= dice.randrange(1, 256)
            store.objects[name] = bytes(damaged)
            with pytest.raises((Corrupt, Unknown, Broken)):
                seen_by(reader_of(store))
        store.objects[name] = data
    assert seen_by(reader_of(store)) == whole


# --- the vectors of the page ------------------------------------------------------------------------------------------


def computed_vectors() -> dict[str, tuple[str, str]]:
    """Name, description and bytes in hexadecimal of each vector, as the code makes them."""
    identity = "000102030405060708090a0b0c0d0e0f"
    of = Generation("orders", NO_TOPIC_ID, 3, 1)
    header = layout.encode_header(identity, 7)
    footer = wrap(Kind.FOOTER, {"runs": []})
    root = layout.pack_root(header, footer)
    return (
        {
            "document": (
                'kind 4, body {"a":[1,-2,null,true,"\\u00e9\\n"]} before it is made canonical',
                wrap(Kind.AUDIT, {"a": [1, -2, None, True, "é\n"]}).hex(),
            ),
            "header": ("of a pack of repository 000102…0e0f, epoch 7", header.hex()),
            "run-header": (
                "run 2, orders, no topic id, partition 3, lineage 1, from offset 420",
                layout.encode_run_header(2, of, 420).hex(),
            ),
            "footer": ("a document of kind 3 without runs", footer.hex()),
            "root": ("of that header and that footer", root.hex()),
            "trailer": (
                "with that root, the footer at position 36",
                layout.encode_trailer(36, len(footer), root).hex(),
            ),
            "run-digest": (
                "of a run without chunks",
                layout.run_digest([]),
            ),
            "crc": ("CRC-32C of the nine bytes 123456789, as stored", struct.pack("<I", 0xE3069283).hex()),
        }
        | sealed_vectors()
        | signed_vectors()
    )


def page_vectors() -> dict[str, str]:
    page = (ROOT / "docs" / "format.md").read_text()
    found = re.search(r"<!-- vectors -->\n```text\n(.*?)```\n<!-- end vectors -->", page, re.DOTALL)
    assert found is not None
    entries = re.findall(r"^([a-z-]+): [^\n]*\n((?:    [0-9a-f ]+\n)+)", found[1], re.MULTILINE)
    return {name: re.sub(r"\s", "", value) for name, value in entries}


def test_the_vectors_of_the_page_are_what_the_code_makes() -> None:
    assert page_vectors() == {name: value for name, (_, value) in computed_vectors().items()}


def test_the_vectors_of_the_page_are_what_the_second_reader_takes() -> None:
    vectors = {name: bytes.fromhex(value) for name, value in page_vectors().items()}
    assert second_reader.document(vectors["document"], 4) == {"a": [1, -2, None, True, "é\n"]}
    assert second_reader.document(vectors["footer"], 3) == {"runs": []}
    assert second_reader.digest(vectors["header"] + vectors["footer"]) == vectors["root"]
    assert vectors["trailer"][12:44] == vectors["root"]
    assert second_reader.digest(b"") == vectors["run-digest"]
    for name in ("header", "run-header"):
        assert struct.pack("<I", second_reader_documents.crc32c(vectors[name][:-4])) == vectors[name][-4:]
    assert struct.pack("<I", second_reader_documents.crc32c(b"123456789")) == vectors["crc"]
    pack = vectors["header"] + vectors["footer"] + vectors["trailer"]
    entry = {"blake3": vectors["root"].hex(), "epoch": 7}
    assert second_reader.footer(pack, entry, "000102030405060708090a0b0c0d0e0f") == []


def test_the_vectors_about_signatures_are_what_the_second_reader_takes() -> None:
    vectors = page_vectors()
    value = unwrap(bytes.fromhex(vectors["signed-commit"]), Kind.COMMIT, "signed-commit")
    assert isinstance(value, dict) and second_reader.document(bytes.fromhex(vectors["signed-commit"]), 2) == value
    public = vectors["signer"]
    assert Ed25519PrivateKey.from_private_bytes(PRIVATE).public_key().public_bytes_raw().hex() == public
    assert value["signature"] == {"key": second_reader_signed.key_id(public), "value": vectors["signature"]}
    signed = second_reader_signed.signed_text("commit", REPOSITORY, value)
    assert signed.hex() == vectors["signed-text"] and len(signed) == 65
    assert second_reader_signed.verifies(public, vectors["signature"], signed)
    report = unwrap(bytes.fromhex(vectors["signed-report"]), Kind.AUDIT, "signed-report")
    assert isinstance(report, dict)
    signed = second_reader_signed.signed_text("report", REPOSITORY, report)
    assert second_reader_signed.verifies(public, report["signature"]["value"], signed)


def test_the_page_names_every_kind_and_every_field() -> None:
    page = (ROOT / "docs" / "format.md").read_text()
    store = MemoryStore()
    repository = Journal(store).create()
    run_all(repository)
    keys: set[str] = set()

    def collect(value: object) -> None:
        if isinstance(value, dict):
            keys.update(value)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            collect(item)

    golden = [
        objects_of(HERE / f"format-1-{name}" / "repository") for name in ("kept", "compacted", "signed", "rooted")
    ]
    for name, data in [item for objects in (store.objects, *golden) for item in objects.items()]:
        if name.startswith("log/") or name == names.REPOSITORY:
            collect(unwrap(data, Kind.COMMIT if name.startswith("log/") else Kind.REPOSITORY, name))
        elif name.startswith("doc/") and data[4] == Kind.STATE:
            collect(unwrap(data, Kind.STATE, name))
    for entry in repository.state.packs:
        data = store.objects[entry.name]
        position, length, _ = layout.decode_trailer(data[-layout.TRAILER_SIZE :], len(data), "pack")
        collect(unwrap(data[position : position + length], Kind.FOOTER, "footer"))
    missing = [key for key in keys if f"`{key}`" not in page and f'"{key}"' not in page]
    assert missing == []
    for kind in Kind:
        assert re.search(rf"\| {kind.value} \|", page), kind


def test_a_repository_from_the_future_is_unknown_to_both() -> None:
    store = MemoryStore()
    Journal(store, clock=Clock()).create()
    value: Any = unwrap(store.objects[names.REPOSITORY], Kind.REPOSITORY, "document")
    value["format"] = 2
    store.objects[names.REPOSITORY] = wrap(Kind.REPOSITORY, value)
    with pytest.raises(UnknownFormat):
        open_repository(store)
    with pytest.raises(Unknown):
        reader_of(store)
