"""Encrypted repositories written by released versions: who opens what of them, and that both readers agree."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.golden import sealed_vectors
from tests.golden.test_repositories import expected, objects_of, page_vectors, scramble
from tests.support import second_reader
from tests.support.operations import without_pauses
from tests.support.readers import in_that_shape, reader_of, same_state, seen_by
from tests.support.repositories import TIME, Journal, backup, generation, open_repository, piece
from tests.support.sealed import ACCESS, IDENTITY, OTHER, encrypted
from tests.support.second_reader import Broken, Corrupt, Reader, Unknown
from tests.support.second_reader import documents as second_reader_documents
from tests.support.second_reader import sealed as second_reader_sealed
from tests.support.second_reader.sealed import Keys, Refused

from kafkeep.errors import CorruptionError, KeyRefused
from kafkeep.repository import names
from kafkeep.repository.envelope import Kind, digest, unwrap, wrap
from kafkeep.repository.keyring import Access
from kafkeep.repository.repository import Repository
from kafkeep.repository.sealing import DocumentSeal
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import ReadOnlyStore
from kafkeep.repository.topic_keys import RotateKeys, Shred
from kafkeep.secret import Secret
from kafkeep.verify.run import verify

HERE = Path(__file__).parent / "repositories"
ROOT = Path(__file__).resolve().parents[2]
ENCRYPTED = HERE / "format-1-encrypted"
SHREDDED = HERE / "format-1-shredded"


@pytest.fixture(autouse=True)
def for_the_test_identity() -> Iterator[None]:
    with encrypted(), without_pauses():
        yield


def golden_store(folder: Path = ENCRYPTED) -> ReadOnlyStore:
    return ReadOnlyStore(LocalStore(folder / "repository"))


def test_a_passphrase_opens_what_the_identity_opens() -> None:
    passphrase = (ENCRYPTED / "passphrase").read_text().strip()
    repository = open_repository(golden_store(), access=Access(passphrase=Secret(passphrase)))
    assert verify(repository, level="data").findings == ()
    reader = Reader.open(second_reader.from_folder(ENCRYPTED / "repository"), passphrase)
    assert seen_by(reader) == in_that_shape(expected("format-1-encrypted"))


def test_who_was_removed_opens_what_was_wrapped_for_it_until_then() -> None:
    """Its key to the documents stays; of the records the last point's newest runs are closed to it."""
    repository = open_repository(golden_store(), access=Access((OTHER,)))
    reader = Reader.open(second_reader.from_folder(ENCRYPTED / "repository"), OTHER.reveal())
    outcomes = {}
    for run in (run for known in repository.state.generations.values() for run in known.runs):
        (piece_,) = [
            each
            for each in reader.histories[_place(run.generation)].pieces
            if (each.pack, each.index) == (run.pack, run.index)
        ]
        try:
            data = b"".join(repository.read_run(run))
        except KeyRefused:
            with pytest.raises(Refused):
                reader.run(piece_)
            outcomes[run.generation.topic, run.coverage.start] = False
        else:
            assert reader.run(piece_) == data
            outcomes[run.generation.topic, run.coverage.start] = True
    assert outcomes == {
        ("orders", 0): True,
        ("orders", 18): True,
        ("orders", 27): True,
        ("old_topic", 0): True,
        ("events.v1", 5): True,
        ("orders", 30): False,
        ("events.v1", 20): False,
    }


def _place(of: Any) -> tuple[str, str, int, int]:
    return of.topic, of.topic_id, of.partition, of.lineage


def test_a_writer_key_reads_names_and_no_record() -> None:
    whole = open_repository(golden_store())
    assert whole.keyring is not None
    repository = open_repository(golden_store(), access=Access(writer_key=whole.keyring.writer_key))
    assert repository.state == whole.state
    assert verify(repository, level="objects").findings == ()
    with pytest.raises(KeyRefused):
        verify(repository, level="data")
    run = next(iter(repository.state.packs)).runs[0]
    with pytest.raises(KeyRefused):
        list(repository.read_run(run))
    reader = Reader.open(second_reader.from_folder(ENCRYPTED / "repository"), whole.keyring.writer_key.reveal())
    assert reader.head == whole.state.head
    with pytest.raises(Refused):
        seen_by(reader)


@pytest.mark.parametrize("folder", [ENCRYPTED, SHREDDED], ids=["encrypted", "shredded"])
def test_both_readers_agree_on_keys(folder: Path) -> None:
    keys = open_repository(golden_store(folder)).state.keys
    theirs = Reader.open(second_reader.from_folder(folder / "repository"), IDENTITY.reveal()).keys
    assert theirs.recipients == {entry.public: entry.name for entry in keys.recipients}
    assert theirs.topic_keys == {key.id: key.topic for key in keys.topic_keys.values()}
    assert (theirs.current, theirs.shredded) == (dict(keys.current), keys.shredded)
    assert keys.topic_keys


def test_nothing_stored_tells_names_or_records() -> None:
    words = [b"orders", b"events.v1", b"old_topic", b"billing", b"first", b"\x00/0 ", b"Q2x1c3Rlcg"]
    for folder in (ENCRYPTED, SHREDDED):
        for name, data in objects_of(folder / "repository").items():
            assert not [word for word in words if word in data], name


# --- the vectors of the page ------------------------------------------------------------------------------------------


def keys_of_the_page() -> Keys:
    """Keys without a repository: what the vectors need of them."""
    keys = Keys.__new__(Keys)
    keys.base, keys.id = second_reader_documents, bytes.fromhex(sealed_vectors.REPOSITORY)
    keys.metadata_key = sealed_vectors.METADATA_KEY
    keys.mac = second_reader_sealed.hkdf(keys.metadata_key, b"", b"kafkeep 1 document salt\0" + keys.id)
    return keys


def test_the_vectors_about_encryption_are_what_the_second_reader_takes() -> None:
    page = {name: bytes.fromhex(value) for name, value in page_vectors().items()}
    keys, private = keys_of_the_page(), bytes(range(1, 33))
    assert second_reader.document(page["sealed-document"], 4, keys) == {"a": [1, -2, None, True, "é\n"]}
    assert keys.document(4, page["document"][11:-32]) == page["sealed-document"]
    assert second_reader_sealed.public_of(private) == page["public"]
    info = b"kafkeep 1 topic key\0" + keys.id + bytes.fromhex(sealed_vectors.KEY_ID)
    assert second_reader_sealed.unwrap(private, page["wrapped"], info) == sealed_vectors.DATA_KEY
    slot = second_reader.document(page["slot"], 33)
    assert second_reader_sealed.open_slot(slot, sealed_vectors.PASSPHRASE) == private
    texts = {name: page[f"{name}-text"].decode() for name in ("identity", "recipient", "writer")}
    assert second_reader_sealed.from_text(texts["identity"], "kafkeep-identity-1:") == private
    assert second_reader_sealed.from_text(texts["recipient"], "kafkeep-recipient-1:") == page["public"]
    assert second_reader_sealed.from_text(texts["writer"], "kafkeep-writer-key-1:") == keys.id + keys.metadata_key
    place = second_reader_sealed.canonical({"from": 420, "generation": ["orders", "A" * 22, 3, 1]})
    both = second_reader_sealed.hkdf(
        sealed_vectors.DATA_KEY, sealed_vectors.SALT, b"kafkeep 1 run\0" + keys.id + place, 64
    )
    assert both[32:] == page["commitment"]
    cipher = second_reader_sealed.AESGCM(both[:32])
    assert cipher.decrypt(bytes(4) + (1).to_bytes(8, "big"), page["sealed-chunk"], None) == b"abc"


def test_hpke_by_hand_opens_what_the_library_wraps() -> None:
    from kafkeep.repository.identities import wrap_for

    dice = random.Random(5)
    for _ in range(20):
        key, info = dice.randbytes(32), dice.randbytes(dice.randrange(80))
        wrapped = wrap_for(IDENTITY.recipient().public, key, info)
        assert second_reader_sealed.unwrap(IDENTITY.private_bytes(), wrapped, info) == key
        with pytest.raises(Refused):
            second_reader_sealed.unwrap(OTHER.private_bytes(), wrapped, info)


# --- any repository ------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 700)), min_size=1, max_size=5),
    st.sampled_from(["none", "zstd"]),
    st.integers(1, 1500),
    st.sampled_from([None, RotateKeys(), Shred((("orders", "A" * 22),), "a reason")]),
)
def test_both_readers_read_any_encrypted_repository_alike(
    rounds: list[tuple[int, int, int]], compression: str, chunk_bytes: int, change: RotateKeys | Shred | None
) -> None:
    store = MemoryStore()
    repository = Journal(store, compression=compression, chunk_bytes=chunk_bytes).create()
    for number, (partition, batches, size) in enumerate(rounds):
        of = generation("orders", partition)
        known = repository.state.generations.get(of)
        backup(repository, [piece(of, 0 if known is None else known.next_offset, batches, size=size)])
        if number == 0 and change is not None:
            repository.decide(change, started=TIME)
    assert same_state(reader_of(store), repository)


def seal_of(store: MemoryStore) -> DocumentSeal:
    seal = open_repository(store).seal
    assert seal is not None
    return seal


def test_both_readers_agree_on_random_changes_to_commits_about_keys() -> None:
    """Sealed again after a random edit of the JSON, as somebody with the writer key could."""
    dice = random.Random(9)
    outcomes = {"valid": 0, "broken": 0, "refused": 0}
    golden = {folder: objects_of(folder / "repository") for folder in (ENCRYPTED, SHREDDED)}
    seals = {folder: seal_of(SimpleStore(objects)) for folder, objects in golden.items()}
    for _ in range(300):
        folder = dice.choice([ENCRYPTED, ENCRYPTED, SHREDDED])
        store, seal = SimpleStore(golden[folder]), seals[folder]
        number = dice.choice([1, 2, 4, 5, 6, 7] if folder == ENCRYPTED else [3, 4])
        value: Any = unwrap(store.objects[names.log_name(number)], Kind.COMMIT, "a commit", seal)
        scramble(value, dice)
        relink(store, number, value, seal)
        outcomes[agreed(store)] += 1
    assert min(outcomes.values()) >= 5, outcomes


class SimpleStore(MemoryStore):
    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self.objects = dict(objects)


def relink(store: MemoryStore, number: int, value: Any, seal: DocumentSeal) -> None:
    """Commit `number` is `value`, and those behind it follow it."""
    store.objects[names.log_name(number)] = wrap(Kind.COMMIT, value, seal)
    while (following := names.log_name(number + 1)) in store.objects:
        later: Any = unwrap(store.objects[following], Kind.COMMIT, following, seal)
        later["prev"] = digest(store.objects[names.log_name(number)])
        store.objects[following] = wrap(Kind.COMMIT, later, seal)
        number += 1


def agreed(store: MemoryStore) -> str:
    """What both readers make of it, which is the same."""
    ours = theirs = None
    try:
        repository: Repository | None = open_repository(store, access=ACCESS)
    except CorruptionError:
        repository = None
    try:
        reader: Reader | None = reader_of(store)
    except Corrupt:
        reader = None
    if repository is None or reader is None:
        assert repository is None and reader is None
        return "refused"
    keys = repository.state.keys
    ours = (
        [alarm.number for alarm in repository.state.alarms],
        set(keys.topic_keys),
        dict(keys.current),
        keys.shredded,
    )
    theirs = (sorted(reader.alarms), set(reader.keys.topic_keys), reader.keys.current, reader.keys.shredded)
    assert ours == theirs
    assert set(reader.keys.recipients) == {entry.public for entry in keys.recipients}
    return "broken" if ours[0] else "valid"


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_second_reader_refuses_every_flip_of_what_is_sealed(compression: str) -> None:
    store = MemoryStore()
    repository = Journal(store, chunk_bytes=300, compression=compression).create()
    backup(repository, [piece(generation("orders"), 0, 2, size=40)])
    whole = seen_by(reader_of(store))
    dice = random.Random(8)
    keys = [name for name in store.objects if name.startswith("key/")]
    assert len(keys) == 2
    for name in [name for name in store.objects if not name.startswith(("hint/", "doc/", "log/000000000000"))]:
        data = store.objects[name]
        for place in range(0, len(data), 7):
            damaged = bytearray(data)
            damaged[place] ^= dice.randrange(1, 256)
            store.objects[name] = bytes(damaged)
            with pytest.raises((Corrupt, Unknown, Broken, Refused)):
                seen_by(reader_of(store))
        store.objects[name] = data
    assert seen_by(reader_of(store)) == whole


def test_the_page_names_every_field_of_encrypted_repositories() -> None:
    page = (ROOT / "docs" / "format.md").read_text()
    fields: set[str] = set()

    def collect(value: object) -> None:
        if isinstance(value, dict):
            fields.update(value)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            collect(item)

    for folder in (ENCRYPTED, SHREDDED):
        objects = objects_of(folder / "repository")
        reader = Reader.open(objects.get, IDENTITY.reveal())
        for name, data in objects.items():
            if name.startswith("key/"):
                collect(second_reader.document(data, 33))
            elif name.startswith("log/"):
                collect(second_reader.document(data, 2, None if name.endswith("0" * 12) else reader.keys))
        for name, entry in reader.packs.items():
            collect(second_reader.footer(objects[name], entry, reader.repository["id"], reader.keys))
    missing = sorted(each for each in fields if f"`{each}`" not in page and f'"{each}"' not in page)
    assert missing == []
    assert {"seal", "keys", "key", "commitment", "wrapped", "sealed", "check", "metadata_key"} <= fields
    for word in ("rotate", "recipient-add", "recipient-remove", "shred", "shredded"):
        assert re.search(rf"`{word}`", page), word
