"""Is the log whole? Its commits one after the other, and the saved states that stand for those that were trimmed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from kafkeep.errors import CorruptionError, CorruptObject, KeyRefused, ObjectNotFound
from kafkeep.logger import get_logger
from kafkeep.repository import chain
from kafkeep.repository.changes import SaveState
from kafkeep.repository.envelope import Kind, digest, object_limit, unwrap
from kafkeep.repository.fold.differences import difference
from kafkeep.repository.folding import fold
from kafkeep.repository.format import RepositoryDocument, Slot, read_slot
from kafkeep.repository.names import HINT_HEAD, MILESTONE, document_name, log_name, log_number, next_milestone
from kafkeep.repository.page_store import PageLost
from kafkeep.repository.roots import NotARoot, checked_root, layers_of
from kafkeep.repository.state import EMPTY, RootRef, State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.trust import admins_of
from kafkeep.state_reading import SavedDocuments, named_states, newest_saved
from kafkeep.verify.report import Finding

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

log = get_logger(__name__)

T = TypeVar("T")

MANY_COMMITS: Final = 256
_NOT_WHOLE: Final = (NotARoot, CorruptionError, PageLost)


class LogCheck:
    """One reading of the log. `acceptable`: public keys of those at whose saved states a reader may begin; `whole`: compare
    saved states with the commits before them down to every run and cut; `note` is told of objects and bytes that were read.
    """

    def __init__(
        self,
        store: Store,
        document: RepositoryDocument | None,
        seal: DocumentSeal | None,
        *,
        acceptable: Collection[str],
        whole: bool,
        note: Callable[[int, int], None],
    ) -> None:
        self._store = store
        self._document = document
        self._seal = seal
        self._acceptable = acceptable
        self._whole = whole
        self._note = note
        self._signed = document is not None and bool(document.admins)
        self.findings: list[Finding] = []
        self.saved: list[RootRef] = []
        """Saved states that were met: all of them have to be whole."""
        self.begins: int | None = None
        """The commit that saved the state at which reading had to begin, None where all commits were there."""

    def run(self, known: State) -> State:
        """The fold over all commits up to the first that is absent or damaged where none may be."""
        state, most = EMPTY, MANY_COMMITS
        if self._signed:
            state = replace(state, layers=layers_of(self._store, self._seal))
        while True:
            try:
                following = twice(partial(self._next_commits, state, most))
            except CorruptionError as error:
                if most > 1:
                    most = 1  # which of them it is
                    continue
                following = self._beyond(state, error)
                if following is None:
                    return state
                most = MANY_COMMITS
            except KeyRefused:
                if self._document is not None:
                    raise
                return state  # which keys it takes, only the damaged repository document could tell
            if following is None:
                following = self._saved_above(state)
            if following is None:
                break
            state = following
        if self._document is not None and state.repository != self._document:
            self.findings.append(Finding("kafkeep.json", "it is not the repository document that commit 0 holds"))
        self._check_milestones(state)
        self._check_end(state, known)
        return state

    def _next_commits(self, state: State, most: int) -> State | None:
        """The state after so many more commits, fewer where the log ends and behind one that saves a state; None where there
        is none. Many at a time because each fold copies the table of generations."""
        slots: list[Slot] = []
        size, prev = 0, state.head_digest
        while len(slots) < most:
            number = state.head + 1 + len(slots)
            data = chain.read_commit(self._store, number)
            if data is None:
                break
            slots.append(read_slot(data, number, prev, log_name(number), self._seal))
            size, prev = size + len(data), slots[-1].digest
            commit = slots[-1].commit
            if commit is not None and isinstance(commit.change, SaveState):
                break
        if not slots:
            return None
        following = fold(state, slots)
        self._note(len(slots), size)
        if following.root is not None and following.root.number == following.head:
            self._compare(following, following.root)
        return following

    # --- saved states ----------------------------------------------------------------------------------------------------

    def _compare(self, folded: State, saved: RootRef) -> None:
        """What was saved against what the commits say."""
        self.saved.append(saved)
        about = folded.repository
        if about is None:
            return
        known = {*self._acceptable, *admins_of(folded)}

        def look() -> str | None:
            found = checked_root(self._store, saved.number, about, known, self._seal)
            return difference(folded, found, pages=self._whole)

        name = document_name(saved.document)
        try:
            other = _settled(look)
        except _NOT_WHOLE as error:
            self.findings.append(Finding(name, f"the state saved by commit {saved.number} does not count: {error}"))
            return
        if other is not None:
            what = f"the state saved by commit {saved.number} is not what the commits before it say: {other} differs"
            self.findings.append(Finding(name, what))

    def _saved_above(self, state: State) -> State | None:
        """Where the next commit is absent because the log was trimmed: the oldest saved state above it that counts."""
        missing = state.head + 1
        milestone = next_milestone(missing)
        if not self._signed or self._document is None or missing % MILESTONE == 0 or missing < 1:
            return None
        if not chain.exists(self._store, milestone):
            return None
        about, seal = self._document, self._seal
        known = {*self._acceptable, *admins_of(state)}
        newest = newest_saved(self._store, about, known, seal, above=missing, refused=self._refused)
        if newest is None or newest.root is None:
            return None
        older = [each.ref for each in named_states(self._store, newest.root, seal) if each.number > missing]
        for saved in reversed(older):
            try:
                begun = checked_root(self._store, saved.number, about, known, seal)
            except NotARoot as error:
                log.info("saved state does not count", number=saved.number, reason=str(error))
                continue
            self.saved.append(saved)
            if self._is_whole(saved):
                self.begins = saved.number
                return begun
        return None

    def _is_whole(self, saved: RootRef) -> bool:
        """Whether every document is as it was written of a state that all else is built on."""
        found = []
        for reference in sorted(SavedDocuments(self._store, saved, self._seal).all()):
            try:
                self._note(1, twice(partial(self._read, reference)))
            except CorruptionError as error:
                found.append(Finding(document_name(reference), error.message))
        self.findings += found
        return not found

    def _read(self, reference: str) -> int:
        """The size of a document. Raises `CorruptObject`."""
        try:
            data = self._store.get(document_name(reference), 0, object_limit(Kind.STATE) + 1)
        except ObjectNotFound as error:
            raise CorruptObject("it is missing") from error
        if digest(data) != reference:
            raise CorruptObject("it does not match the digest it is named by")
        return len(data)

    def _refused(self, number: int, why: NotARoot) -> None:
        """A saved state does not count at which reading would begin."""
        for named in named_states(self._store, RootRef(number, ""), self._seal)[:1]:
            if named.ref not in self.saved:
                self.saved.append(named.ref)
                what = f"the state saved by commit {number} does not count: {why}"
                self.findings.append(Finding(document_name(named.document), what))

    def _beyond(self, state: State, error: CorruptionError) -> State | None:
        """Behind a commit that is damaged, the oldest saved state above it that counts. In a stretch that was trimmed it is
        what somebody left who did not know of that, and nothing is wrong."""
        damaged = state.head + 1
        begun = self._saved_above(state)
        if begun is None or all(chain.exists(self._store, number) for number in (damaged + 1, begun.head - 1)):
            self.findings.append(Finding(log_name(damaged), error.message))
        return begun

    def saved_documents(self) -> frozenset[str]:
        """Names of the documents of all saved states that were met."""
        met = (SavedDocuments(self._store, saved, self._seal).all() for saved in self.saved)
        return frozenset(document_name(reference) for each in met for reference in each)

    # --- the end ---------------------------------------------------------------------------------------------------------

    def _check_milestones(self, state: State) -> None:
        """Those below the saved state where reading began: they stay, because the end of the log is found by them."""
        if self.begins is None:
            return
        for number in range(MILESTONE, self.begins, MILESTONE):
            self._note(1, 0)
            try:
                twice(partial(self._milestone, number))
            except CorruptionError as error:
                self.findings.append(Finding(log_name(number), error.message))

    def _milestone(self, number: int) -> None:
        data = chain.read_commit(self._store, number)
        if data is None:
            raise CorruptObject("it is missing: every 4 096th commit stays, for the end of the log is found by them")
        found = unwrap(data, Kind.COMMIT, log_name(number), self._seal)
        if not isinstance(found, dict) or found.get("seq") != number:
            raise CorruptObject("it holds another commit")

    def _check_end(self, state: State, known: State) -> None:
        """Signs that the log once was longer: none of them is needed to read it, each shows that commits were lost."""
        following = log_name(state.head + 1)
        if known.head > state.head:
            self.findings.append(Finding(following, f"it is missing: the log was read up to {known.head} before"))
        hint = chain.read_hint(self._store)
        if hint is not None and hint > max(state.head, known.head):
            self.findings.append(Finding(following, f"it is missing: {HINT_HEAD} names commit {hint}"))
        numbers = [number for info in self._store.list("log/") if (number := log_number(info.name)) is not None]
        last = max(numbers, default=-1)
        # another writer may have gone on since the chain was read: what is there now counts only after a hole
        if last > state.head and chain.read_commit(self._store, state.head + 1) is None:
            self.findings.append(Finding(following, f"it is missing although commit {last} is there"))


def twice(read: Callable[[], T]) -> T:
    """The answer of the first read, or of the second when the first showed damage."""
    try:
        return read()
    except CorruptionError as error:
        log.info("damage looked at twice", reason=error.message)
        return read()


def _settled(look: Callable[[], str | None]) -> str | None:
    """What two looks both show."""
    try:
        found = look()
    except _NOT_WHOLE:
        return look()
    return None if found is None else look()
