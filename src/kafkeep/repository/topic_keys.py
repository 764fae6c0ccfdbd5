"""What the commits of an encrypted repository say about keys: topic keys, recipients, rotation, shredding. Pure.

A topic key is a key pair. Whoever writes needs its public half only, which commits tell; the private half lies wrapped
under `key/`, once for each recipient, and shredding a topic is deleting these objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from kafkeep.model import Generation, RunRef
from kafkeep.records import dataclass
from kafkeep.repository import nouns
from kafkeep.repository.invalid import Invalid
from kafkeep.repository.names import parse_key_name
from kafkeep.repository.nouns import Malformed, hexadecimal, items, text

if TYPE_CHECKING:
    from kafkeep.repository.state import State

TopicName = tuple[str, str]
"""Topic and topic id: a topic created anew has keys of its own."""
SHREDDED: Final = "shredded"
"""Reason of a gap that stands for a run whose topic was shredded."""


def recipient_id(public: str) -> str:
    """The short name of a public key."""
    return blake3(bytes.fromhex(public)).hexdigest()[:16]


def topic_of(generation: Generation) -> TopicName:
    """The topic that a generation's runs are sealed for."""
    return generation.topic, generation.topic_id


@dataclass(frozen=True, slots=True)
class RecipientEntry:
    """A recipient as the repository document and commits have it."""

    public: str
    """64 hexadecimal digits."""
    name: str

    @property
    def id(self) -> str:
        """16 hexadecimal digits, from the public key: what the objects are named by that are wrapped for it."""
        return recipient_id(self.public)


@dataclass(frozen=True, slots=True)
class TopicKey:
    """The public half of a topic's key."""

    id: str
    """32 hexadecimal digits, random."""
    topic: TopicName
    public: str
    """64 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that the commits so far tell of. Never changes."""

    topic_keys: Mapping[str, TopicKey] = field(default_factory=lambda: MappingProxyType({}))
    """By id, those of shredded topics left out."""
    current: Mapping[TopicName, str] = field(default_factory=lambda: MappingProxyType({}))
    """Ids of the keys that the next runs are sealed for."""
    shredded: frozenset[str] = frozenset()
    """Ids of keys that nobody may have any more."""
    recipients: tuple[RecipientEntry, ...] = ()
    rotated_at: int = 0
    """Number of the commit that ended the use of all keys before it, 0 before any."""
    since: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By the public key of recipients that were added: the commit by which."""

    def given_up(self, name: str) -> bool:
        """Whether an object below `key/` is nobody's any more: its topic was shredded, or its recipient is none."""
        parsed = parse_key_name(name)
        return parsed is not None and (
            parsed[0] in self.shredded or parsed[1] not in {entry.id for entry in self.recipients}
        )


@dataclass(frozen=True, slots=True)
class RotateKeys:
    """What is written from here on is sealed under new topic keys."""


@dataclass(frozen=True, slots=True)
class AddRecipient:
    """From here on keys are wrapped for it as well; the keys so far were wrapped for it before."""

    recipient: RecipientEntry


@dataclass(frozen=True, slots=True)
class RemoveRecipient:
    """From here on no key is wrapped for it, and what is written is sealed under new topic keys."""

    public: str


@dataclass(frozen=True, slots=True)
class Shred:
    """The keys of these topics are about to be deleted: their runs so far become gaps."""

    topics: tuple[TopicName, ...]
    reason: str


KeyChange = RotateKeys | AddRecipient | RemoveRecipient | Shred


def encode_key_change(change: KeyChange) -> dict[str, object]:
    """The body of its commit."""
    match change:
        case RotateKeys():
            return {}
        case AddRecipient(recipient):
            return encode_recipient(recipient)
        case RemoveRecipient(public):
            return {"public": public}
        case Shred(topics, reason):
            return {"reason": reason, "topics": topics}


def encode_recipient(recipient: RecipientEntry) -> dict[str, object]:
    return {"name": recipient.name, "public": recipient.public}


def decode_recipient(value: object) -> RecipientEntry:
    """Raises `Malformed`, KeyError."""
    found = nouns.fields(value, "recipient")
    return RecipientEntry(hexadecimal(found["public"], "public", 64), text(found["name"], "name", 200))


def encode_topic_key(key: TopicKey) -> list[object]:
    return [key.id, *key.topic, key.public]


def decode_topic_key(value: object) -> TopicKey:
    """Raises `Malformed`."""
    if type(value) is not list or len(value) != 4:
        raise Malformed("topic key is not a row of 4")
    return TopicKey(hexadecimal(value[0], "topic key", 32), _topic(value[1:3]), hexadecimal(value[3], "public", 64))


def _topic(value: object) -> TopicName:
    if type(value) is not list or len(value) != 2:
        raise Malformed("topic is not a pair")
    found = nouns.decode_generation([*value, 0, 0])
    return found.topic, found.topic_id


DECODERS: Final[Mapping[str, Callable[[dict[str, Any]], KeyChange]]] = {
    "rotate": lambda body: RotateKeys(),
    "recipient-add": lambda body: AddRecipient(decode_recipient(body)),
    "recipient-remove": lambda body: RemoveRecipient(hexadecimal(body["public"], "public", 64)),
    "shred": lambda body: Shred(items(body["topics"], "topics", _topic), text(body["reason"], "reason")),
}
KIND_OF: Final[Mapping[type, str]] = {
    RotateKeys: "rotate",
    AddRecipient: "recipient-add",
    RemoveRecipient: "recipient-remove",
    Shred: "shred",
}


def check_key_change(state: State, change: KeyChange) -> None:
    """Raises `Invalid` when the change breaks a rule after `state`."""
    if state.repository is None or state.repository.encryption is None:
        raise Invalid("a commit about keys in a repository that is not encrypted")
    known = [entry.public for entry in state.keys.recipients]
    match change:
        case AddRecipient(recipient) if recipient.public in known:
            raise Invalid("a recipient that is there already")
        case RemoveRecipient(public) if public not in known or len(known) == 1:
            raise Invalid("a recipient that is not there, or the last one")
        case Shred(topics):
            held = {key.topic for key in state.keys.topic_keys.values()}
            if not topics or len(set(topics)) != len(topics) or not held.issuperset(topics):
                raise Invalid("shredding nothing, a topic without a key, or one that is named twice")


def check_runs(state: State, brought: Iterable[TopicKey], runs: Iterable[RunRef]) -> None:
    """Raises `Invalid` unless each run names a key of its topic, and each key that a commit brings is unheard of."""
    encrypted = state.repository is not None and state.repository.encryption is not None
    keys = dict(state.keys.topic_keys)
    for key in brought:
        if not encrypted or key.id in keys or key.id in state.keys.shredded:
            raise Invalid(f"topic key {key.id} is not a new one of an encrypted repository")
        keys[key.id] = key
    for run in runs:
        if not encrypted:
            if run.key is not None:
                raise Invalid(f"run {run.coverage} of {run.generation} is sealed in a repository that is not encrypted")
        elif run.key is None or run.key not in keys or keys[run.key].topic != topic_of(run.generation):
            raise Invalid(f"run {run.coverage} of {run.generation} is not sealed under a key of its topic")


def with_topic_keys(keys: KeyRing, brought: Iterable[TopicKey]) -> KeyRing:
    """After a commit that brings topic keys."""
    new = {key.id: key for key in brought}
    if not new:
        return keys
    return replace(
        keys,
        topic_keys=MappingProxyType({**keys.topic_keys, **new}),
        current=MappingProxyType({**keys.current, **{key.topic: key.id for key in new.values()}}),
    )


def with_change(keys: KeyRing, change: KeyChange, number: int) -> KeyRing:
    """After a valid change by commit `number`; what shredding does to runs is the caller's."""
    match change:
        case RotateKeys():
            return replace(keys, current=MappingProxyType({}), rotated_at=number)
        case AddRecipient(recipient):
            since = MappingProxyType({**keys.since, recipient.public: number})
            return replace(keys, recipients=(*keys.recipients, recipient), since=since)
        case RemoveRecipient(public):
            left = tuple(entry for entry in keys.recipients if entry.public != public)
            return replace(keys, recipients=left, current=MappingProxyType({}), rotated_at=number)
        case Shred(topics):
            gone = {key.id for key in keys.topic_keys.values() if key.topic in topics}
            return replace(
                keys,
                topic_keys=MappingProxyType({name: key for name, key in keys.topic_keys.items() if name not in gone}),
                current=MappingProxyType({name: key for name, key in keys.current.items() if key not in gone}),
                shredded=keys.shredded | gone,
            )
