"""What lies under key/, what is sealed, and keys in their text forms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Final

from blake3 import blake3
from tests.fuzz.engine import Target
from tests.support.sealed import ACCESS, IDENTITY, OTHER

from kafkeep.repository import changes, envelope, identities, keyring, nouns, sealing, topic_keys
from kafkeep.repository import format as stored_format
from kafkeep.repository.envelope import HEADER, MAGIC, Kind, canonical, unwrap, wrap
from kafkeep.repository.folding import fold
from kafkeep.repository.format import encode_commit, read_slot
from kafkeep.repository.identities import Identity, Recipient, WriterKey
from kafkeep.repository.sealing import DocumentSeal
from kafkeep.repository.state import State
from kafkeep.repository.stores.local import LocalStore
from kafkeep.secret import Secret

_GOLDEN: Final = Path(__file__).parent.parent / "golden" / "repositories"
_FOLDERS: Final = ("format-1-encrypted", "format-1-shredded")
_REPOSITORY: Final = "00" * 16
_KEY_ID: Final = "ab" * 16
_PASSPHRASE: Final = Secret("correct horse battery staple")
_SEAL: Final = DocumentSeal(bytes(range(32)), _REPOSITORY)


def _document(kind: int, body: bytes) -> bytes:
    """A document around any body."""
    head = HEADER.pack(MAGIC, kind, 0, 0, len(body)) + body
    return head + blake3(head).digest()


# Wrapped keys and slots: JSON texts, put into an envelope.


def run_wrap(data: bytes) -> None:
    recipient = IDENTITY.recipient().id
    wrapped = identities.decode_wrap(_document(Kind.KEY, data), _KEY_ID, recipient, "the wrap")
    again = identities.encode_wrap(_KEY_ID, recipient, wrapped)
    assert identities.decode_wrap(again, _KEY_ID, recipient, "the wrap") == wrapped
    key = IDENTITY.unwrap(wrapped, identities.topic_key_info(_REPOSITORY, _KEY_ID), "the wrap")
    assert key == bytes(range(32)), "nobody makes one without knowing the key"


def seeds_wrap() -> list[bytes]:
    info = identities.topic_key_info(_REPOSITORY, _KEY_ID)
    wrapped = identities.wrap_for(IDENTITY.recipient().public, bytes(range(32)), info)
    data = identities.encode_wrap(_KEY_ID, IDENTITY.recipient().id, wrapped)
    return [canonical(unwrap(data, Kind.KEY, "the wrap"))]


class _Quick:
    """In the place of scrypt: as cheap as a hash, and it sees to the bounds."""

    def __init__(self, salt: bytes, length: int, n: int, r: int, p: int) -> None:
        assert (length, r) == (32, 8) and 2**14 <= n <= 2**20 and not n & (n - 1) and 1 <= p <= 4, (length, n, r, p)
        self._salt = salt + repr((n, p)).encode()

    def derive(self, secret: bytes) -> bytes:
        return hashlib.sha256(self._salt + secret).digest()


@contextmanager
def _quickly() -> Iterator[None]:
    slow = identities.Scrypt
    identities.Scrypt = _Quick  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        identities.Scrypt = slow  # type: ignore[misc]


def run_slot(data: bytes) -> None:
    with _quickly():
        found = identities.open_slot(_document(Kind.KEY, data), _PASSPHRASE, "the slot")
    assert found.private_bytes() == IDENTITY.private_bytes(), "nobody makes one without knowing the passphrase"


def seeds_slot() -> list[bytes]:
    with _quickly():
        return [
            canonical(unwrap(identities.encode_slot(IDENTITY, _PASSPHRASE, bytes(32), n=n), Kind.KEY, "the slot"))
            for n in (2**14, 2**17)
        ]


# Text forms: the first byte names the parser.


def run_key_text(data: bytes) -> None:
    if not data:
        return
    text = data[1:].decode(errors="replace")
    if data[0] % 3 == 0:
        assert Identity.parse(Secret(text)).reveal() in text
    elif data[0] % 3 == 1:
        found = Recipient.parse(text, "somebody")
        assert str(found) == text.strip() and len(found.id) == 16
    else:
        assert WriterKey.parse(Secret(text)).reveal() in text


def mend_key_text(data: bytes, dice: Random) -> bytes:
    """Now and then a form that is whole but for what it says."""
    if len(data) < 2 or dice.random() < 0.5:
        return data
    prefix = (identities.IDENTITY, identities.RECIPIENT, identities.WRITER_KEY)[data[0] % 3]
    size = 48 if data[0] % 3 == 2 else 32
    return data[:1] + (prefix + identities.to_text(data[1 : size + 1].ljust(size, b"\0"))).encode()


def seeds_key_text() -> list[bytes]:
    texts = [f"# mine\n{IDENTITY.reveal()}\n", str(OTHER.recipient()), WriterKey(_REPOSITORY, bytes(32)).reveal()]
    return [bytes([number]) + text.encode() for number, text in enumerate(texts)]


# Documents opened with a key: the first byte tells whether the rest is sealed already or is yet to be.


def run_sealed(data: bytes) -> None:
    if not data:
        return
    kind = (Kind.COMMIT, Kind.FOOTER, Kind.RUN_HEADER, Kind.METADATA)[data[0] % 4]
    given = data[1:]
    if data[0] & 4:
        head = HEADER.pack(MAGIC, kind, data[0] >> 3 & 1, 1, len(given) + envelope.SEAL_OVERHEAD)
        whole = head + _SEAL.seal(head, given)
        given = whole + blake3(whole).digest()
    value = unwrap(given, kind, "the document", _SEAL)
    assert data[0] & 4 or given in _sealed_seeds(), "nobody makes one without the key"
    assert unwrap(wrap(kind, value, _SEAL), kind, "the document", _SEAL) == value


def mend_sealed(data: bytes, dice: Random) -> bytes:
    body = bytearray(data[1:])
    if len(body) < envelope.OVERHEAD or data[0] & 4 or dice.random() < 0.1:
        return data
    body[:4], body[6] = MAGIC, 1
    body[7:11] = (len(body) - envelope.OVERHEAD).to_bytes(4, "little")
    body[-32:] = blake3(body[:-32]).digest()
    return data[:1] + bytes(body)


@lru_cache
def _sealed_seeds() -> tuple[bytes, ...]:
    value = {"from": 3, "generation": ["orders", "A" * 22, 0, 0], "run": 1}
    return tuple(
        wrap(kind, value | more, _SEAL)
        for kind in (Kind.COMMIT, Kind.FOOTER, Kind.RUN_HEADER, Kind.METADATA)
        for more in ({}, {"text": "x" * 40_000})
        if kind is not Kind.RUN_HEADER or not more
    )


def seeds_sealed() -> list[bytes]:
    kinds = (Kind.COMMIT, Kind.FOOTER, Kind.RUN_HEADER, Kind.METADATA)
    plain = [b'{"a":[1,-2,null]}', b"[]", b'{"a":1,"a":2}', b"\xff", b""]
    return [
        *(bytes([kinds.index(data[4])]) + data for data in _sealed_seeds()),
        *(bytes([4 | zstd << 3]) + body for body in plain for zstd in (0, 1)),
    ]


# Commits that tell of keys, folded behind those of encrypted repositories.


@lru_cache
def _base() -> tuple[tuple[DocumentSeal, tuple[State, ...]], ...]:
    """Of each golden repository its seal, and its states."""
    found = []
    for folder in _FOLDERS:
        store = LocalStore(_GOLDEN / folder / "repository")
        document = stored_format.decode_repository(store.get("kafkeep.json"), "it")
        keys = keyring.unlock(store, document, ACCESS)
        assert keys is not None
        states, prev = [State()], stored_format.NO_COMMIT
        for number, path in enumerate(sorted((_GOLDEN / folder / "repository" / "log").iterdir())):
            slot = read_slot(path.read_bytes(), number, prev, "the commit", keys.seal)
            prev = slot.digest
            states.append(fold(states[-1], [slot]))
        found.append((keys.seal, tuple(states[1:])))
    return tuple(found)


def run_key_commit(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    outer: dict[str, Any] = value if isinstance(value, dict) else {}
    slot = read_slot(_document(Kind.COMMIT, data), outer.get("seq"), outer.get("prev"), "the commit")  # type: ignore[arg-type]
    if slot.commit is not None:
        again = encode_commit(slot.commit)
        second = read_slot(again, slot.seq, slot.commit.prev, "the commit").commit
        assert second is not None and encode_commit(second) == again
    for _, states in _base():
        for base in states:
            after = _folded(base, slot)
            gone = {run.key for entry in after.packs for run in entry.runs} - set(after.keys.topic_keys)
            assert not gone and not after.keys.shredded & set(after.keys.topic_keys)
            assert set(after.keys.current.values()) <= set(after.keys.topic_keys)
            assert base.keys.shredded <= after.keys.shredded and after.keys.recipients


def _folded(base: State, slot: stored_format.Slot) -> State:
    commit = None if slot.commit is None else replace(slot.commit, seq=base.head + 1)
    after = fold(base, [replace(slot, seq=base.head + 1, commit=commit)])
    if len(after.alarms) > len(base.alarms):
        assert replace(after, head=base.head, head_digest=base.head_digest, alarms=base.alarms) == base
    return after


def seeds_key_commit() -> list[bytes]:
    found = []
    for (seal, states), folder in zip(_base(), _FOLDERS, strict=True):
        for number in range(1, len(states)):
            data = (_GOLDEN / folder / "repository" / "log" / f"{number:012d}").read_bytes()
            found.append(canonical(unwrap(data, Kind.COMMIT, "the commit", seal)))
    return found


WRAP: Final = Target(name="key-wrap", run=run_wrap, modules=(identities, nouns), seeds=seeds_wrap, json=True)
SLOT: Final = Target(name="key-slot", run=run_slot, modules=(identities, nouns), seeds=seeds_slot, json=True)
TEXT: Final = Target(
    name="key-text",
    run=run_key_text,
    modules=(identities,),
    seeds=seeds_key_text,
    mend=mend_key_text,
    tokens=(b"#", b"\n", b"="),
)
SEALED: Final = Target(
    name="sealed",
    run=run_sealed,
    modules=(envelope, sealing),
    seeds=seeds_sealed,
    mend=mend_sealed,
    tokens=(b"\x28\xb5\x2f\xfd",),
)
COMMIT: Final = Target(
    name="key-commit",
    run=run_key_commit,
    modules=(stored_format, changes, topic_keys, nouns),
    seeds=seeds_key_commit,
    json=True,
)
TARGETS: Final = (WRAP, SLOT, TEXT, SEALED, COMMIT)
