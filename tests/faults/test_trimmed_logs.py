"""G8: a trimming dies anywhere, all hints are lost, and whoever may create objects offers roots and pasts of its own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
from tests.support.faults import Figures
from tests.support.long_logs import ADMIN_KEY, STARTED, WRITER_KEY, LongLog, long_log
from tests.support.readers import reader_of, same_state, seen_by
from tests.support.second_reader import Broken, Corrupt, Reader, roots
from tests.support.short_milestones import grow, milestones, objects_of, trim, without_hints

from kafkeep.errors import CorruptChain, CorruptionError, ObjectNotFound
from kafkeep.repository import chain
from kafkeep.repository.changes import KIND_OF, RaiseEpoch, SaveState
from kafkeep.repository.format import Commit, encode_commit, unsigned_text
from kafkeep.repository.names import log_name, log_number
from kafkeep.repository.roots import publish_state
from kafkeep.repository.shared import Shared
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.base import ObjectInfo
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash
from kafkeep.repository.trust import ADMIN, Signature, signed_text
from kafkeep.verify.run import verify

EVERY = 8
"""Of so many commits one is a milestone, but in the tests of the real distance."""
OLDEST, FIRST, SECOND = 10, 16, 21
"""Commits that save a state; the one between is a milestone."""


@pytest.fixture(autouse=True)
def near_milestones(request: pytest.FixtureRequest) -> Iterator[None]:
    if "real" in request.fixturenames:
        yield
    else:
        with milestones(EVERY):
            yield


@pytest.fixture
def real() -> None:
    """Milestones lie as far apart as they do."""


@cache
def _lived() -> LongLog:
    """Backups, two saved states, of which the second stands for all before it since long, and a head behind them."""
    log = LongLog()
    admin = log.create()
    log.backup(name="first")
    grow(log, admin, OLDEST - 2)
    log.backup(name="second")
    admin.refresh()
    assert admin.save_state(started=STARTED).number == OLDEST
    grow(log, admin, FIRST - 1)
    assert admin.save_state(started=STARTED).number == FIRST
    log.backup(name="third")
    grow(log, admin, SECOND - 1)
    assert admin.save_state(started=STARTED).number == SECOND
    log.backup(name="fourth")
    grow(log, admin, 3 * EVERY + 2)
    log.clock.advance(days=30)
    return log


def lived() -> LongLog:
    log = _lived().copy()
    log.clock.advance(days=60)
    return log


def trimmed() -> LongLog:
    log = lived()
    result = trim(log)
    assert result.deleted_commits > 10 and result.deleted_documents >= 2 and not result.failures
    return without_hints(log)


# --- death ------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("G8")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("wanted", [False, True], ids=["deleting", "saving"])
def test_g8_trimming_dies_at_every_call_that_changes_the_store(when: str, wanted: bool, fault: Figures) -> None:
    """The state stays the same, and the next trimming comes to the same end."""
    undisturbed = lived()
    trim(undisturbed, wanted=wanted)
    end, places = of_the_end(undisturbed, wanted), 0
    for at in itertools.count(step=fault.count(quick=5, full=1)):
        log = lived()
        dying = FaultyStore.dying(log.store, at=at, when=when)
        try:
            trim(log, store=dying, wanted=wanted)
        except SimulatedCrash:
            judge(log, saved=wanted)
        root = log.open(None).state.root
        trim(log, wanted=wanted and root is not None and root.number == SECOND)
        assert of_the_end(log, wanted) == end
        assert verify(log.store, level="objects").findings == ()
        if dying.mutations <= at:
            break
        places += 1
    print(f"{places} calls of {dying.mutations}, dead {when} each")
    assert dying.mutations > 15
    fault.figures(places=places)


def of_the_end(log: LongLog, saved: bool) -> set[str]:
    """What is left of the log, and of documents, whose names tell when a state was saved."""
    return {name for name in objects_of(log) if name.startswith(("log/",) if saved else ("log/", "doc/"))}


def judge(log: LongLog, *, saved: bool) -> None:
    """Whoever comes new without a hint sees what the whole log says, and so does who judges."""
    fresh, whole = without_hints(log.copy()).open(None).state, lived().open(None).state
    if saved and fresh.head > whole.head:
        fresh = replace(fresh, head=whole.head, head_digest=whole.head_digest, root=whole.root)
    assert fresh == whole
    assert same_state(reader_of(log.store), log.open(None))  # type: ignore[arg-type]


# --- the end of the log -----------------------------------------------------------------------------------------------


class Endless(MemoryStore):
    """Says what is there of a trimmed log, and counts the questions."""

    def __init__(self, head: int, kept_from: int) -> None:
        super().__init__()
        self.end, self.kept_from, self.asked = head, kept_from, 0

    def there(self, number: int) -> bool:
        self.asked += 1
        return number <= self.end and (number >= self.kept_from or number % roots.MILESTONE == 0)

    def head(self, name: str) -> ObjectInfo:
        number = log_number(name)
        if number is None or not self.there(number):
            raise ObjectNotFound(name)
        return ObjectInfo(name, 1)


@pytest.mark.fault("G8")
def test_g8_the_head_is_found_without_a_hint(real: None, fault: Figures) -> None:
    """In at most 40 questions, by whoever knows nothing, and by whoever has been away."""
    dice = random.Random(8)
    searches = fault.count(quick=300, full=20_000)
    most = 0
    for _ in range(searches):
        head = int(10 ** dice.uniform(0, 7))
        log = Endless(head, dice.randint(0, head) // roots.MILESTONE * roots.MILESTONE)
        known = -1 if dice.random() < 0.5 else dice.randrange(head + 1) // roots.MILESTONE * roots.MILESTONE
        assert chain.find_head(log, known) == head
        most, log.asked = max(most, log.asked), 0
        assert roots.find_head(log.there) == head
        most = max(most, log.asked)
    print(f"{most} questions at most")
    assert most <= 40
    fault.figures(searches=searches)


@pytest.mark.fault("G8")
def test_g8_a_log_of_the_real_distance_is_trimmed_and_read(real: None, fault: Figures) -> None:
    log = long_log(4200)
    log.backup(name="second")
    log.open().save_state(started=STARTED)
    log.backup(name="third")
    log.clock.advance(days=30)
    whole = log.open(None).state
    assert trim(log).deleted_commits == 4095
    without_hints(log)
    asked: list[str] = []

    def get(name: str) -> bytes | None:
        asked.append(name)
        return objects_of(log).get(name)

    fresh = log.open(None)
    assert fresh.state == whole
    assert Reader.open(get).head == whole.head and same_state(reader_of(log.store), fresh)  # type: ignore[arg-type]
    assert sum(name.startswith("log/") for name in asked) <= 40
    fault.figures(commits_deleted=4095)


# --- forgeries --------------------------------------------------------------------------------------------------------

STRANGER = SigningKey(bytes(range(200, 232)))
Forge = Callable[[LongLog], None]


def put_commit(log: LongLog, key: SigningKey | None, *, document: str | None = None, root: int | None) -> int:
    """At the end of the log, in form right: an `epoch`, or with `document` a `state`."""
    reader = log.open(None)
    state = reader.state
    change = RaiseEpoch(state.epoch + 1) if document is None else SaveState(document)
    commit = Commit(
        seq=state.head + 1,
        prev=state.head_digest,
        kind=KIND_OF[type(change)],
        writer="ab" * 16,
        epoch=state.epoch,
        started=STARTED,
        finished=STARTED,
        tool="nobody",
        change=change,
        root=root,
    )
    if key is not None:
        commit = replace(commit, signature=Signature(key.id, key.sign(signed_text(reader.id, unsigned_text(commit)))))
    log.store.put_new(log_name(commit.seq), encode_commit(commit))
    return commit.seq


def made_up(log: LongLog, key: SigningKey) -> str:
    """Documents of a state in which there never was a backup, and an admin more."""
    state = log.open(None).state
    trusted = (*state.trusted, key.trusted(ADMIN, "me"))
    return publish_state(log.store, replace(state, points=Shared(()), trusted=trusted, root=None), None).document


def saves(key: SigningKey | None, *, root: int | None = SECOND) -> Forge:
    """A `state` commit about what is made up."""
    return lambda log: put_commit(log, key, document=made_up(log, STRANGER), root=root) and None


def names(root: int | None, key: SigningKey | None) -> Forge:
    return lambda log: put_commit(log, key, root=root) and None


def saves_and_is_named(key: SigningKey) -> Forge:
    def forge(log: LongLog) -> None:
        put_commit(log, key, root=put_commit(log, key, document=made_up(log, STRANGER), root=SECOND))

    return forge


def brings_back_documents(log: LongLog) -> None:
    """And the commit that saved the oldest state: whoever kept them can create them again."""
    for name, data in objects_of(_lived()).items():
        if name not in objects_of(log) and (name.startswith("doc/") or name == log_name(OLDEST)):
            log.store.put_new(name, data)
    for key in (None, WRITER_KEY, STRANGER):
        put_commit(log, key, root=OLDEST)


def puts_a_copy_where_it_was_trimmed(log: LongLog) -> None:
    log.store.put_new(log_name(5), objects_of(log)[log_name(SECOND)])
    put_commit(log, WRITER_KEY, root=5)


def puts_it_all_back_but_one(log: LongLog) -> None:
    """Commits that were trimmed lie there again, so that a log from commit 0 on seems to be there, but for a hole."""
    for number in range(1, SECOND - 3):
        if log_name(number) not in objects_of(log):
            log.store.put_new(log_name(number), objects_of(_lived())[log_name(number)])
    put_commit(log, WRITER_KEY, root=None)


FORGERIES: dict[str, Forge] = {
    "signed by nobody": saves(None),
    "signed by nobody, no root before": saves(None, root=None),
    "signed by a writer": saves(WRITER_KEY),
    "signed by an admin of its own making": saves(STRANGER),
    "named by the next commit": saves_and_is_named(WRITER_KEY),
    "named by a stranger": saves_and_is_named(STRANGER),
    "no root at all": names(None, WRITER_KEY),
    "no root at all, signed by nobody": names(None, None),
    "a root that is none": names(SECOND + 1, WRITER_KEY),
    "a root that was trimmed": names(3, WRITER_KEY),
    "an older root": names(FIRST, WRITER_KEY),
    "an older root and its documents": brings_back_documents,
    "a root in another slot": puts_a_copy_where_it_was_trimmed,
    "old commits brought back": puts_it_all_back_but_one,
}


@pytest.mark.fault("G8")
@pytest.mark.parametrize("forgery", FORGERIES)
def test_g8_forged_roots_are_refused(forgery: str, fault: Figures) -> None:
    """Commits that break a rule, for whoever comes new, without a hint."""
    log = trimmed()
    before = log.open(None).state
    FORGERIES[forgery](log)
    without_hints(log)
    fresh = log.open(None)
    state = fresh.state
    assert state.head > before.head and len(state.alarms) == len(before.alarms) + state.head - before.head
    assert replace(state, head=before.head, head_digest=before.head_digest, alarms=before.alarms) == before
    reader = reader_of(log.store)  # type: ignore[arg-type]
    assert same_state(reader, fresh) and reader.root == SECOND
    assert sorted(reader.alarms) == [alarm.number for alarm in state.alarms]
    log.backup(name="behind the forgery")
    assert same_state(reader_of(log.store), log.open(None))  # type: ignore[arg-type]
    fault.figures(forgeries=1)


@pytest.mark.fault("G8")
def test_g8_any_byte_of_a_root_is_changed(fault: Figures) -> None:
    """Whoever comes new is refused, and never told of another past."""
    log = trimmed()
    whole = seen_by(reader_of(log.store))  # type: ignore[arg-type]
    state = log.open(None).state
    dice = random.Random(8)
    flips = 0
    needed = [name for name in objects_of(log) if name.startswith("doc/") or name == log_name(SECOND)]
    for name in needed:
        data = objects_of(log)[name]
        for place in dice.sample(range(len(data)), fault.count(quick=2, full=50)):
            damaged = bytearray(data)
            damaged[place] ^= dice.randrange(1, 256)
            objects_of(log)[name] = bytes(damaged)
            try:
                assert log.open(None).state == state
            except CorruptionError:
                flips += 1
            try:
                assert seen_by(reader_of(log.store)) == whole  # type: ignore[arg-type]
            except (Broken, Corrupt):
                flips += 1
        objects_of(log)[name] = data
    assert flips > len(needed)
    fault.figures(changes_refused=flips)


@pytest.mark.fault("G8")
def test_g8_only_admins_that_the_reader_names_count() -> None:
    log = trimmed()
    with pytest.raises(CorruptChain, match="does not count"):
        log.open(None, admins=frozenset({STRANGER.public}))
    with pytest.raises((Broken, Corrupt)):
        Reader.open(objects_of(log).get, admins={STRANGER.public})
    assert log.open(None, admins=frozenset({ADMIN_KEY.public})).state == log.open(None).state
    assert Reader.open(objects_of(log).get, admins={ADMIN_KEY.public}).root == SECOND
