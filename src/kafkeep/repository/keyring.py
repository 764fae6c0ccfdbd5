"""The keys of an open encrypted repository: which of them it has, how others come to it, and what is created for topics.

Key material comes from the operating system, whatever randomness the caller has for names.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from kafkeep.errors import CorruptionError, CorruptObject, KeyRefused, ObjectExists, ObjectNotFound, UsageError
from kafkeep.logger import get_logger
from kafkeep.model import Generation
from kafkeep.records import dataclass
from kafkeep.repository.envelope import Kind, object_limit
from kafkeep.repository.format import Encryption, RepositoryDocument, checked_text
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
from kafkeep.repository.layout import RunIndex, RunSeal
from kafkeep.repository.sealing import KEY_BYTES, SALT_BYTES, DocumentSeal, RunCipher, run_cipher
from kafkeep.repository.selftest import check_cryptography
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.base import Store
from kafkeep.repository.topic_keys import KeyRing, RecipientEntry, TopicKey, TopicName, topic_of
from kafkeep.secret import Secret

log = get_logger(__name__)

N = TypeVar("N")
T = TypeVar("T")

DATA_KEY_SECONDS: Final = 24 * 3600.0
"""A writer takes a new data key for a topic after this time, and forgets the one before."""
KEYS_KEPT: Final = 1024
"""Opened keys that a reader keeps at hand."""
SLOTS: Final = "key/slot/"
SLOTS_TRIED: Final = 64
"""Each costs a derivation, and whoever may create objects can put as many as they like."""


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody brings to open an encrypted repository; any one of them serves, none is for one that is not."""

    identities: tuple[Identity, ...] = ()
    passphrase: Secret | None = None
    writer_key: WriterKey | None = None
    signing_key: SigningKey | None = None
    """For a repository whose commits are signed."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it that opens anything."""
        return not self.identities and self.passphrase is None and self.writer_key is None


NO_ACCESS: Final = Access()


@dataclass(frozen=True, slots=True)
class NewEncryption:
    """How a repository to be is encrypted: for these recipients, and for whoever knows the passphrase."""

    recipients: tuple[Recipient, ...] = ()
    passphrase: Secret | None = None
    keep: Callable[[WriterKey], None] | None = None
    """Called with the writer key before the repository exists, so that whoever is to write has it from the beginning."""


def wrap_name(key_id: str, recipient: str) -> str:
    """The object that holds a key for one recipient."""
    return f"key/{key_id}/{recipient}"


def slot_name(recipient: str) -> str:
    """The object that holds an identity which a passphrase opens."""
    return f"{SLOTS}{recipient}"


def create_encryption(
    store: Store, document: RepositoryDocument, new: NewEncryption
) -> tuple[RepositoryDocument, WriterKey]:
    """Makes a metadata key, stores it wrapped for everybody who is to have it, and gives the document that says so.

    Raises `UsageError` without anybody to wrap it for, `KeyRefused`, `StoreError`.
    """
    check_cryptography()
    recipients = list(new.recipients)
    if new.passphrase is not None:
        recipients.append(put_slot(store, new.passphrase))
    if not recipients:
        raise UsageError("an encrypted repository needs a recipient or a passphrase")
    entries = tuple({one.public: RecipientEntry(one.public, one.name) for one in recipients}.values())
    key_id, key = secrets.token_bytes(16).hex(), secrets.token_bytes(KEY_BYTES)
    _put_wraps(store, key_id, key, metadata_key_info(document.id, key_id), entries)
    if new.keep is not None:
        new.keep(WriterKey(document.id, key))
    document = replace(document, encryption=Encryption(metadata_key=key_id, recipients=entries))
    seal = DocumentSeal(key, document.id)
    check = seal.check_value(checked_text(document))
    encryption = Encryption(metadata_key=key_id, recipients=entries, check=check)
    return replace(document, encryption=encryption), WriterKey(document.id, key)


def put_slot(store: Store, passphrase: Secret, name: str = "passphrase") -> Recipient:
    """A new identity that the passphrase opens. Raises `KeyRefused` for one that is too short, `StoreError`."""
    identity = Identity.generate()
    recipient = identity.recipient(name)
    store.put_new(slot_name(recipient.id), encode_slot(identity, passphrase, secrets.token_bytes(SALT_BYTES)))
    return recipient


def _put_wraps(store: Store, key_id: str, key: bytes, info: bytes, recipients: Iterable[RecipientEntry]) -> None:
    for entry in recipients:
        recipient = Recipient(entry.public).id
        data = encode_wrap(key_id, recipient, wrap_for(entry.public, key, info))
        try:
            store.put_new(wrap_name(key_id, recipient), data)
        except ObjectExists:
            # a key is wrapped anew each time, so what is there is the try whose answer was lost, or an earlier one
            log.info("wrapped key was there already", key=key_id, recipient=recipient)


def unlock(store: Store, document: RepositoryDocument, access: Access) -> Keyring | None:
    """The keys that `access` opens; None for a repository that is not encrypted.

    Raises `KeyRefused` when nothing given opens it, `UsageError` for keys to a repository that has none, `CorruptObject`,
    `StoreError`.
    """
    encryption = document.encryption
    if encryption is None:
        if not access.empty:
            raise UsageError(
                f"{store.url} is not encrypted, and a key was given for it",
                hint="Leave the key out; or check that this is the repository you mean.",
            )
        return None
    check_cryptography()
    identities = list(access.identities)
    if access.passphrase is not None:
        identities.append(_from_slots(store, encryption, access.passphrase))
    identity: Identity | None
    if access.writer_key is not None:
        # whoever has it need not believe what the store says the metadata key is
        key = _of_this_repository(access.writer_key, document.id)
        identity = _one_of(store, encryption, identities)
    elif identities:
        key, identity = _metadata_key(store, document.id, encryption, identities)
    else:
        raise KeyRefused(f"{store.url} is encrypted, and no key was given")
    seal = DocumentSeal(key, document.id)
    if not hmac.compare_digest(seal.check_value(checked_text(document)), encryption.check):
        raise KeyRefused(f"the key does not fit {store.url}, or its repository document was changed")
    return Keyring(store, document.id, WriterKey(document.id, key), identity)


def _from_slots(store: Store, encryption: Encryption, passphrase: Secret) -> Identity:
    """Those of the first recipients are found by name, others by listing. A slot for which the metadata key is not wrapped
    is what an interrupted creation left, and costs no derivation. One that is damaged hides no other."""
    refusal: KeyRefused | CorruptionError = KeyRefused(f"{store.url} has no slot that a passphrase opens")
    tried: set[str] = set()
    for recipient in _slot_owners(store, encryption):
        if recipient in tried or not _is_there(store, wrap_name(encryption.metadata_key, recipient)):
            continue
        if len(tried) == SLOTS_TRIED:
            raise KeyRefused(f"{store.url} has more slots than {SLOTS_TRIED}: none of the first ones opens")
        name = slot_name(recipient)
        try:
            data = store.get(name, 0, object_limit(Kind.KEY) + 1)
        except ObjectNotFound:
            continue
        tried.add(recipient)
        try:
            identity = open_slot(data, passphrase, name)
        except (KeyRefused, CorruptionError) as error:
            refusal = error
            continue
        if identity.recipient().id == recipient:
            return identity
        refusal = CorruptObject(f"{name} holds the slot of another recipient")
    raise refusal


def _slot_owners(store: Store, encryption: Encryption) -> Iterator[str]:
    yield from (Recipient(entry.public).id for entry in encryption.recipients)
    yield from (info.name.removeprefix(SLOTS) for info in store.list(SLOTS))


def _is_there(store: Store, name: str) -> bool:
    try:
        store.head(name)
    except ObjectNotFound:
        return False
    return True


def _metadata_key(
    store: Store, repository_id: str, encryption: Encryption, identities: Sequence[Identity]
) -> tuple[bytes, Identity]:
    for identity in identities:
        recipient = identity.recipient().id
        name = wrap_name(encryption.metadata_key, recipient)
        try:
            wrapped = _wrapped(store, encryption.metadata_key, recipient)
        except ObjectNotFound:
            continue
        return identity.unwrap(wrapped, metadata_key_info(repository_id, encryption.metadata_key), name), identity
    raise KeyRefused(f"{store.url} is not encrypted for this identity")


def _one_of(store: Store, encryption: Encryption, identities: Sequence[Identity]) -> Identity | None:
    """The first for which the repository is encrypted; the first at all where none is."""
    for identity in identities:
        if _is_there(store, wrap_name(encryption.metadata_key, identity.recipient().id)):
            return identity
    return identities[0] if identities else None


def _wrapped(store: Store, key_id: str, recipient: str) -> bytes:
    """A key as it is wrapped for a recipient; what was damaged on its way is whole the second time. Raises `ObjectNotFound`,
    `CorruptObject`, `StoreError`."""
    name = wrap_name(key_id, recipient)
    try:
        return decode_wrap(store.get(name, 0, object_limit(Kind.KEY) + 1), key_id, recipient, name)
    except CorruptionError as error:
        log.warning("key read again", name=name, reason=error.message)
        return decode_wrap(store.get(name, 0, object_limit(Kind.KEY) + 1), key_id, recipient, name)


def _of_this_repository(key: WriterKey, repository_id: str) -> bytes:
    if key.repository_id != repository_id:
        raise KeyRefused(f"the writer key belongs to repository {key.repository_id}, this is {repository_id}")
    return key.key


_Times = tuple[int, tuple[RecipientEntry, ...], frozenset[str]]


def _times(keys: KeyRing) -> _Times:
    return keys.rotated_at, keys.recipients, keys.shredded


@dataclass(frozen=True, slots=True)
class _DataKey:
    topic_key: str
    key: bytes
    wrapped: str
    born: float


@dataclass(frozen=True, slots=True)
class _MadeKey:
    key: TopicKey
    made_for: _Times
    """The rotation behind which it was made, for whom it was wrapped, and what had been shredded."""

    def serves(self, keys: KeyRing) -> bool:
        return self.made_for == _times(keys)


class Keyring:
    """The keys of one open repository. May be used from many threads.

    With an identity it opens records; without, it writes them and reads names, counts and offsets.
    """

    def __init__(
        self,
        store: Store,
        repository_id: str,
        writer_key: WriterKey,
        identity: Identity | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seal = DocumentSeal(writer_key.key, repository_id)
        self.writer_key = writer_key
        self.identity = identity
        self._store = store
        self._repository_id = repository_id
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._made: dict[TopicName, _MadeKey] = {}
        self._data_keys: dict[TopicName, _DataKey] = {}
        self._private: OrderedDict[str, Identity] = OrderedDict()
        self._opened: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    # --- writing -----------------------------------------------------------------------------------------------------

    def seal_run(self, keys: KeyRing, generation: Generation, start: int) -> tuple[RunCipher, RunSeal]:
        """A cipher that no run had before, and what the footer says of it. Raises `KeyRefused`, `StoreError`."""
        data_key = self._data_key(keys, topic_of(generation))
        salt = secrets.token_bytes(SALT_BYTES)
        cipher, commitment = run_cipher(data_key.key, salt, self._repository_id, generation, start)
        seal = RunSeal(topic_key=data_key.topic_key, data_key=data_key.wrapped, salt=salt.hex(), commitment=commitment)
        return cipher, seal

    def made(self, keys: KeyRing) -> tuple[TopicKey, ...]:
        """Topic keys made here that commits may still bring: none from before a rotation or a shredding, or from before a
        recipient was added that could not open it."""
        with self._lock:
            return tuple(made.key for made in self._made.values() if made.serves(keys))

    def keys_for(self, keys: KeyRing, topics: Iterable[TopicName]) -> tuple[TopicKey, ...]:
        """The keys that the next runs of these topics are sealed under, made where there are none: for writers elsewhere,
        whose runs only this one's commits bring. Raises `StoreError`."""
        with self._lock:
            return tuple(self._topic_key(keys, topic) for topic in sorted(set(topics)))

    def forget(self, keys: KeyRing) -> None:
        """Lets go of data keys that nothing is sealed under any more, and of all that opens topics that were shredded."""
        with self._lock:
            self._forget(keys)

    def _forget(self, keys: KeyRing) -> None:
        now = self._monotonic()
        writing = {topic: made.key.id for topic, made in self._made.items() if made.serves(keys)} | dict(keys.current)
        self._data_keys = {
            topic: known
            for topic, known in self._data_keys.items()
            if writing.get(topic) == known.topic_key and now - known.born < DATA_KEY_SECONDS
        }
        for key_id in keys.shredded & self._private.keys():
            del self._private[key_id]
        for place in [place for place in self._opened if place[0] in keys.shredded]:
            del self._opened[place]

    def _data_key(self, keys: KeyRing, topic: TopicName) -> _DataKey:
        """Of a topic, for a day at most; only the last one is in memory."""
        with self._lock:
            self._forget(keys)
            topic_key = self._topic_key(keys, topic)
            known = self._data_keys.get(topic)
            if known is not None and known.topic_key == topic_key.id:
                return known
            key = secrets.token_bytes(KEY_BYTES)
            wrapped = wrap_for(topic_key.public, key, data_key_info(self._repository_id, topic_key.id))
            self._data_keys[topic] = found = _DataKey(topic_key.id, key, wrapped.hex(), self._monotonic())
            return found

    def _topic_key(self, keys: KeyRing, topic: TopicName) -> TopicKey:
        current = keys.current.get(topic)
        if current is not None:
            return keys.topic_keys[current]
        made = self._made.get(topic)
        if made is not None and made.serves(keys):
            return made.key
        pair = Identity.generate()
        key_id = secrets.token_bytes(16).hex()
        info = topic_key_info(self._repository_id, key_id)
        _put_wraps(self._store, key_id, pair.private_bytes(), info, keys.recipients)
        key = TopicKey(key_id, topic, pair.recipient().public)
        self._made[topic] = _MadeKey(key, _times(keys))
        return key

    # --- reading -----------------------------------------------------------------------------------------------------

    def open_run(self, run: RunIndex) -> RunCipher:
        """The cipher of a sealed run. Raises `KeyRefused` without an identity that may, `CorruptObject`, `StoreError`."""
        seal = run.seal
        if seal is None:
            raise ValueError("a run that is not sealed has no cipher")
        data_key = self._opened_data_key(seal)
        generation, start = run.facts.generation, run.facts.coverage.start
        cipher, commitment = run_cipher(data_key, bytes.fromhex(seal.salt), self._repository_id, generation, start)
        if commitment != seal.commitment:
            raise CorruptObject(f"run {run.facts.coverage} of {generation} is sealed under another key than it says")
        return cipher

    def _opened_data_key(self, seal: RunSeal) -> bytes:
        place = seal.topic_key, seal.data_key
        with self._lock:
            known = self._opened.get(place)
        if known is not None:
            return known
        pair = self.topic_private(seal.topic_key)
        info = data_key_info(self._repository_id, seal.topic_key)
        key = pair.unwrap(bytes.fromhex(seal.data_key), info, "the data key of a run")
        with self._lock:
            _keep(self._opened, place, key)
        return key

    def topic_private(self, key_id: str) -> Identity:
        """The private half of a topic key. Raises `KeyRefused`, `CorruptObject`, `StoreError`."""
        if self.identity is None:
            raise KeyRefused(
                "records are opened with an identity or a passphrase; a writer key opens names and offsets only",
                hint="Run this where the identity is kept: a host that backs up does not need it.",
            )
        with self._lock:
            known = self._private.get(key_id)
        if known is not None:
            return known
        recipient = self.identity.recipient().id
        name = wrap_name(key_id, recipient)
        try:
            wrapped = _wrapped(self._store, key_id, recipient)
        except ObjectNotFound as error:
            raise KeyRefused(
                f"{name} is not there: the topic was shredded, or not wrapped for this identity"
            ) from error
        found = Identity(self.identity.unwrap(wrapped, topic_key_info(self._repository_id, key_id), name))
        with self._lock:
            _keep(self._private, key_id, found)
        return found

    # --- recipients --------------------------------------------------------------------------------------------------

    def wrap_for_recipient(self, metadata_key: str, topic_keys: Iterable[str], recipient: RecipientEntry) -> int:
        """Wraps every key so far for one more recipient; how many. Raises `KeyRefused`, `StoreError`."""
        _put_wraps(
            self._store,
            metadata_key,
            self.writer_key.key,
            metadata_key_info(self._repository_id, metadata_key),
            (recipient,),
        )
        done = 1
        for key_id in topic_keys:
            private = self.topic_private(key_id).private_bytes()
            _put_wraps(self._store, key_id, private, topic_key_info(self._repository_id, key_id), (recipient,))
            done += 1
        return done

    def __repr__(self) -> str:
        return f"Keyring({self._repository_id}, ***)"


def _keep(table: OrderedDict[N, T], name: N, value: T) -> None:
    table[name] = value
    while len(table) > KEYS_KEPT:
        table.popitem(last=False)
