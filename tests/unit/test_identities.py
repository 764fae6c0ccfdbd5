"""Identities, recipients, slots and text forms: who opens what, and what is refused before it costs anything."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from tests.support.faults import Figures
from tests.support.sealed import IDENTITY, OTHER
from tests.support.second_reader.sealed import SUITE, context, public_of

from kafkeep.errors import CorruptObject, KafkeepError, KeyRefused, UnknownFormat
from kafkeep.repository import identities
from kafkeep.repository.envelope import Kind, digest, unwrap, wrap
from kafkeep.repository.identities import (
    Identity,
    Recipient,
    WriterKey,
    data_key_info,
    decode_wrap,
    encode_slot,
    encode_wrap,
    metadata_key_info,
    open_slot,
    topic_key_info,
    wrap_for,
)
from kafkeep.repository.sealing import AESGCM
from kafkeep.secret import Secret

REPOSITORY, OTHER_REPOSITORY = "00" * 16, "01" * 16
KEY_ID, OTHER_ID = "ab" * 16, "cd" * 16
KEY, SALT = bytes(range(32)), bytes(range(32, 64))
INFO = topic_key_info(REPOSITORY, KEY_ID)
PUBLIC = IDENTITY.recipient().public
PASSPHRASE = Secret("correct horse battery stäple")
LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
"""Points whose secret with anybody is zero (RFC 7748, 6.1)."""


def mended(data: bytes) -> bytes:
    return data[:-32] + bytes.fromhex(digest(data[:-32]))


def bits(data: bytes) -> list[bytes]:
    return [
        data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        for place in range(len(data))
        for bit in range(8)
    ]


# --- wrapping -------------------------------------------------------------------------------------------------------------


def test_a_wrapped_key_opens_for_its_identity_in_its_place_alone() -> None:
    wrapped = wrap_for(PUBLIC, KEY, INFO)
    assert IDENTITY.unwrap(wrapped, INFO, "it") == KEY
    assert wrap_for(PUBLIC, KEY, INFO) != wrapped, "each wrapping has a key pair of its own"
    with pytest.raises(KeyRefused):
        OTHER.unwrap(wrapped, INFO, "it")
    places = [
        topic_key_info(OTHER_REPOSITORY, KEY_ID),
        topic_key_info(REPOSITORY, OTHER_ID),
        metadata_key_info(REPOSITORY, KEY_ID),
        data_key_info(REPOSITORY, KEY_ID),
        b"",
    ]
    for info in places:
        with pytest.raises(KeyRefused):
            IDENTITY.unwrap(wrapped, info, "it")
    assert len({INFO, *places}) == 6


def test_every_bit_of_a_wrapped_key_counts() -> None:
    """Also the highest of the point, which X25519 passes over (RFC 7748): HPKE takes the bytes as they are into its key."""
    wrapped = wrap_for(PUBLIC, KEY, INFO)
    for changed in bits(wrapped):
        with pytest.raises(KeyRefused):
            IDENTITY.unwrap(changed, INFO, "it")
    for size in range(len(wrapped)):
        with pytest.raises(KeyRefused):
            IDENTITY.unwrap(wrapped[:size], INFO, "it")


@pytest.mark.fault("E2")
@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_e2_a_secret_of_zeros_is_refused_on_both_sides(point: bytes, fault: Figures) -> None:
    """Whoever sends a point of low order would know the key: nothing is wrapped for it, nothing that came with it opens."""
    with pytest.raises(KeyRefused):
        wrap_for(point.hex(), KEY, INFO)
    key, nonce = context(bytes(32), point, public_of(IDENTITY.private_bytes()), INFO)
    forged = point + AESGCM(key).encrypt(nonce, KEY, None)
    with pytest.raises(KeyRefused):
        IDENTITY.unwrap(forged, INFO, "it")
    assert SUITE.startswith(b"HPKE")
    fault.figures(points=1)


def test_a_wrap_object_says_whose_and_of_what_it_is() -> None:
    recipient = IDENTITY.recipient().id
    wrapped = wrap_for(PUBLIC, KEY, INFO)
    data = encode_wrap(KEY_ID, recipient, wrapped)
    assert decode_wrap(data, KEY_ID, recipient, "it") == wrapped
    for key_id, other in ((OTHER_ID, recipient), (KEY_ID, OTHER.recipient().id)):
        with pytest.raises(CorruptObject, match="belongs elsewhere"):
            decode_wrap(data, key_id, other, "it")
    for changed in bits(data):
        with pytest.raises((CorruptObject, UnknownFormat)):
            decode_wrap(changed, KEY_ID, recipient, "it")
    opened = 0
    for changed in bits(data[:-32]):
        try:
            found = decode_wrap(mended(changed + bytes(32)), KEY_ID, recipient, "it")
        except KafkeepError:
            continue
        opened += 1
        with pytest.raises(KeyRefused):
            IDENTITY.unwrap(found, INFO, "it")
    assert opened > 100, "digits of the wrapped key that stay digits"


# --- slots ----------------------------------------------------------------------------------------------------------------


def slot(**changed: Any) -> bytes:
    value: Any = unwrap(encode_slot(IDENTITY, PASSPHRASE, SALT, n=2**14), Kind.KEY, "it")
    return wrap(Kind.KEY, {name: one for name, one in (value | changed).items() if one is not None})


def test_a_passphrase_opens_its_slot_however_a_keyboard_composes_it() -> None:
    data = encode_slot(IDENTITY, PASSPHRASE, SALT, n=2**14)
    for text in ("correct horse battery st\u00e4ple", "correct horse battery sta\u0308ple"):
        assert open_slot(data, Secret(text), "it").private_bytes() == IDENTITY.private_bytes()


@pytest.mark.fault("E2")
@pytest.mark.parametrize(
    "given",
    [
        "correct horse battery staple",
        "Correct horse battery stäple",
        "correct horse battery stäple ",
        "",
        "x" * 100_000,
        "not text \udc80\udcff",
    ],
    ids=["no accent", "capital", "space", "nothing", "long", "bytes"],
)
def test_e2_wrong_passphrases(given: str) -> None:
    with pytest.raises(KeyRefused) as caught:
        open_slot(slot(), Secret(given), "it")
    assert caught.value.exit_code == 12
    assert not given or given not in str(caught.value)


@pytest.mark.fault("E2")
@pytest.mark.parametrize(
    "changed",
    [
        {"n": 2**13},
        {"n": 1024},
        {"n": 2**21},
        {"n": 2**62},
        {"n": 2**14 + 1},
        {"n": 3 * 2**14},
        {"n": 1},
        {"r": 1},
        {"r": 2**30},
        {"r": 9},
        {"p": 5},
        {"p": 2**40},
        {"kdf": "argon2id"},
        {"kdf": "none"},
        {"kdf": "SCRYPT"},
        {"n": 2**63 - 1},
    ],
    ids=str,
)
def test_e2_weak_and_absurd_parameters_cost_nothing(changed: dict[str, Any]) -> None:
    started = time.process_time()
    with pytest.raises(KeyRefused, match="too weak, too costly or unknown"):
        open_slot(slot(**changed), PASSPHRASE, "it")
    assert time.process_time() - started < 5, "only the slot that the test makes is derived"


@pytest.mark.parametrize(
    "changed", [{"n": 0}, {"r": -8}, {"p": 0}, {"salt": "00"}, {"sealed": "zz"}, {"public": None}], ids=str
)
def test_a_malformed_slot_is_corrupt(changed: dict[str, Any]) -> None:
    with pytest.raises(CorruptObject, match="malformed"):
        open_slot(slot(**changed), PASSPHRASE, "it")


def test_a_slot_of_another_identity_is_refused() -> None:
    """Whether it says so itself, or was sealed by somebody who knows the passphrase."""
    with pytest.raises(KeyRefused):
        open_slot(slot(public=OTHER.recipient().public), PASSPHRASE, "it")
    key = identities.stretched(PASSPHRASE, SALT, 2**14, 8, 1)
    aad = b"kafkeep 1 slot\0" + bytes.fromhex(PUBLIC)
    forged = AESGCM(key).encrypt(bytes(12), OTHER.private_bytes(), aad)
    with pytest.raises(CorruptObject, match="another identity"):
        open_slot(slot(sealed=forged.hex()), PASSPHRASE, "it")


def test_random_changes_of_a_slot_are_refused() -> None:
    data = encode_slot(IDENTITY, PASSPHRASE, SALT, n=2**14)
    dice = random.Random(3)
    for changed in bits(data):
        with pytest.raises((CorruptObject, UnknownFormat)):
            open_slot(changed, PASSPHRASE, "it")
    changes = bits(data[:-32])
    opened = 0
    for changed in dice.sample(changes, 120):
        try:
            found = open_slot(mended(changed + bytes(32)), PASSPHRASE, "it")
        except KafkeepError:
            continue
        assert found.private_bytes() == IDENTITY.private_bytes()
        opened += 1
    assert opened < 12, "changes of a name that nobody reads"


def test_a_short_passphrase_makes_no_slot() -> None:
    with pytest.raises(KeyRefused, match="less than 12"):
        encode_slot(IDENTITY, Secret("elf letters"), SALT)


def test_too_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy:
        def __init__(self, **options: object) -> None: ...

        def derive(self, secret: bytes) -> bytes:
            raise MemoryError("not enough")

    data = slot()
    monkeypatch.setattr(identities, "Scrypt", Greedy)
    with pytest.raises(KeyRefused, match="16 MiB"):
        open_slot(data, PASSPHRASE, "it")


# --- text forms -----------------------------------------------------------------------------------------------------------


def test_text_forms_come_back() -> None:
    writer = WriterKey(REPOSITORY, KEY)
    assert Identity.parse(Secret(f"# mine\n\n{IDENTITY.reveal()}\n")).private_bytes() == IDENTITY.private_bytes()
    assert Recipient.parse(f" {IDENTITY.recipient()} ", "name") == Recipient(PUBLIC, "name")
    found = WriterKey.parse(Secret(writer.reveal()))
    assert (found.repository_id, found.key) == (REPOSITORY, KEY)


@pytest.mark.parametrize("text", [IDENTITY.reveal(), WriterKey(REPOSITORY, KEY).reveal(), str(IDENTITY.recipient())])
def test_every_typing_error_is_told_and_nothing_is_quoted(text: str) -> None:
    parse: dict[str, Any] = {
        "kafkeep-identity-1": lambda given: Identity.parse(Secret(given)),
        "kafkeep-writer-key-1": lambda given: WriterKey.parse(Secret(given)),
        "kafkeep-recipient-1": Recipient.parse,
    }
    read = parse[text.split(":")[0]]
    read(text)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=é"
    wrong = [text[:-1], text + "A", text + "=", text[1:], text.replace(":", ""), text + "\n" + text, ""]
    for place in range(text.index(":") + 1, len(text)):
        wrong += [text[:place] + letter + text[place + 1 :] for letter in alphabet if letter != text[place]]
        wrong.append(text[:place] + text[place + 1 :])
    for given in wrong:
        with pytest.raises(KeyRefused) as caught:
            read(given)
        assert len(given) < 8 or given[20:] not in str(caught.value)


def test_one_kind_of_key_is_not_taken_for_another() -> None:
    for text in (str(IDENTITY.recipient()), WriterKey(REPOSITORY, KEY).reveal(), "passphrase"):
        with pytest.raises(KeyRefused, match="this is no identity"):
            Identity.parse(Secret(text))
    with pytest.raises(KeyRefused, match="zero"):
        Recipient.parse(identities.RECIPIENT + identities.to_text(bytes(32)))


def test_secrets_do_not_show() -> None:
    private, key = IDENTITY.reveal().split(":")[1], WriterKey(REPOSITORY, KEY).reveal().split(":")[1]
    shown = f"{IDENTITY!r} {IDENTITY} {WriterKey(REPOSITORY, KEY)!r} {WriterKey(REPOSITORY, KEY)}"
    assert private not in shown and key not in shown and KEY.hex() not in shown
