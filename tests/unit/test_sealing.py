"""Documents, runs and chunks that are sealed: every change of them is refused, and keys and nonces never come twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import pytest
from tests.support.faults import Figures
from tests.support.repositories import Journal, backup, generation, open_repository, piece, write_pack
from tests.support.sealed import encrypted

from kafkeep.errors import CorruptionError, CorruptObject, KeyRefused, UnknownFormat
from kafkeep.model import Generation
from kafkeep.repository import layout, sealing
from kafkeep.repository.envelope import HEADER, Kind, digest, unwrap, wrap
from kafkeep.repository.names import log_name
from kafkeep.repository.reader import read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.sealing import SALT_BYTES, ChunkSealer, DocumentSeal, RunCipher, run_cipher
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify

HERE, THERE = "00" * 15 + "01", "00" * 15 + "02"
SEAL = DocumentSeal(bytes(range(32)), HERE)
VALUE = {"topic": "orders", "offsets": [1, 2, 3]}
ORDERS, PAYMENTS = generation("orders"), generation("payments", 2)
DATA_KEY, SALT = bytes(range(64, 96)), bytes(range(32))


@pytest.fixture(autouse=True)
def for_the_test_identity() -> Iterator[None]:
    with encrypted():
        yield


def mended(data: bytes) -> bytes:
    """With the digest that belongs to it, so that only the seal can tell."""
    return data[:-32] + bytes.fromhex(digest(data[:-32]))


# --- documents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [VALUE, {"text": "x" * 100_000}], ids=["as it is", "zstd"])
def test_a_sealed_document_opens_and_tells_nothing(value: object) -> None:
    data = wrap(Kind.COMMIT, value, SEAL)
    assert unwrap(data, Kind.COMMIT, "it", SEAL) == value
    assert wrap(Kind.COMMIT, value, SEAL) == data, "the same content gives the same bytes"
    assert b"orders" not in data and b"xxxx" not in data
    assert data[5] == (1 if "text" in str(value) else 0)


def test_every_bit_of_a_sealed_document_counts() -> None:
    data = wrap(Kind.COMMIT, VALUE, SEAL)
    for place in range(len(data)):
        for bit in range(8):
            changed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            for given in (changed, mended(changed)) if place < len(data) - 32 else (changed,):
                with pytest.raises((CorruptObject, UnknownFormat)):
                    unwrap(given, Kind.COMMIT, "it", SEAL)


@pytest.mark.parametrize("size", range(48))
def test_a_body_too_short_to_be_sealed_is_corrupt(size: int) -> None:
    head = HEADER.pack(b"KKD1", Kind.COMMIT, 0, 1, size) + bytes(size)
    with pytest.raises(CorruptObject):
        unwrap(head + bytes.fromhex(digest(head)), Kind.COMMIT, "it", SEAL)


def test_a_document_is_of_its_kind_its_repository_and_its_key() -> None:
    data = wrap(Kind.COMMIT, VALUE, SEAL)
    as_footer = mended(data[:4] + bytes([Kind.FOOTER]) + data[5:])
    with pytest.raises(CorruptObject, match="not sealed with the key"):
        unwrap(as_footer, Kind.FOOTER, "it", SEAL)
    for other in (DocumentSeal(bytes(range(32)), THERE), DocumentSeal(bytes(range(1, 33)), HERE)):
        with pytest.raises(CorruptObject, match="not sealed with the key"):
            unwrap(data, Kind.COMMIT, "it", other)


def test_sealed_and_plain_do_not_stand_for_one_another() -> None:
    with pytest.raises(CorruptObject, match="is not sealed"):
        unwrap(wrap(Kind.COMMIT, VALUE), Kind.COMMIT, "it", SEAL)
    with pytest.raises(KeyRefused, match="no key was given"):
        unwrap(wrap(Kind.COMMIT, VALUE, SEAL), Kind.COMMIT, "it")
    for kind in (Kind.REPOSITORY, Kind.KEY):
        with pytest.raises(CorruptObject, match="is sealed"):
            unwrap(wrap(kind, VALUE, SEAL), kind, "it")


def test_a_salt_of_other_content_is_refused() -> None:
    """GCM alone would open it: the key that the salt gives is the one that it was sealed with."""
    salt = bytes(32)
    head = HEADER.pack(b"KKD1", Kind.COMMIT, 0, 1, 2 + 48)
    key = sealing.derive(bytes(range(32)), salt, b"kafkeep 1 document\0" + bytes.fromhex(HERE))
    forged = salt + sealing.AESGCM(key).encrypt(bytes(12), b"{}", head)
    with pytest.raises(CorruptObject, match="a salt that is not its own"):
        SEAL.open(head, forged, "it")


def test_what_is_sealed_wrongly_is_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = DocumentSeal.seal
    monkeypatch.setattr(DocumentSeal, "seal", lambda self, head, body: honest(self, head, body)[:-1] + b"\0")
    with pytest.raises(CorruptionError):
        wrap(Kind.COMMIT, {"any": 7}, SEAL)


# --- runs and chunks ------------------------------------------------------------------------------------------------------


def sealed(cipher: RunCipher, index: int, raw: bytes) -> bytes:
    into = bytearray(len(raw) + sealing.TAG_BYTES)
    cipher.seal_into(index, raw, memoryview(into))
    return bytes(into)


def test_every_bit_of_a_chunk_and_its_number_count() -> None:
    cipher, _ = run_cipher(DATA_KEY, SALT, HERE, ORDERS, 0)
    chunk = sealed(cipher, 3, b"batches")
    assert bytes(cipher.open(3, chunk, "it")) == b"batches"
    for place in range(len(chunk)):
        for bit in range(8):
            with pytest.raises(CorruptObject):
                cipher.open(3, chunk[:place] + bytes([chunk[place] ^ 1 << bit]) + chunk[place + 1 :], "it")
    for index in (0, 2, 4, 2**32 + 3, 2**63):
        with pytest.raises(CorruptObject):
            cipher.open(index, chunk, "it")
    for size in range(len(chunk)):
        with pytest.raises(CorruptObject):
            cipher.open(3, chunk[:size], "it")


def test_a_run_is_of_its_place() -> None:
    """Repository, topic, topic id, partition, lineage and start are part of its key, and the commitment tells them apart."""
    places: list[tuple[str, Generation, int]] = [
        (HERE, ORDERS, 0),
        (THERE, ORDERS, 0),
        (HERE, ORDERS, 1),
        (HERE, generation("order"), 0),
        (HERE, generation("orders", 1), 0),
        (HERE, generation("orders", 0, 1), 0),
        (HERE, generation("orders", topic_id="B" * 22), 0),
    ]
    ciphers = [run_cipher(DATA_KEY, SALT, *place) for place in places]
    ciphers += [run_cipher(DATA_KEY, bytes(32), *places[0]), run_cipher(bytes(32), SALT, *places[0])]
    chunk = sealed(ciphers[0][0], 0, b"batches")
    assert len({commitment for _, commitment in ciphers}) == len(ciphers)
    for cipher, _ in ciphers[1:]:
        with pytest.raises(CorruptObject):
            cipher.open(0, chunk, "it")


@pytest.mark.parametrize("when", ["sealing", "opening"])
def test_a_chunk_that_does_not_open_to_what_went_in_is_refused(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cipher, _ = run_cipher(DATA_KEY, SALT, HERE, ORDERS, 0)
    sealer = ChunkSealer()
    assert bytes(sealer.seal(cipher, 0, b"a larger chunk that leaves its bytes behind"))
    assert len(sealer.seal(cipher, 1, b"small")) == 5 + sealing.TAG_BYTES
    sealer.check(cipher, 1, b"small")
    honest, opens = RunCipher.seal_into, RunCipher.open_into

    def erring(self: RunCipher, index: int, raw: bytes, into: memoryview) -> None:
        honest(self, index, raw, into)
        into[0] ^= 1

    def lying(self: RunCipher, index: int, stored: memoryview, into: memoryview) -> bool:
        assert opens(self, index, stored, into)
        into[0] ^= 1
        return True

    if when == "sealing":
        monkeypatch.setattr(RunCipher, "seal_into", erring)
    else:
        monkeypatch.setattr(RunCipher, "open_into", lying)
    sealer.seal(cipher, 2, b"small")
    with pytest.raises(CorruptionError, match="memory"):
        sealer.check(cipher, 2, b"small")


def two_packs(seed: int = 0) -> tuple[MemoryStore, Repository]:
    store = MemoryStore()
    repository = Journal(store, seed=seed, compression="none", chunk_bytes=10).create()
    for start in (0, 9):
        backup(repository, [piece(ORDERS, start, 3, seed=start), piece(PAYMENTS, start, 3, seed=start)])
    return store, repository


@pytest.mark.fault("I4")
def test_i4_chunks_and_runs_that_change_places_in_footers_as_well(fault: Figures) -> None:
    """Swapped with the digests that belong to them, by somebody with the metadata key: the records' own seal tells."""
    _, repository = two_packs()
    refused = 0
    entries = list(repository.state.packs)
    assert repository.keyring is not None
    footers = [read_footer(repository.store, entry, repository.id, repository.seal) for entry in entries]
    runs = [run for footer in footers for run in footer.runs]
    chunks = {
        (one, number): bytes(
            repository.store.get(
                entries[one // 2].name, runs[one].chunks[number].position, runs[one].chunks[number].stored_length
            )
        )
        for one in range(len(runs))
        for number in range(3)
    }
    ciphers = [repository.keyring.open_run(run) for run in runs]
    for (one, number), (other, there) in permutations(chunks, 2):
        with pytest.raises(CorruptObject):
            ciphers[one].open(number, chunks[other, there], "it")
        refused += 1
    for one, other in permutations(range(len(runs)), 2):
        moved = layout.RunIndex(runs[one].facts, 0, (), runs[other].seal)
        with pytest.raises((CorruptObject, KeyRefused)):
            repository.keyring.open_run(moved)
        refused += 1
    fault.figures(swaps=refused)


@pytest.mark.fault("I4")
def test_i4_sealed_objects_that_change_places(fault: Figures) -> None:
    """Between kinds of objects and between repositories of the same metadata key."""
    store, repository = two_packs()
    assert repository.seal is not None
    other = DocumentSeal(repository.seal._key, THERE)
    refused = 0
    names = [name for name in store.objects if name.startswith(("log/", "doc/", "pack/")) and name != log_name(0)]
    for one, there in permutations(names, 2):
        whole, taken = store.objects[one], store.objects[there]
        if whole == taken:
            continue
        store.objects[one] = taken
        assert one in {finding.object for finding in verify(store, level="objects").findings}, f"{there} as {one}"
        store.objects[one] = whole
        refused += 1
    for name in names:
        if name.startswith("log/"):
            value = unwrap(store.objects[name], Kind.COMMIT, name, repository.seal)
            whole, store.objects[name] = store.objects[name], wrap(Kind.COMMIT, value, other)
            assert name in {finding.object for finding in verify(store, level="chain").findings}
            store.objects[name] = whole
            refused += 1
    assert verify(store, level="data").findings == ()
    fault.figures(swaps=refused)


# --- uniqueness ---------------------------------------------------------------------------------------------------------


@pytest.mark.fault("E3")
def test_e3_keys_and_nonces_never_come_twice(fault: Figures) -> None:
    """Runs of the same place under the same data key, as many as a topic ever has: the salt alone makes keys differ."""
    store = MemoryStore()
    repository = Journal(store).create()
    keyring = repository.keyring
    assert keyring is not None
    keys, salts, data_keys = set(), set(), set()
    derive = sealing.derive

    def watched(secret: bytes, salt: bytes | None, info: bytes, length: int = 32) -> bytes:
        derived = derive(secret, salt, info, length)
        keys.add(derived[:32])
        return derived

    rounds = fault.count(quick=3000, full=1_000_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "derive", watched)
        for number in range(rounds):
            _, seal = keyring.seal_run(repository.state.keys, ORDERS if number % 2 else PAYMENTS, number % 10)
            salts.add(seal.salt)
            data_keys.add(seal.data_key)
    assert (len(keys), len(salts), len(data_keys)) == (rounds, rounds, 2)
    nonces = {sealing._NONCE.pack(index) for index in range(5000)} | {sealing._NONCE.pack(2**64 - 1)}
    assert len(nonces) == 5001 and {len(nonce) for nonce in nonces} == {12}
    fault.figures(keys=rounds)


@pytest.mark.fault("E3")
def test_e3_no_plain_text_in_the_repository(fault: Figures) -> None:
    """Canaries in names, ids, tags, documents, reports, keys and values are nowhere in what is stored."""
    canaries = [b"kanarienvogel", b"Y2FuYXJ5Y2FuYXJ5Y2FuYQ", b"wellensittich", b"nymphensittich", b"zeisig"]
    searched = 0
    for compression in ("none", "zstd"):
        store = MemoryStore()
        repository = Journal(store, compression=compression).create()
        of = generation("kanarienvogel", topic_id="Y2FuYXJ5Y2FuYXJ5Y2FuYQ")
        made = piece(of, 0, 4, size=400)
        backup(repository, [made], name="wellensittich")
        repository.put_document("metadata", {"cluster_id": "nymphensittich", "groups": [], "topics": []})
        repository.put_audit("verify", {"found": "zeisig" * 10})
        payloads = [batch[61:161] for batch in made.batches]
        for data in store.objects.values():
            for word in [*canaries, *payloads, *(payload[:12] for payload in payloads)]:
                assert word not in data
                searched += len(data)
    fault.figures(bytes=searched)


def test_a_sealed_pack_says_so_and_no_other_reader_takes_it() -> None:
    store, repository = two_packs()
    entry = next(iter(repository.state.packs))
    header = store.objects[entry.name][: layout.HEADER_SIZE]
    assert header == layout.encode_header(repository.id, entry.epoch, sealed=True)
    with pytest.raises(CorruptObject, match="header"):
        layout.check_header(header, repository.id, entry.epoch, "it")
    with pytest.raises(CorruptObject, match="header"):
        layout.check_header(layout.encode_header(repository.id, 0), repository.id, 0, "it", sealed=True)
    with pytest.raises(CorruptObject):
        read_footer(store, entry, repository.id)


def test_a_footer_whose_runs_are_sealed_differently_is_refused() -> None:
    _, repository = two_packs()
    assert repository.seal is not None
    entry = next(iter(repository.state.packs))
    footer = read_footer(repository.store, entry, repository.id, repository.seal)
    bare = layout.encode_footer(
        [layout.RunIndex(run.facts, run.position, run.chunks) for run in footer.runs], repository.seal
    )
    with pytest.raises(CorruptObject, match="sealed runs belong"):
        layout.decode_footer(bare, footer.position, "it", repository.seal)
    with pytest.raises(CorruptObject, match="sealed runs belong"):
        layout.decode_footer(layout.encode_footer(footer.runs), footer.position, "it")


def test_a_run_whose_commit_names_another_key_than_its_footer_is_refused() -> None:
    """Shredding goes by what commits say: a run sealed under a key of another topic would outlive it."""
    _, repository = two_packs()
    entry = next(iter(repository.state.packs))
    one, other = entry.runs
    assert one.key != other.key
    with pytest.raises(CorruptObject, match="is not"):
        list(repository.read_run(replace(one, key=other.key)))


def test_another_process_goes_on_with_the_keys_of_the_log() -> None:
    store, _ = two_packs()
    again = open_repository(store, seed=5)
    before = dict(again.state.keys.current)
    backup(again, [piece(ORDERS, 18, 1)])
    assert dict(again.state.keys.current) == before
    assert {run.key for entry in again.state.packs for run in entry.runs} == set(before.values())
    assert len(write_pack(again, [piece(ORDERS, 21, 1)]).keys) == 1
    assert SALT_BYTES == 32
