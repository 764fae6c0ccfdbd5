"""The log of commits in a store: finding its end without LIST, reading it, adding to it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import structlog

from kafkeep.errors import CorruptChain, ObjectExists, ObjectNotFound, StoreError, StoreUnavailable
from kafkeep.repository.envelope import Kind, object_limit
from kafkeep.repository.names import HINT_HEAD, LAST_NUMBER, log_name
from kafkeep.repository.stores.base import Store

log = structlog.get_logger(__name__)

TRIES: Final = 8
"""How often an unclear answer to a commit is looked into before giving up."""
FIRST_PAUSE_SECONDS: Final = 0.1

_HINT: Final = re.compile(rb"([0-9]{1,12})\n?\Z")


def read_commit(store: Store, number: int) -> bytes | None:
    """The stored bytes of a commit, None when it is absent. Raises `CorruptChain` when too large, `StoreError`."""
    limit = object_limit(Kind.COMMIT)
    try:
        data = store.get(log_name(number), 0, limit + 1)
    except ObjectNotFound:
        return None
    if len(data) > limit:
        raise CorruptChain(f"commit {number} cannot be read: it is over the limit of {limit} bytes")
    return data


def read_hint(store: Store) -> int | None:
    """What `hint/head` says, None when it is absent, unreadable or no number: it is advice, never evidence."""
    try:
        found = _HINT.match(store.get(HINT_HEAD, 0, 64))
    except StoreError as error:
        log.debug("hint not read", reason=error.message)
        return None
    return None if found is None else int(found[1])


def write_hint(store: Store, number: int) -> None:
    """Leave the head's number for the next reader; a failure costs that reader some time and nothing else."""
    try:
        store.put_hint(HINT_HEAD, b"%d\n" % number)
    except StoreError as error:
        log.debug("hint not written", reason=error.message)


def find_head(store: Store, known: int) -> int:
    """Number of the newest commit, given one that exists (-1 for none). Raises `StoreError`.

    From the hint, if the commit it names is there, forward by doubling steps until one is absent, then by bisection:
    commits are dense. A stale, forged or absent hint costs a few more questions.
    """
    low = known
    hint = read_hint(store)
    if hint is not None and low < hint <= LAST_NUMBER and _exists(store, hint):
        low = hint
    step = 1
    while low + step <= LAST_NUMBER and _exists(store, low + step):
        low += step
        step *= 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if _exists(store, middle):
            low = middle
        else:
            high = middle
    return low


def _exists(store: Store, number: int) -> bool:
    try:
        store.head(log_name(number))
    except ObjectNotFound:
        return False
    return True


def read_commits(store: Store, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """Commits `first` to `last`, both included, in order. Raises `CorruptChain` for an absent one, `StoreError`."""
    ahead = store.capabilities.parallel_reads
    if ahead == 1:
        for number in range(first, last + 1):
            yield number, _present(read_commit(store, number), number, last)
        return
    with ThreadPoolExecutor(ahead) as pool:
        waiting: deque[Future[bytes | None]] = deque()
        asked = first
        for number in range(first, last + 1):
            while asked <= last and len(waiting) < 2 * ahead:
                waiting.append(pool.submit(read_commit, store, asked))
                asked += 1
            yield number, _present(waiting.popleft().result(), number, last)


def _present(data: bytes | None, number: int, last: int) -> bytes:
    if data is None:
        raise CorruptChain(f"commit {number} is missing although commit {last} is there")
    return data


def put_commit(store: Store, number: int, data: bytes, pause: Callable[[float], None]) -> bytes | None:
    """Try to be commit `number`: None when this is now the commit, else the bytes of the one that is.

    Every unclear answer (exists, timeout, connection lost) is settled by reading the slot; only the store's clear
    "absent" leads to another try. Raises `StoreError` when it stays unclear: the commit may or may not have been made.
    """
    failure: StoreError = StoreUnavailable(f"commit {number} can be neither created nor read in {store.url}")
    for attempt in range(TRIES):
        if attempt:
            pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            store.put_new(log_name(number), data)
        except ObjectExists:
            log.debug("commit number taken", number=number)
        except StoreError as error:
            if not error.retryable:
                raise
            failure = error
        else:
            return None
        try:
            found = read_commit(store, number)
        except StoreError as error:
            if not error.retryable:
                raise
            failure = error
            continue
        if found is not None:
            return None if found == data else found
    raise failure
