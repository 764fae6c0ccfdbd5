"""Creating a repository in a store that has none, so that a crash leaves nothing, a beginning, or a repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

import kafkeep
from kafkeep.errors import (
    CorruptObject,
    KeyRefused,
    ObjectExists,
    ObjectNotFound,
    RepositoryExists,
    StoreError,
    StoreNotCreateOnly,
    UsageError,
)
from kafkeep.logger import get_logger
from kafkeep.repository import names, nouns, probing
from kafkeep.repository.envelope import Kind, object_limit
from kafkeep.repository.format import (
    CHUNK_BYTES,
    COMPRESSIONS,
    ENCRYPTED,
    MANY,
    NO_COMMIT,
    PACK_BYTES,
    PLAIN,
    Commit,
    RepositoryDocument,
    encode_commit,
    encode_repository,
    for_one_writer,
    read_slot,
    signed_features,
)
from kafkeep.repository.packing import Randomness
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.single import SingleWriterStore
from kafkeep.repository.trust import TrustedKey

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Access, NewEncryption

log = get_logger(__name__)

PROBE_BYTES: Final = 32


def create(
    store: Store,
    *,
    now: Callable[[], datetime],
    rng: Randomness,
    compression: str,
    chunk_bytes: int | None = None,
    pack_bytes: int | None = None,
    encryption: NewEncryption | None = None,
    writers: str = MANY,
    admins: tuple[TrustedKey, ...] = (),
) -> Access | None:
    """Commit 0 first, then `kafkeep.json`, which makes the repository exist.

    Commit 0 holds the repository document, so whoever finds it without `kafkeep.json` can write the very same one: that
    finishes an interrupted creation, and two creations at once become one. With `writers` single
    the store need not create only what is absent. Keys come before both. Gives what opens the repository that was created
    here; None when it is not encrypted, or was begun by another. Raises `RepositoryExists`, `StoreNotCreateOnly`,
    `HeldByAnotherWriter`, `KeyRefused`, `StoreError`.
    """
    if compression not in COMPRESSIONS:
        raise UsageError(f"compression {compression!r} is unknown", hint=f"Use one of: {', '.join(COMPRESSIONS)}.")
    if _is_there(store):
        raise RepositoryExists(f"{store.url} holds a repository already")
    features = ENCRYPTED if encryption is not None else PLAIN
    if admins:
        features = signed_features(features)
    if writers == MANY:
        probe(store, now=now, rng=rng)
    moment = nouns.utc_text(now())
    document = RepositoryDocument(
        id=rng.randbytes(16).hex(),
        created=moment,
        compression=compression,
        chunk_bytes=CHUNK_BYTES if chunk_bytes is None else chunk_bytes,
        pack_bytes=PACK_BYTES if pack_bytes is None else pack_bytes,
        writers=writers,
        admins=admins,
        features_required=features if writers == MANY else for_one_writer(features),
    )
    with _for_writers(store, writers, rng) as place:
        return _write(place, document, encryption, rng)


@contextmanager
def _for_writers(store: Store, writers: str, rng: Randomness) -> Iterator[Store]:
    """The store as a repository for so many writers uses it."""
    if writers == MANY:
        yield store
        return
    guarded = SingleWriterStore(store, rng.randbytes(16).hex())
    try:
        yield guarded
    finally:
        guarded.lease.release()


def _write(
    store: Store, document: RepositoryDocument, encryption: NewEncryption | None, rng: Randomness
) -> Access | None:
    writer_key = None
    if encryption is not None:
        document, writer_key = _encrypted(store, document, encryption)
    wanted = {key.public for key in document.admins}
    document, ours = _put_first_commit(store, document, document.created, rng)
    if wanted and wanted != {key.public for key in document.admins}:
        # nothing vouches for commit 0: whoever may create objects could have begun it to be believed later
        raise KeyRefused(
            f"a repository was begun in {store.url} by other admins",
            hint="If nobody of yours did: remove what is there, or take another place.",
        )
    try:
        store.put_new(names.REPOSITORY, encode_repository(document))
    except ObjectExists:
        # with commit 0 ours, only this call or one that took it up can have written this very document
        if not ours:
            raise RepositoryExists(f"{store.url} holds a repository already") from None
    log.info("repository created", id=document.id, store=store.url)
    return writer_key if ours else None


def _encrypted(
    store: Store, document: RepositoryDocument, encryption: NewEncryption
) -> tuple[RepositoryDocument, Access]:
    from kafkeep.repository.keyring import Access, create_encryption  # loads cryptography

    document, writer_key = create_encryption(store, document, encryption)
    return document, Access(writer_key=writer_key)


def _is_there(store: Store) -> bool:
    try:
        store.head(names.REPOSITORY)
    except ObjectNotFound:
        return False
    return True


def _put_first_commit(
    store: Store, document: RepositoryDocument, moment: str, rng: Randomness
) -> tuple[RepositoryDocument, bool]:
    """The document in commit 0, and whether that commit is the one made here."""
    commit = Commit(
        seq=0,
        prev=NO_COMMIT,
        kind="init",
        writer=rng.randbytes(16).hex(),
        epoch=0,
        started=moment,
        finished=moment,
        tool=f"kafkeep {kafkeep.__version__}",
        repository=document,
    )
    data = encode_commit(commit)
    name = names.log_name(0)
    try:
        store.put_new(name, data)
    except ObjectExists:
        log.info("commit 0 is there already", store=store.url)
    found = store.get(name, 0, object_limit(Kind.COMMIT) + 1)
    slot = read_slot(found, 0, NO_COMMIT, name)
    if slot.commit is None or slot.commit.repository is None:
        raise CorruptObject(f"{name} in {store.url} does not begin a repository: {slot.defect}")
    return slot.commit.repository, found == data


def probe(store: Store, *, now: Callable[[], datetime], rng: Randomness) -> None:
    """Make sure that the store creates only what is absent. Raises `StoreNotCreateOnly`, `StoreError`.

    Leaves at most objects under `hint/`, where nothing counts, when it may not delete.
    """
    if store.capabilities.decided_elsewhere:
        race = probing.race(store, now=now, rng=rng)
        if not race.passed:
            raise StoreNotCreateOnly(f"{store.url} cannot be shared by writers: {race.found}")
    name = f"hint/probe-{names.ulid(now(), rng.randbytes(10))}"
    first, second = rng.randbytes(PROBE_BYTES), rng.randbytes(PROBE_BYTES)
    store.put_new(name, first)
    try:
        store.put_new(name, second)
    except ObjectExists:
        log.debug("store refused a second creation", store=store.url)
    else:
        raise StoreNotCreateOnly(f"{store.url} replaced an object that was to be created only if absent")
    finally:
        kept = store.get(name)
        try:
            store.delete(name)
        except StoreError as error:
            log.info("probe left behind", name=name, reason=error.message)
    if kept != first:
        raise StoreNotCreateOnly(f"{store.url} did not keep the object that was created first")
