"""The log of commits in a store: finding its end without LIST, reading it, adding to it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from kafkeep.errors import CorruptChain, ObjectExists, ObjectNotFound, StoreError, StoreUnavailable
from kafkeep.logger import get_logger
from kafkeep.repository.envelope import Kind, object_limit
from kafkeep.repository.names import HINT_HEAD, LAST_NUMBER, MILESTONE, log_name, next_milestone
from kafkeep.repository.stores.base import Store

log = get_logger(__name__)

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

    From the hint, if the commit it names is there. Commits may have been deleted below a milestone that is there, milestones
    never are (`names.MILESTONE`): where the next one is there, the last one is looked for among them, by doubling steps until
    one is absent and then by bisection, and the head behind it. Else commits are dense from the known one on. A stale, forged
    or absent hint costs a few more questions.
    """
    low = known
    hint = read_hint(store)
    if hint is not None and low < hint <= LAST_NUMBER and exists(store, hint):
        low = hint
    if low < 0 and not exists(store, 0):
        return low
    low = max(low, 0)
    end = next_milestone(low)
    if not exists(store, end):
        return _last(lambda number: exists(store, number), low, end)
    first = end // MILESTONE
    last = _last(lambda index: exists(store, index * MILESTONE), first, LAST_NUMBER // MILESTONE + 1)
    return _between(lambda number: exists(store, number), last * MILESTONE, next_milestone(last * MILESTONE))


def _last(is_there: Callable[[int], bool], low: int, absent: int) -> int:
    """The last number that is there, given one that is and one above it that is not; found quickly where it is near `low`."""
    step = 1
    while low + step < absent and is_there(low + step):
        low += step
        step *= 2
    return _between(is_there, low, min(absent, low + step))


def _between(is_there: Callable[[int], bool], low: int, absent: int) -> int:
    """The same by bisection."""
    while absent - low > 1:
        middle = (low + absent) // 2
        if is_there(middle):
            low = middle
        else:
            absent = middle
    return low


def exists(store: Store, number: int) -> bool:
    """Whether there is a commit of this number. Raises `StoreError`."""
    if number > LAST_NUMBER:
        return False
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


class Trimmed(Exception):
    """The log goes on far beyond a commit that was just created: it was trimmed there, or it went on meanwhile."""


def put_commit(
    store: Store, number: int, data: bytes, pause: Callable[[float], None], *, milestones: bool = True
) -> bytes | None:
    """Try to be commit `number`: None when this is now the commit, else the bytes of the one that is.

    Every unclear answer (exists, timeout, connection lost) is settled by reading the slot; only the store's clear
    "absent" leads to another try. A slot may have been free because what lay there was deleted: then the next milestone is
    there. `milestones`: look for it; False where no log is trimmed, because commits are not signed. Raises `Trimmed` when it
    is there, `StoreError` when it stays unclear: the commit may or may not have been made.
    """
    failure: StoreError = StoreUnavailable(f"commit {number} can be neither created nor read in {store.url}")
    for attempt in range(TRIES):
        if attempt:
            pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            other = _try_slot(store, number, data)
            if other == data and milestones and exists(store, next_milestone(number)):
                raise Trimmed(f"commit {number} was created, and commit {next_milestone(number)} is there")
        except StoreError as error:
            if not error.retryable:
                raise
            failure = error
            continue
        if other is not None:
            return None if other == data else other
    raise failure


def _try_slot(store: Store, number: int, data: bytes) -> bytes | None:
    """What lies in the slot after a try to create it; None when the store says that nothing does."""
    failure: StoreError | None = None
    try:
        store.put_new(log_name(number), data)
    except ObjectExists:
        log.debug("commit number taken", number=number)
    except StoreError as error:
        if not error.retryable:
            raise
        failure = error
    else:
        return data
    found = read_commit(store, number)
    if found is None and failure is not None:
        raise failure
    return found
