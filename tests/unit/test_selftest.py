"""Cryptography that errs: nothing is sealed or opened with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from tests.support.faults import Figures
from tests.support.repositories import Clock, Journal, open_repository
from tests.support.sealed import IDENTITY, encrypted

from kafkeep.errors import KeyRefused
from kafkeep.repository import identities, sealing, selftest
from kafkeep.repository.keyring import NewEncryption
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore


@pytest.fixture(autouse=True)
def not_asked_yet() -> Iterator[None]:
    selftest.check_cryptography.cache_clear()
    with encrypted():
        yield
    selftest.check_cryptography.cache_clear()


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


class ErringGcm:
    """AES-256-GCM of a host whose memory or processor errs in one of these ways."""

    honest = sealing.AESGCM
    fault = ""

    def __init__(self, key: bytes) -> None:
        self._gcm = self.honest(flipped(key) if self.fault == "key" else key)

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes | None) -> bytes:
        sealed = self._gcm.encrypt(nonce, data, None if self.fault == "data" else aad)
        return flipped(sealed) if self.fault == "encrypt" else sealed

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes | None) -> bytes:
        if self.fault == "tag":
            try:
                return self._gcm.decrypt(nonce, data, aad)
            except InvalidTag:
                return data[:-16]
        opened = self._gcm.decrypt(nonce, data, None if self.fault == "data" else aad)
        return flipped(opened) if self.fault == "decrypt" else opened

    def encrypt_into(self, nonce: bytes, data: Any, aad: bytes | None, into: memoryview) -> int:
        written = self._gcm.encrypt_into(nonce, data, aad, into)
        if self.fault == "encrypt_into":
            into[0] ^= 1
        return written

    def decrypt_into(self, nonce: bytes, data: Any, aad: bytes | None, into: memoryview) -> int:
        written = self._gcm.decrypt_into(nonce, data, aad, into)
        if self.fault == "decrypt_into":
            into[0] ^= 1
        return written


def erring_gcm(fault: str) -> Callable[[pytest.MonkeyPatch], None]:
    def break_it(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(ErringGcm, "fault", fault)
        for module in (sealing, identities, selftest):
            patch.setattr(module, "AESGCM", ErringGcm)

    return break_it


def erring(module: Any, name: str, wrong: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(module, name, wrong(getattr(module, name)))


class NoCheck:
    """HPKE that takes any info."""

    def __init__(self, honest: Any) -> None:
        self._honest = honest

    def encrypt(self, data: bytes, public: Any, *, info: bytes) -> bytes:
        return bytes(self._honest.encrypt(data, public, info=b""))

    def decrypt(self, data: bytes, private: Any, *, info: bytes) -> bytes:
        return bytes(self._honest.decrypt(data, private, info=b""))


class Still(NoCheck):
    """HPKE that draws the same key pair twice."""

    def encrypt(self, data: bytes, public: Any, *, info: bytes) -> bytes:
        self._first: bytes = getattr(self, "_first", b"") or self._honest.encrypt(data, public, info=info)
        return self._first

    def decrypt(self, data: bytes, private: Any, *, info: bytes) -> bytes:
        return bytes(self._honest.decrypt(data, private, info=info))


BROKEN: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    **{f"AES {fault}": erring_gcm(fault) for fault in ("key", "data", "encrypt", "decrypt", "tag")},
    "AES encrypt_into": erring_gcm("encrypt_into"),
    "AES decrypt_into": erring_gcm("decrypt_into"),
    "HKDF": erring(sealing, "derive", lambda honest: lambda *given: flipped(honest(*given))),
    "BLAKE3": erring(sealing, "keyed_hash", lambda honest: lambda *given: flipped(honest(*given))),
    "BLAKE3 without its key": erring(
        sealing, "keyed_hash", lambda honest: lambda key, *parts: honest(bytes(32), *parts)
    ),
    "scrypt": erring(identities, "stretched", lambda honest: lambda *given: flipped(honest(*given))),
    "X25519": erring(
        identities.Identity,
        "recipient",
        lambda honest: (
            lambda self, name="": identities.Recipient(flipped(bytes.fromhex(honest(self).public)).hex(), name)
        ),
    ),
    "HPKE without info": erring(identities, "_SUITE", NoCheck),
    "HPKE with one key pair": erring(identities, "_SUITE", Still),
    "random numbers": erring(selftest.secrets, "token_bytes", lambda honest: bytes),
}


def test_answers_are_right_here_and_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    selftest.check_cryptography()
    monkeypatch.setattr(selftest, "_ANSWERS", {"everything": lambda: False})
    selftest.check_cryptography()
    selftest.check_cryptography.cache_clear()
    for _ in range(2):
        with pytest.raises(KeyRefused, match="everything gives a wrong answer"):
            selftest.check_cryptography()


@pytest.mark.fault("E1")
@pytest.mark.parametrize("name", BROKEN)
def test_e1_cryptography_that_errs_seals_and_opens_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, fault: Figures
) -> None:
    store = MemoryStore()
    Journal(store).create()
    selftest.check_cryptography.cache_clear()
    before = dict(store.objects)
    with monkeypatch.context() as patch:
        BROKEN[name](patch)
        with pytest.raises(KeyRefused, match="cannot be trusted") as caught:
            open_repository(store)
        assert caught.value.exit_code == 12
        fresh = MemoryStore()
        with pytest.raises(KeyRefused, match="cannot be trusted"):
            Repository.init(fresh, now=Clock(), rng=random.Random(1), encryption=NewEncryption((IDENTITY.recipient(),)))
        assert not [each for each in fresh.objects if not each.startswith("hint/")]
    assert store.objects == before
    assert open_repository(store).state.head == 0
    fault.figures(ways=1)


def test_a_plain_repository_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_ANSWERS", {"everything": lambda: False})
    with encrypted(False):
        assert Journal(MemoryStore()).create().state.head == 0
