"""Trying out whether a store does what a repository needs of it, with objects under `hint/`, where nothing counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from kafkeep.errors import ObjectExists, ObjectNotFound, StoreError
from kafkeep.logger import get_logger
from kafkeep.records import dataclass
from kafkeep.repository import names
from kafkeep.repository.packing import Randomness
from kafkeep.repository.stores.base import Store

log = get_logger(__name__)

CREATORS: Final = 5
ROUNDS: Final = 20
LARGE_BYTES: Final = 16 * 1024 * 1024
APART: Final = frozenset({"create-only", "one-winner"})
"""Probes of what keeps several writers apart."""
LOOKS: Final = 3
"""How often a clock is looked at anew that moved much meanwhile."""
SKEW_SECONDS: Final = 30.0
"""How far this host's clock and the store's may be apart without a remark; a service's times have whole seconds."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that was tried."""

    name: str
    """A word that stays the same in every version."""
    passed: bool
    found: str
    """What was seen, in a sentence without a full stop."""
    needed: bool = True
    """Whether a repository cannot be trusted to a store that fails this."""


@dataclass(frozen=True, slots=True)
class Skew:
    """How two clocks differ at least, by what was seen of an object that was made between two looks at ours."""

    seconds: float
    """0 or more."""
    ahead: bool
    """Whether this host's clock is ahead of the store's."""

    def __str__(self) -> str:
        return f"this host's clock is {self.seconds:.0f} s {'ahead of' if self.ahead else 'behind'} the store's"


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a store does and does not do."""

    url: str
    probes: tuple[Probe, ...]

    @property
    def fit(self) -> bool:
        """Whether a repository with several writers may lie here."""
        return all(probe.passed for probe in self.probes if probe.needed)

    @property
    def fit_for_one(self) -> bool:
        """Whether a repository with one writer at a time may lie here."""
        return all(probe.passed for probe in self.probes if probe.needed and probe.name not in APART)

    @property
    def failure(self) -> str | None:
        """What of the needed failed first, the worst first; None when nothing did."""
        failed = sorted((probe for probe in self.probes if probe.needed and not probe.passed), key=_apart)
        return f"{failed[0].name}: {failed[0].found}" if failed else None


def _apart(probe: Probe) -> bool:
    return probe.name in APART


class _Names:
    """Names of a probe's own objects; all of them are deleted at its end, if the login may."""

    def __init__(self, store: Store, now: Callable[[], datetime], rng: Randomness) -> None:
        self._store = store
        self._base = f"{names.HINT_PROBE}{names.ulid(now(), rng.randbytes(10))}"
        self._made: list[str] = []

    def new(self) -> str:
        name = f"{self._base}-{len(self._made)}"
        self._made.append(name)
        return name

    def clean(self) -> str | None:
        """Why something was left behind, None when nothing was."""
        for name in self._made:
            try:
                self._store.delete(name)
            except StoreError as error:
                log.info("probe left behind", name=name, reason=error.message)
                return error.message
        return None


@contextmanager
def _names(store: Store, now: Callable[[], datetime], rng: Randomness) -> Iterator[_Names]:
    own = _Names(store, now, rng)
    try:
        yield own
    finally:
        own.clean()


def probe_store(store: Store, *, now: Callable[[], datetime], rng: Randomness) -> StoreReport:
    """Try everything; what fails is in the report. Raises `StoreError` when the store cannot be reached at all."""
    own = _Names(store, now, rng)
    data = rng.randbytes(1000)
    first, second = own.new(), own.new()
    store.put_new(first, data)
    store.put_new(second, data)
    probes = [
        _tried("create-only", lambda: _second_creation(store, first, data)),
        _race(store, own),
        _tried("ranges", lambda: _ranges(store, second, data)),
        _tried("absence", lambda: _absence(store, own.new())),
        _tried("listing", lambda: _listing(store, second, len(data)), needed=False),
        _tried("large-object", lambda: _large(store, own.new(), rng)),
        _tried("clock", lambda: _clock(store, own, now), needed=False),
    ]
    if store.capabilities.decided_elsewhere:
        probes.append(_tried("lock", lambda: _lock(store), needed=False))
        probes.append(_tried("versions", lambda: _versions(store), needed=False))
    left = own.clean()
    probes.append(Probe("delete", left is None, "this login may delete" if left is None else left, needed=False))
    return StoreReport(store.url, tuple(probes))


def race(store: Store, *, now: Callable[[], datetime], rng: Randomness) -> Probe:
    """Several creators of one name at once, many times: each time exactly one may win. Raises `StoreError`."""
    with _names(store, now, rng) as own:
        return _race(store, own)


def _race(store: Store, own: _Names) -> Probe:
    bodies = [b"%d" % number * 200 for number in range(CREATORS)]
    with ThreadPoolExecutor(CREATORS) as pool:
        for number in range(ROUNDS):
            name = own.new()
            barrier = threading.Barrier(CREATORS)
            creators = [pool.submit(_create, store, name, body, barrier) for body in bodies]
            won = [body for body, creator in zip(bodies, creators, strict=True) if creator.result()]
            if len(won) > 1:
                found = f"of {CREATORS} creations of one name at once, {len(won)} succeeded in round {number + 1}"
                return Probe("one-winner", passed=False, found=found)
            kept = store.get(name)
            if kept not in (won or bodies):
                found = f"in round {number + 1} the object is not the one whose creation succeeded"
                return Probe("one-winner", passed=False, found=found)
    return Probe("one-winner", passed=True, found=f"{ROUNDS} times, one of {CREATORS} creations at once succeeded")


def _create(store: Store, name: str, body: bytes, barrier: threading.Barrier) -> bool:
    barrier.wait()
    try:
        store.put_new(name, body)
    except ObjectExists:
        return False
    return True


def _tried(name: str, attempt: Callable[[], tuple[bool, str]], *, needed: bool = True) -> Probe:
    try:
        passed, found = attempt()
    except StoreError as error:
        passed, found = False, error.message
    return Probe(name, passed, found, needed)


def _second_creation(store: Store, name: str, data: bytes) -> tuple[bool, str]:
    try:
        store.put_new(name, b"second")
    except ObjectExists:
        kept = store.get(name) == data
        return kept, "a second creation is refused" if kept else "a refused creation changed the object"
    return False, "a second creation replaced the object"


def _ranges(store: Store, name: str, data: bytes) -> tuple[bool, str]:
    wanted: Sequence[tuple[int, int]] = ((0, 1), (100, 200), (990, 100), (1000, 1), (5000, 10))
    for start, length in wanted:
        if store.get(name, start, length) != data[start : start + length]:
            return False, f"bytes {start} to {start + length} are not those that were written"
    return True, "ranges inside and past the end are right"


def _absence(store: Store, name: str) -> tuple[bool, str]:
    for ask in (store.get, store.head):
        try:
            ask(name)
        except ObjectNotFound:
            continue
        return False, "an object that was never made is there"
    return True, "an absent object is told from one that cannot be read"


def _listing(store: Store, name: str, size: int) -> tuple[bool, str]:
    found = {info.name: info.size for info in store.list("hint/")}
    seen = found.get(name) == size
    return seen, "a new object is listed at once" if seen else "a new object is not listed at once"


def _large(store: Store, name: str, rng: Randomness) -> tuple[bool, str]:
    piece = rng.randbytes(LARGE_BYTES // 16)
    with store.open_new() as upload:
        for _ in range(16):
            upload.write(piece)
        upload.publish(name)
    whole = store.get(name) == piece * 16
    return whole, f"{LARGE_BYTES >> 20} MiB come back as they went" if whole else "a large object comes back changed"


def _lock(store: Store) -> tuple[bool, str]:
    found = store.bucket_lock()
    if found is None:
        return True, "this kind of store is not asked about locks"
    if found.default is not None:
        return False, f"the bucket locks every new object, hints and keys too: {found.default} by default"
    return (
        True,
        "its objects can be locked, and are not by default" if found.enabled else "its objects cannot be locked",
    )


def _versions(store: Store) -> tuple[bool, str]:
    kept = store.versioning()
    if kept is None:
        return True, "this kind of store is not asked about versions"
    if kept == "enabled":
        return True, "versions are kept: it can be read as it was"
    return True, "no versions are kept: what is deleted is gone"


def measure_clock(store: Store, *, now: Callable[[], datetime], rng: Randomness) -> Skew | None:
    """This host's clock against the store's, by an object that is made for it under `hint/` and deleted if the login may:
    what lay there before, or under a name that others use, tells the time of something else. None where the store has no
    clock. Raises `StoreError`.
    """
    with _names(store, now, rng) as own:
        return _skew(store, own, now)


def _skew(store: Store, own: _Names, now: Callable[[], datetime]) -> Skew | None:
    for number in range(LOOKS):
        before = now()
        name = own.new()
        store.put_new(name, b"")
        after = now()
        made = store.modified(name)
        if made is None:
            return None
        # a clock that jumps between two looks would seem right whatever it says
        if number == LOOKS - 1 or abs((after - before).total_seconds()) <= SKEW_SECONDS:
            return _between(before, made, after)
    raise ValueError("there is at least one look")


def _between(before: datetime, made: datetime, after: datetime) -> Skew:
    """A service's times are cut to whole seconds: what was made may be up to one younger than it says."""
    first, last = min(before, after), max(before, after)
    if (last - first).total_seconds() > SKEW_SECONDS:
        # nobody knows which look was right, so the worse one counts
        first, last = last, first
    ahead = (first - made).total_seconds() - 1.0
    behind = (made - last).total_seconds()
    return Skew(max(ahead, behind, 0.0), ahead > behind)


def _clock(store: Store, own: _Names, now: Callable[[], datetime]) -> tuple[bool, str]:
    skew = _skew(store, own, now)
    if skew is None:
        return True, "the store has no clock of its own"
    return skew.seconds <= SKEW_SECONDS, str(skew) if skew.seconds else "this host's clock and the store's agree"
