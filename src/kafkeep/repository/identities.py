"""Who may open an encrypted repository: identities, recipients, passphrases, writer keys, and what is wrapped for them. Pure.

An identity is an X25519 private key, a recipient its public one. Keys are wrapped for recipients by HPKE (RFC 9180: base
mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM). A passphrase opens a slot that holds an identity. A writer key
is the metadata key of one repository: it writes and prunes, and opens no record.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from typing import Any, Final, Self

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from kafkeep.errors import CorruptObject, KeyRefused
from kafkeep.records import dataclass
from kafkeep.repository import nouns
from kafkeep.repository.envelope import Kind, unwrap, wrap
from kafkeep.repository.nouns import Malformed, fields, hexadecimal, integer, text
from kafkeep.repository.topic_keys import recipient_id
from kafkeep.secret import Secret

KEY_BYTES: Final = 32
WRAPPED_BYTES: Final = 80
"""Of a key that is wrapped: the encapsulation, the key, a tag."""
IDENTITY: Final = "kafkeep-identity-1:"
RECIPIENT: Final = "kafkeep-recipient-1:"
WRITER_KEY: Final = "kafkeep-writer-key-1:"

SCRYPT_N: Final = 2**17
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
_LEAST_N, _MOST_N = 2**14, 2**20
"""What a slot may ask for: less would be guessed, more would exhaust the host that tries it (1 GiB)."""
_MOST_P: Final = 4
SHORTEST_PASSPHRASE: Final = 12
_SLOT: Final = b"kafkeep 1 slot\0"
_METADATA_KEY: Final = b"kafkeep 1 metadata key\0"
_TOPIC_KEY: Final = b"kafkeep 1 topic key\0"
_DATA_KEY: Final = b"kafkeep 1 data key\0"
_SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody for whom keys are wrapped."""

    public: str
    """64 hexadecimal digits."""
    name: str = ""
    """For people."""

    @property
    def id(self) -> str:
        """16 hexadecimal digits, from the public key."""
        return recipient_id(self.public)

    def __str__(self) -> str:
        return RECIPIENT + to_text(bytes.fromhex(self.public))

    @classmethod
    def parse(cls, line: str, name: str = "") -> Self:
        """From its text form. Raises `KeyRefused`."""
        public = from_text(line, RECIPIENT, KEY_BYTES, "recipient")
        _public_key(public)
        return cls(public.hex(), name)


class Identity:
    """A private key. Its text leaves only through `reveal()`."""

    __slots__ = ("_private",)

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)

    @classmethod
    def generate(cls) -> Self:
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, given: Secret) -> Self:
        """From its text form; lines that are empty or begin with # are passed over. Raises `KeyRefused`."""
        return cls(from_text(only_line(given), IDENTITY, KEY_BYTES, "identity"))

    def reveal(self) -> str:
        """The text form: whoever has it can open what is wrapped for this identity."""
        return IDENTITY + to_text(self._private.private_bytes_raw())

    def private_bytes(self) -> bytes:
        return self._private.private_bytes_raw()

    def recipient(self, name: str = "") -> Recipient:
        return Recipient(self._private.public_key().public_bytes_raw().hex(), name)

    def unwrap(self, wrapped: bytes, info: bytes, what: str) -> bytes:
        """The key that `wrap_for` wrapped. Raises `KeyRefused` naming `what`."""
        try:
            return _SUITE.decrypt(wrapped, self._private, info=info)
        except (InvalidTag, ValueError) as error:
            raise KeyRefused(f"{what} was not wrapped for this identity, or is damaged") from error

    def __repr__(self) -> str:
        return f"Identity({self.recipient().id}, ***)"


class WriterKey:
    """The metadata key of one repository."""

    __slots__ = ("key", "repository_id")

    def __init__(self, repository_id: str, key: bytes) -> None:
        self.repository_id = repository_id
        self.key = key

    @classmethod
    def parse(cls, given: Secret) -> Self:
        """From its text form. Raises `KeyRefused`."""
        data = from_text(only_line(given), WRITER_KEY, 16 + KEY_BYTES, "writer key")
        return cls(data[:16].hex(), data[16:])

    def reveal(self) -> str:
        return WRITER_KEY + to_text(bytes.fromhex(self.repository_id) + self.key)

    def __repr__(self) -> str:
        return f"WriterKey({self.repository_id}, ***)"


def metadata_key_info(repository_id: str, key_id: str) -> bytes:
    """What binds a wrapped metadata key to its place."""
    return _METADATA_KEY + bytes.fromhex(repository_id) + bytes.fromhex(key_id)


def topic_key_info(repository_id: str, key_id: str) -> bytes:
    """What binds a wrapped topic key to its place."""
    return _TOPIC_KEY + bytes.fromhex(repository_id) + bytes.fromhex(key_id)


def data_key_info(repository_id: str, key_id: str) -> bytes:
    """What binds a data key to the topic key it is wrapped for."""
    return _DATA_KEY + bytes.fromhex(repository_id) + bytes.fromhex(key_id)


def wrap_for(public: str, key: bytes, info: bytes) -> bytes:
    """`WRAPPED_BYTES` that only the holder of the private key opens. Raises `KeyRefused` for a public key that is none."""
    try:
        return _SUITE.encrypt(key, _public_key(bytes.fromhex(public)), info=info)
    except ValueError as error:
        raise KeyRefused("a recipient whose key cannot be used: every secret with it would be zero") from error


def _public_key(public: bytes) -> X25519PublicKey:
    if not any(public):
        raise KeyRefused("a recipient whose key is zero")
    return X25519PublicKey.from_public_bytes(public)


# --- what lies under key/ --------------------------------------------------------------------------------------------


def encode_wrap(key_id: str, recipient: str, wrapped: bytes) -> bytes:
    """The stored bytes of `key/<key id>/<recipient>`: one key for one recipient."""
    return wrap(Kind.KEY, {"key": key_id, "recipient": recipient, "wrapped": wrapped.hex()})


def decode_wrap(data: bytes, key_id: str, recipient: str, what: str) -> bytes:
    """The wrapped key. Raises `CorruptObject`."""
    found = _decoded(data, what)
    try:
        if (found["key"], found["recipient"]) != (key_id, recipient):
            raise CorruptObject(f"{what} holds a key that belongs elsewhere")
        return bytes.fromhex(hexadecimal(found["wrapped"], "wrapped", 2 * WRAPPED_BYTES))
    except (KeyError, Malformed) as error:
        raise CorruptObject(f"{what} is malformed: {error}") from error


def encode_slot(identity: Identity, passphrase: Secret, salt: bytes, n: int = SCRYPT_N) -> bytes:
    """The stored bytes of `key/slot/<recipient>`: an identity that a passphrase opens. `salt`: 32 random bytes.

    Raises `KeyRefused` for a passphrase that is too short.
    """
    if len(passphrase.reveal()) < SHORTEST_PASSPHRASE:
        raise KeyRefused(
            f"a passphrase of less than {SHORTEST_PASSPHRASE} characters",
            hint="Whoever can read the store can try passphrases for years: take several words.",
        )
    recipient = identity.recipient()
    key = stretched(passphrase, salt, n, SCRYPT_R, SCRYPT_P)
    sealed = AESGCM(key).encrypt(bytes(12), identity.private_bytes(), _SLOT + bytes.fromhex(recipient.public))
    value = {
        "kdf": "scrypt",
        "n": n,
        "p": SCRYPT_P,
        "public": recipient.public,
        "r": SCRYPT_R,
        "salt": salt.hex(),
        "sealed": sealed.hex(),
    }
    return wrap(Kind.KEY, value)


def open_slot(data: bytes, passphrase: Secret, what: str) -> Identity:
    """The identity in a slot. Raises `KeyRefused` for another passphrase or parameters out of bounds, `CorruptObject`."""
    found = _decoded(data, what)
    try:
        kdf = text(found["kdf"], "kdf", 100)
        n, r, p = (integer(found[name], name, 1) for name in ("n", "r", "p"))
        public = hexadecimal(found["public"], "public", 64)
        salt = bytes.fromhex(hexadecimal(found["salt"], "salt", 64))
        sealed = bytes.fromhex(hexadecimal(found["sealed"], "sealed", 96))
    except (KeyError, Malformed) as error:
        raise CorruptObject(f"{what} is malformed: {error}") from error
    if kdf != "scrypt" or n & (n - 1) or not _LEAST_N <= n <= _MOST_N or r != SCRYPT_R or not 1 <= p <= _MOST_P:
        raise KeyRefused(f"{what} asks for a derivation that is too weak, too costly or unknown: {kdf} {n} {r} {p}")
    try:
        private = AESGCM(stretched(passphrase, salt, n, r, p)).decrypt(bytes(12), sealed, _SLOT + bytes.fromhex(public))
    except InvalidTag as error:
        raise KeyRefused(f"the passphrase does not open {what}") from error
    identity = Identity(private)
    if identity.recipient().public != public:
        raise CorruptObject(f"{what} holds another identity than it says")
    return identity


def _decoded(data: bytes, what: str) -> dict[str, Any]:
    try:
        return nouns.decode_with(lambda value: fields(value, what), unwrap(data, Kind.KEY, what), what)
    except Malformed as error:
        raise CorruptObject(f"{what} is malformed: {error}") from error


def stretched(passphrase: Secret, salt: bytes, n: int, r: int, p: int) -> bytes:
    """The key that a passphrase makes: scrypt (RFC 7914). Raises `KeyRefused`."""
    # what looks the same is the same, however a keyboard composes it
    try:
        typed = unicodedata.normalize("NFC", passphrase.reveal()).encode()
    except UnicodeEncodeError:
        raise KeyRefused("the passphrase is not text in UTF-8") from None
    try:
        return Scrypt(salt=salt, length=KEY_BYTES, n=n, r=r, p=p).derive(typed)
    except MemoryError as error:
        raise KeyRefused(
            f"to try a passphrase takes {128 * n * r // 2**20} MiB of memory, more than there is"
        ) from error


# --- text forms ------------------------------------------------------------------------------------------------------


def to_text(data: bytes) -> str:
    """URL-safe base64 without padding, with four bytes behind the data that tell a typing error."""
    return base64.urlsafe_b64encode(data + blake3(data).digest()[:4]).rstrip(b"=").decode()


def from_text(line: str, prefix: str, size: int, what: str) -> bytes:
    """Raises `KeyRefused`; never quotes what was given, which may be a secret in the wrong place."""
    body = line.strip()
    if not body.startswith(prefix):
        raise KeyRefused(f"this is no {what}: it does not begin with {prefix}")
    try:
        digits = body[len(prefix) :]
        data = base64.b64decode(digits + "=" * (-len(digits) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyRefused(f"this {what} is not readable") from error
    if len(data) != size + 4 or to_text(data[:-4]) != digits:
        raise KeyRefused(f"this {what} is mistyped or cut short")
    return data[:-4]


def only_line(given: Secret) -> str:
    lines = [line for line in given.reveal().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) != 1:
        raise KeyRefused(f"one line with a key is wanted, {len(lines)} were given")
    return lines[0]
