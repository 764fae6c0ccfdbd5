"""Creating a repository in a store that has none, so that a crash leaves nothing, a beginning, or a repository."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

import kafkeep
from kafkeep.errors import (
    CorruptObject,
    ObjectExists,
    ObjectNotFound,
    RepositoryExists,
    StoreError,
    StoreNotCreateOnly,
    UsageError,
)
from kafkeep.repository import names, nouns, probing
from kafkeep.repository.envelope import Kind, object_limit
from kafkeep.repository.format import (
    CHUNK_BYTES,
    COMPRESSIONS,
    NO_COMMIT,
    PACK_BYTES,
    Commit,
    RepositoryDocument,
    encode_commit,
    encode_repository,
    read_slot,
)
from kafkeep.repository.pack import Randomness
from kafkeep.repository.stores.base import Store

log = structlog.get_logger(__name__)

PROBE_BYTES: Final = 32


def create(
    store: Store,
    *,
    now: Callable[[], datetime],
    rng: Randomness,
    compression: str,
    chunk_bytes: int | None = None,
    pack_bytes: int | None = None,
) -> None:
    """Commit 0 first, then `kafkeep.json`, which makes the repository exist.

    Commit 0 holds the repository document, so whoever finds it without `kafkeep.json` can write the very same one: that
    finishes an interrupted creation, and two creations at once become one. Raises `RepositoryExists`,
    `StoreNotCreateOnly`, `StoreError`.
    """
    if compression not in COMPRESSIONS:
        raise UsageError(f"compression {compression!r} is unknown", hint=f"Use one of: {', '.join(COMPRESSIONS)}.")
    if _is_there(store):
        raise RepositoryExists(f"{store.url} holds a repository already")
    probe(store, now=now, rng=rng)
    moment = nouns.utc_text(now())
    document = RepositoryDocument(
        id=rng.randbytes(16).hex(),
        created=moment,
        compression=compression,
        chunk_bytes=CHUNK_BYTES if chunk_bytes is None else chunk_bytes,
        pack_bytes=PACK_BYTES if pack_bytes is None else pack_bytes,
    )
    document, ours = _put_first_commit(store, document, moment, rng)
    try:
        store.put_new(names.REPOSITORY, encode_repository(document))
    except ObjectExists:
        # with commit 0 ours, only this call or one that took it up can have written this very document
        if not ours:
            raise RepositoryExists(f"{store.url} holds a repository already") from None
    log.info("repository created", id=document.id, store=store.url)


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
