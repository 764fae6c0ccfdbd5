"""The commits of an open repository as far as they were read, and what they say: where reading begins, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from kafkeep.errors import CorruptChain
from kafkeep.logger import get_logger
from kafkeep.repository import chain, names
from kafkeep.repository.collecting import without_collector
from kafkeep.repository.fold.settling import Limits
from kafkeep.repository.folding import fold
from kafkeep.repository.format import RepositoryDocument, Slot, read_slot
from kafkeep.repository.objects import stored_pages
from kafkeep.repository.page_store import PageLost
from kafkeep.repository.remembering import Remembered, RolledBack
from kafkeep.repository.roots import NotARoot, beginnings
from kafkeep.repository.rules import Judgement
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.trust import admins_of

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

log = get_logger(__name__)

BATCH: Final = 256
BATCH_BYTES: Final = 32 * 1024 * 1024
"""So many commits, or bytes of commits, are folded in one go."""
_HINT: Final = (
    "If the signer is an admin whom you know, name it under `admins` in the settings of the repository."
    " A copy of the repository may have what is missing."
)


class Log:
    """Reads on from what this host remembers, else from the saved state that the newest commits name, else from commit 0.

    `state` is what the commits read so far say. `acceptable` are the public keys of those at whose saved states reading may
    begin; the admins of a state that was read from the log before are so besides. `learned` is told each new state.
    """

    def __init__(
        self,
        store: Store,
        about: RepositoryDocument,
        remembered: Remembered,
        *,
        seal: DocumentSeal | None,
        acceptable: Collection[str],
        learned: Callable[[State], None] = lambda state: None,
    ) -> None:
        self._store = store
        self._about = about
        self._remembered = remembered
        self._seal = seal
        self._acceptable = frozenset(acceptable)
        self._learned = learned
        self.state = remembered.nothing
        self._begun = 0
        """How often reading began."""

    @property
    def _signed(self) -> bool:
        """Only where commits are signed are states saved and is the log trimmed."""
        return bool(self._about.admins)

    def load(self, upto: int | None = None) -> None:
        """Read the log to its end, or to commit `upto`. Raises `CorruptChain`, `StoreError`."""
        try:
            self._recall(upto)
            if upto is None:
                self._catch_up()
        except PageLost as error:
            self._start_over(error)
        if self.state.head < 0:
            raise CorruptChain(f"{self._store.url} has a repository document and no commit 0")
        if self.state.repository != self._about:
            raise CorruptChain(f"the commit log in {self._store.url} belongs to another repository")

    def refresh(self) -> bool:
        """Read what others committed since; True when reading began anew, as where the log was trimmed beyond what was known.

        Raises `CorruptChain`, `StoreError`.
        """
        before = self._begun
        self._catch_up()
        following, milestone = self.state.head + 1, names.next_milestone(self.state.head)
        if self._signed and milestone != following and chain.exists(self._store, milestone):
            self._go_on(CorruptChain(f"commit {following} is missing although commit {milestone} is there"))
        return self._begun != before

    def extend(self, number: int, data: bytes, slot: Slot | None = None, judgement: Judgement | None = None) -> None:
        """With a commit that lies in the store and follows what is known; `slot` is what it says, and `judgement` what the
        rules say of that after what is known, where there are such already.
        """
        try:
            self._fold_in([(number, data)], None if slot is None else [slot], judgement)
        except PageLost as error:
            self._start_over(error)

    # --- beginning -------------------------------------------------------------------------------------------

    def _recall(self, upto: int | None) -> None:
        try:
            self.state = self._remembered.recall(self._store, self._about, self._slots)
        except RolledBack as error:
            # what is remembered of a log that was trimmed is not there any more, and a saved state above it is
            if not self._signed or not error.may_be_trimmed:
                raise
            self._begin(error.number, error, known=() if error.state is None else admins_of(error.state))
            return
        if self.state.head < 0:
            self._begin(-1, None, upto)
            return
        try:
            self._read_to(chain.find_head(self._store, self.state.head))
        except CorruptChain as error:
            self._go_on(error)

    def _start_over(self, error: PageLost) -> None:
        """Losing what was remembered costs time only."""
        log.info("cache thrown away", reason=error.message)
        known = admins_of(self.state)
        self._remembered.forget()
        self.state = self._remembered.nothing
        self._begin(-1, None, known=known)
        self._catch_up()

    def _go_on(self, failure: CorruptChain) -> None:
        """At a saved state above what was read, because the log was trimmed up to there: what was read last may be what a
        writer left in an empty slot. Raises `failure` where there is none.
        """
        if not self._signed or not chain.exists(self._store, names.next_milestone(self.state.head)):
            raise failure
        self._begin(self.state.head, failure)

    def _begin(
        self, above: int, failure: CorruptChain | None, upto: int | None = None, *, known: Iterable[str] = ()
    ) -> None:
        """At the newest saved state that counts, of a commit above `above`, and to the head or `upto`; where `above`
        is -1, else at commit 0.

        Raises `failure`, or why none could be read on from; `state` is then what it was.
        """
        before, head = self.state, chain.find_head(self._store, -1) if upto is None else upto
        self._begun += 1
        refused: list[str] = []

        def told(number: int, why: NotARoot) -> None:
            log.warning("saved state does not count", number=number, reason=str(why))
            refused.append(str(why))

        acceptable = self._acceptable.union(known, admins_of(before))
        for begun in beginnings(
            self._store,
            self._about,
            acceptable,
            self._seal,
            self._remembered.nothing.layers,
            head,
            above=above,
            refused=told,
        ):
            self.state = begun
            if begun.root is not None:
                log.info("reading begins at a saved state", number=begun.head, head=head)
            try:
                self._read_to(head)
            except CorruptChain as error:
                failure = error if failure is None else failure
                continue
            if begun.root is not None:
                self.state = self._remembered.begun(self.state)
            return
        self.state = before
        if refused:
            why = "; ".join(refused)
            raise CorruptChain(
                f"the log in {self._store.url} begins at a saved state that does not count: {why}", hint=_HINT
            ) from failure
        if failure is not None:
            raise failure

    # --- going on --------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        try:
            while (data := chain.read_commit(self._store, self.state.head + 1)) is not None:
                self.extend(self.state.head + 1, data)
        except CorruptChain as error:
            self._go_on(error)

    def _read_to(self, head: int) -> None:
        waiting: list[tuple[int, bytes]] = []
        size = 0
        for number, data in chain.read_commits(self._store, self.state.head + 1, head):
            waiting.append((number, data))
            size += len(data)
            if len(waiting) >= BATCH or size >= BATCH_BYTES:
                self._fold_in(waiting)
                waiting, size = [], 0
        self._fold_in(waiting)
        self._keep(at_rest=True)

    def _fold_in(
        self,
        commits: list[tuple[int, bytes]],
        slots: Iterable[Slot] | None = None,
        judgement: Judgement | None = None,
    ) -> None:
        before = len(self.state.alarms)
        with without_collector():
            self.state = fold(self.state, self._slots(self.state, commits) if slots is None else slots, judgement)
        self._learned(self.state)
        for alarm in self.state.alarms[before:]:
            log.warning("commit counts for nothing", number=alarm.number, reason=alarm.reason)
        self._remembered.add(commits)
        self._keep(at_rest=False)

    def _keep(self, *, at_rest: bool) -> None:
        with without_collector():
            self.state = self._remembered.keep(self.state, at_rest=at_rest)

    def _slots(self, state: State, commits: Iterable[tuple[int, bytes]]) -> Iterator[Slot]:
        prev = state.head_digest
        for number, data in commits:
            slot = read_slot(data, number, prev, names.log_name(number), self._seal)
            prev = slot.digest
            yield slot


def read_anew(
    store: Store,
    about: RepositoryDocument,
    acceptable: Collection[str],
    seal: DocumentSeal | None,
    *,
    upto: int | None = None,
    limits: Limits = Limits(),
) -> Log:
    """The log up to its head, or to commit `upto`, from the saved state before that or from commit 0, as a host reads it that
    remembers nothing. Raises `CorruptChain`, `StoreError`.
    """
    found = Log(store, about, Remembered(None, seal, limits, stored_pages(store)), seal=seal, acceptable=acceptable)
    found.load(upto)
    return found


def fold_anew(
    store: Store,
    about: RepositoryDocument,
    acceptable: Collection[str],
    seal: DocumentSeal | None,
    upto: int,
    *,
    limits: Limits = Limits(),
) -> State:
    """What the commits up to `upto` say (`read_anew`)."""
    return read_anew(store, about, acceptable, seal, upto=upto, limits=limits).state
