"""Recipients: added, removed, listed, checked. What is stored comes first, the commit that counts on it second; what a commit
gives up is deleted behind it. Stopped anywhere, the same call goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, TypeVar

from kafkeep.errors import CorruptObject, KeyRefused, ObjectNotFound, PlanRefused, StoreError, UsageError
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned, ignore
from kafkeep.keys.plan import (
    AddedRecipient,
    KeyCheck,
    KeyListing,
    RecipientLine,
    RemovalPlan,
    RemovedRecipient,
    TopicKeyLine,
    Unopened,
)
from kafkeep.model import Failure
from kafkeep.repository.envelope import Kind, object_limit
from kafkeep.repository.format import Encryption
from kafkeep.repository.identities import Identity, Recipient, decode_wrap, open_slot, topic_key_info
from kafkeep.repository.keeping import shredded_topics
from kafkeep.repository.keyring import SLOTS, Keyring, put_slot, slot_name, wrap_name
from kafkeep.repository.names import log_name, parse_key_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.topic_keys import AddRecipient, RecipientEntry, RemoveRecipient, RotateKeys, TopicKey
from kafkeep.secret import Secret
from kafkeep.state_reading import read_alone
from kafkeep.times import rfc3339

T = TypeVar("T")
R = TypeVar("R")

KEYS: Final = "key/"
SLOT: Final = "slot"
PASSPHRASE_NAME: Final = "passphrase"


def keys_of(repository: Repository) -> tuple[Encryption, Keyring]:
    """How the repository is encrypted, and its keys. Raises `UsageError` when it is not."""
    encryption, keyring = repository.about.encryption, repository.keyring
    if encryption is None or keyring is None:
        raise UsageError(
            f"{repository.store.url} is not encrypted",
            hint="Encryption is chosen when a repository is created: `kafkeep init --encrypt`.",
        )
    return encryption, keyring


def identity_of(repository: Repository) -> Identity:
    """The identity that the repository was opened with. Raises `KeyRefused` when there was none, `UsageError`."""
    identity = keys_of(repository)[1].identity
    if identity is None:
        raise KeyRefused(
            "this takes an identity or a passphrase; a writer key opens no topic's key",
            hint="Run it where the identity is kept: give --identity-file or --passphrase-file.",
        )
    return identity


# --- listing and checking --------------------------------------------------------------------------------------------


def listing(repository: Repository) -> KeyListing:
    """Everything that is known of keys. Raises `UsageError`, `StoreError`."""
    keys_of(repository)
    state = repository.refresh()
    objects = _objects(repository)
    runs: dict[str | None, int] = {}
    for entry in state.packs:
        for run in entry.runs:
            runs[run.key] = runs.get(run.key, 0) + 1
    current = set(state.keys.current.values())
    lines = (
        TopicKeyLine(
            id=key.id, topic=key.topic[0], topic_id=key.topic[1], current=key.id in current, runs=runs.get(key.id, 0)
        )
        for key in state.keys.topic_keys.values()
    )
    return KeyListing(
        repository=repository.id,
        recipients=tuple(
            RecipientLine(
                id=entry.id,
                recipient=str(Recipient(entry.public)),
                name=entry.name,
                since=_since(repository, state.keys.since.get(entry.public)),
                passphrase=(SLOT, entry.id) in objects,
            )
            for entry in state.keys.recipients
        ),
        topic_keys=tuple(sorted(lines, key=lambda line: (line.topic, line.topic_id, not line.current))),
        shredded=shredded_topics(state),
        left_over=tuple(sorted(name for name in objects.values() if state.keys.given_up(name))),
    )


def _since(repository: Repository, number: int | None) -> str | None:
    """None where the commit is gone because the log was trimmed."""
    if number is None:
        return repository.about.created
    commit = read_alone(repository.store, number, repository.seal)
    if commit is not None:
        return commit.finished
    root = repository.state.root
    if root is None or root.number < number:
        raise CorruptObject(f"{log_name(number)} is missing")
    return None


def check(repository: Repository, *, sink: EventSink = ignore) -> KeyCheck:
    """Opens every topic key with the identity at hand, and looks which keys others lack.

    Raises `KeyRefused` without an identity, `UsageError`, `StoreError`.
    """
    identity = identity_of(repository)
    encryption, _ = keys_of(repository)
    state = repository.refresh()
    keys = tuple(state.keys.topic_keys.values())
    sink(WorkPlanned("keys", len(keys), None, None))

    def look(key: TopicKey) -> tuple[bool, Unopened] | None:
        sink(Progress("keys", 0, 0))
        return _unopened(repository, identity, key)

    found = [each for each in _in_parallel(repository, look, keys) if each is not None]
    objects = _objects(repository)
    wanted = [encryption.metadata_key, *(key.id for key in keys)]
    own = identity.recipient().id
    lacking = (
        (entry.id, entry.name, sum((key, entry.id) not in objects for key in wanted))
        for entry in state.keys.recipients
        if entry.id != own
    )
    return KeyCheck(
        recipient=own,
        opened=len(keys) - len(found),
        missing=tuple(each for damaged, each in found if not damaged),
        damaged=tuple(each for damaged, each in found if damaged),
        others=tuple(line for line in lacking if line[2]),
    )


def _unopened(repository: Repository, identity: Identity, key: TopicKey) -> tuple[bool, Unopened] | None:
    """Whether it is damaged rather than missing, and what is known of it; None for a key that opens."""
    own = identity.recipient().id
    name = wrap_name(key.id, own)
    try:
        data = repository.store.get(name, 0, object_limit(Kind.KEY) + 1)
        wrapped = decode_wrap(data, key.id, own, name)
        private = Identity(identity.unwrap(wrapped, topic_key_info(repository.id, key.id), name))
    except ObjectNotFound:
        return False, Unopened(key.id, *key.topic, f"{name} is not there: it was never wrapped for this identity")
    except (CorruptObject, KeyRefused) as error:
        return True, Unopened(key.id, *key.topic, error.message)
    if private.recipient().public != key.public:
        return True, Unopened(key.id, *key.topic, f"{name} holds another key than the log tells of")
    return None


# --- adding ----------------------------------------------------------------------------------------------------------


def add_recipient(
    repository: Repository, recipient: Recipient, *, now: Callable[[], datetime], sink: EventSink = ignore
) -> AddedRecipient:
    """Wraps the keys so far for one more recipient, then commits that it is one. For a recipient that is there already it
    wraps what that one lacks.

    Raises `KeyRefused` without an identity or when it cannot open a key itself, `PlanRefused`, `StoreError`.
    """
    identity_of(repository)
    entry = RecipientEntry(recipient.public, recipient.name)
    wrapped = _wrap_missing(repository, entry, sink)
    commit = None
    known = {each.public: each for each in repository.state.keys.recipients}.get(entry.public)
    if known is None:
        commit = repository.decide(AddRecipient(entry), started=rfc3339(now()))
        # writers that commit from here on wrap for it as well; what others committed meanwhile they did not
        wrapped += _wrap_missing(repository, entry, sink)
    return AddedRecipient(
        recipient=str(recipient), name=entry.name if known is None else known.name, wrapped=wrapped, commit=commit
    )


def add_passphrase(
    repository: Repository, passphrase: Secret, *, now: Callable[[], datetime], sink: EventSink = ignore
) -> AddedRecipient:
    """As `add_recipient`, for a new identity that the passphrase opens, or for the one that it opens already.

    Raises `KeyRefused` for a passphrase that is too short as well.
    """
    identity_of(repository)
    for info in repository.store.list(SLOTS):
        try:
            data = repository.store.get(info.name, 0, object_limit(Kind.KEY) + 1)
            known = open_slot(data, passphrase, info.name).recipient(PASSPHRASE_NAME)
        except (KeyRefused, CorruptObject, ObjectNotFound):
            continue
        if slot_name(known.id) == info.name:
            return add_recipient(repository, known, now=now, sink=sink)
    return add_recipient(repository, put_slot(repository.store, passphrase, PASSPHRASE_NAME), now=now, sink=sink)


def _wrap_missing(repository: Repository, entry: RecipientEntry, sink: EventSink) -> int:
    """Wraps every key for it that the store does not list; how many."""
    encryption, keyring = keys_of(repository)
    state = repository.refresh()
    objects = _objects(repository)
    wanted = (encryption.metadata_key, *state.keys.topic_keys)
    missing = [key for key in wanted if (key, entry.id) not in objects]
    if not missing:
        return 0
    sink(Stage("keys", f"{len(missing)} key(s) to be wrapped"))
    topic_keys = [key for key in missing if key != encryption.metadata_key]
    parts = max(1, min(repository.store.capabilities.parallel_reads, len(topic_keys)))

    def wrap(part: int) -> None:
        keyring.wrap_for_recipient(encryption.metadata_key, topic_keys[part::parts], entry)

    _in_parallel(repository, wrap, range(parts))
    return len(missing)


# --- removing --------------------------------------------------------------------------------------------------------


def prepare_removal(repository: Repository, given: str) -> RemovalPlan:
    """`given`: its text form, its id of 16 digits, or its name. Changes nothing.

    Raises `UsageError` when nothing is known of it, or several have the name, `StoreError`.
    """
    _, keyring = keys_of(repository)
    state = repository.refresh()
    found = [
        entry
        for entry in state.keys.recipients
        if given in (str(Recipient(entry.public)), entry.id, entry.name) and given
    ]
    if len(found) > 1:
        raise UsageError(f"{len(found)} recipients are named {_shown(given)}", hint="Give the id: `kafkeep keys list`.")
    entry = found[0] if found else None
    own_id = entry.id if entry is not None else _id_of(given)
    objects = tuple(sorted(name for (_, recipient), name in _objects(repository).items() if recipient == own_id))
    if entry is None and not objects:
        raise UsageError(f"no recipient is known as {_shown(given)}", hint="`kafkeep keys list` lists them.")
    last = entry is not None and len(state.keys.recipients) == 1
    identity = keyring.identity
    return RemovalPlan(
        id=own_id,
        name="" if entry is None else entry.name,
        public=None if entry is None else entry.public,
        objects=objects,
        own=identity is not None and identity.recipient().id == own_id,
        refusals=("it is the last recipient: nobody could open anything any more",) if last else (),
    )


def _shown(given: str) -> str:
    """Never the text of a key: it may be an identity, by mistake."""
    return "what was given" if given.startswith("kafkeep-") else repr(given[:80])


def _id_of(given: str) -> str:
    try:
        return Recipient.parse(given).id
    except KeyRefused:
        return given


def remove(
    repository: Repository, plan: RemovalPlan, *, now: Callable[[], datetime], sink: EventSink = ignore
) -> RemovedRecipient:
    """Commits that it is none any more, then deletes what was wrapped for it.

    Raises `PlanRefused` when the plan holds refusals or the repository has changed, `StoreError`.
    """
    if plan.refusals:
        raise PlanRefused("; ".join(plan.refusals), hint="Add another recipient first: `kafkeep keys add`.")
    encryption, _ = keys_of(repository)
    commit = None
    if plan.public is not None:
        commit = repository.decide(RemoveRecipient(plan.public), started=rfc3339(now()))
    doomed = {*plan.objects}
    if plan.public is not None:
        held = (encryption.metadata_key, *repository.state.keys.topic_keys)
        doomed |= {slot_name(plan.id), *(wrap_name(key, plan.id) for key in held)}
    failures = delete_all(repository, sorted(doomed), sink)
    return RemovedRecipient(plan=plan, commit=commit, deleted=len(doomed) - len(failures), failures=failures)


def rotate(repository: Repository, *, now: Callable[[], datetime]) -> int:
    """Everything that is written from here on is sealed under new topic keys; the number of the commit.

    Raises `UsageError`, `PlanRefused`, `StoreError`.
    """
    keys_of(repository)
    return repository.decide(RotateKeys(), started=rfc3339(now()))


# --- shared ----------------------------------------------------------------------------------------------------------


def _objects(repository: Repository) -> dict[tuple[str, str], str]:
    """Names of all key objects that the store lists, by key (or `slot`) and recipient."""
    listed = ((parse_key_name(info.name), info.name) for info in repository.store.list(KEYS))
    return {parsed: name for parsed, name in listed if parsed is not None}


def delete_all(repository: Repository, doomed: Iterable[str], sink: EventSink) -> tuple[Failure, ...]:
    """One that cannot be deleted (a lock, a missing right) is named, and the others go all the same."""
    doomed = tuple(doomed)
    sink(Stage("delete", f"{len(doomed)} key object(s)"))

    def delete(name: str) -> Failure | None:
        try:
            repository.store.delete(name)
        except StoreError as error:
            return Failure(name, error.slug, error.message)
        return None

    return tuple(failure for failure in _in_parallel(repository, delete, doomed) if failure is not None)


def _in_parallel(repository: Repository, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(max(1, repository.store.capabilities.parallel_reads)) as pool:
        return list(pool.map(work, items))
