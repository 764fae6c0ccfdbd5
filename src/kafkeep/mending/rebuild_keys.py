"""What a log that is built anew has to say of keys, out of what the packs and the objects under `key/` still tell.

Footers say which topic key each run is sealed for, and so of which topic each key is. Its public half comes from the
private one, which lies wrapped for the recipients: that takes an identity. Nobody becomes a recipient on the store's word
alone: only who proves to hold an identity, because whoever may create objects could name itself else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Final

from kafkeep.errors import CorruptObject, KeyRefused, ObjectNotFound, PlanRefused
from kafkeep.mending.rebuild_plan import LockedKey, LogStep, Lost
from kafkeep.model import PackRef
from kafkeep.records import dataclass
from kafkeep.repository.format import Encryption
from kafkeep.repository.names import parse_key_name
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.topic_keys import SHREDDED, RecipientEntry, TopicKey, TopicName, topic_of

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Keyring

KEYS: Final = "key/"
SLOT: Final = "slot"
UNREADABLE: Final = "unreadable"
"""Reason of a gap over runs that nobody can open, where nothing tells whether their topic was shredded."""
ADDED_NAME: Final = "added by a rebuild"


@dataclass(slots=True)
class KeyObjects:
    """For whom each key lies wrapped. A listing proposes; what it leaves out is asked for by name."""

    store: Store
    wraps: dict[str, set[str]] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, store: Store) -> KeyObjects:
        """Raises `StoreError`."""
        found = cls(store, names=tuple(info.name for info in store.list(KEYS)))
        for name in found.names:
            parsed = parse_key_name(name)
            if parsed is not None:
                found.wraps.setdefault(parsed[0], set()).add(parsed[1])
        return found

    def has(self, key: str, recipient: str) -> bool:
        """Whether the key lies wrapped for the recipient. Raises `StoreError`."""
        if recipient in self.wraps.get(key, ()):
            return True
        try:
            self.store.head(f"{KEYS}{key}/{recipient}")
        except ObjectNotFound:
            return False
        self.wraps.setdefault(key, set()).add(recipient)
        return True


def topics_of_keys(base: State, packs: Iterable[PackRef]) -> dict[str, TopicName]:
    """The topic of each key that runs are sealed for. Raises `PlanRefused` for a key of two topics."""
    found: dict[str, tuple[TopicName, str]] = {key.id: (key.topic, "the log") for key in base.keys.topic_keys.values()}
    for pack in packs:
        for run in pack.run_refs():
            if run.key is None:
                continue
            topic, where = found.setdefault(run.key, (topic_of(run.generation), pack.name))
            if topic != topic_of(run.generation):
                raise PlanRefused(
                    f"topic key {run.key} is of {topic[0]} ({topic[1]}) in {where}, and of {run.generation.topic}"
                    f" ({run.generation.topic_id}) in {pack.name}: somebody with the writer key made one of them up",
                    hint="Find out which, and leave it out: --without PACK.",
                )
    return {key: topic for key, (topic, _) in found.items()}


def gone_keys(
    base: State, objects: KeyObjects, keys: Iterable[str], encryption: Encryption, keyring: Keyring
) -> dict[str, Lost]:
    """Those of the keys that nobody has any more, and what their runs become. Raises `StoreError`."""
    known = {entry.id for entry in (*recipients_of(base, encryption), *_own(keyring))}
    lost: dict[str, Lost] = {}
    for key in sorted(keys):
        if key in base.keys.shredded:
            lost[key] = Lost(SHREDDED, "the topic was shredded")
        elif not objects.wraps.get(key) and not any(objects.has(key, recipient) for recipient in known):
            why = f"nobody has topic key {key} any more: the topic was shredded, or the key was lost"
            lost[key] = Lost(UNREADABLE, why)
    return lost


def recipients_of(base: State, encryption: Encryption) -> tuple[RecipientEntry, ...]:
    """Those that the log names, or the repository document where there is no log."""
    return base.keys.recipients if base.head >= 0 else encryption.recipients


def _own(keyring: Keyring) -> tuple[RecipientEntry, ...]:
    if keyring.identity is None:
        return ()
    return (RecipientEntry(keyring.identity.recipient().public, ADDED_NAME),)


def opened_keys(
    base: State,
    steps: Iterable[LogStep],
    topics: Mapping[str, TopicName],
    objects: KeyObjects,
    keyring: Keyring,
    opened: dict[str, TopicKey],
) -> list[LockedKey]:
    """Puts the keys that the steps need and the log does not tell of into `opened`; those that do not open come back.

    Raises `KeyRefused` without an identity, `StoreError`.
    """
    needed = {run.key for step in steps for pack in (*step.packs, *step.stale) for run in pack.run_refs()}
    locked: list[LockedKey] = []
    for key in sorted(each for each in needed if each is not None and each not in base.keys.topic_keys):
        if key in opened:
            continue
        if keyring.identity is None:
            raise KeyRefused(
                "the log that is lost told the public halves of topic keys; they come from the private ones",
                hint="Give --identity-file or --passphrase-file: a writer key alone does not open them.",
            )
        try:
            public = keyring.topic_private(key).recipient().public
        except (KeyRefused, CorruptObject) as error:
            own = keyring.identity.recipient().id
            others = tuple(sorted(objects.wraps.get(key, set()) - {own}))
            locked.append(LockedKey(key, topics[key][0], error.message, others))
            continue
        opened[key] = TopicKey(key, topics[key], public)
    return locked


def check_locked(locked: Iterable[LockedKey]) -> None:
    """Raises `PlanRefused` when there are any."""
    some = tuple(locked)
    if some:
        first = some[0]
        whom = f"it lies wrapped for {', '.join(first.others)}" if first.others else "it lies wrapped for nobody else"
        raise PlanRefused(
            f"{len(some)} topic key(s) do not open with this identity; the first one, of topic {first.topic}: {whom}"
            f" ({first.why})",
            hint="Use an identity of theirs; or let these runs become gaps: --leave-locked.",
        )


def changed_recipients(
    base: State, objects: KeyObjects, brought: Iterable[TopicKey], encryption: Encryption, keyring: Keyring
) -> tuple[tuple[RecipientEntry, ...], tuple[RecipientEntry, ...], tuple[str, ...]]:
    """Recipients to be added and to be removed, and ids of those of whom no more is known. Raises `StoreError`."""
    named = recipients_of(base, encryption)
    ids = {entry.id for entry in named}
    keys = (encryption.metadata_key, *base.keys.topic_keys, *(key.id for key in brought))
    added = tuple(
        entry for entry in _own(keyring) if entry.id not in ids and all(objects.has(key, entry.id) for key in keys)
    )
    removed = tuple(entry for entry in named if not objects.has(encryption.metadata_key, entry.id))
    if len(removed) == len(named) and not added:
        removed = ()  # somebody has to be one
    known = ids | {entry.id for entry in added}
    unknown = tuple(sorted(objects.wraps.get(encryption.metadata_key, set()) - known))
    return added, removed, unknown
