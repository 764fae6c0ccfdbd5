"""Is the repository whole? Reads the store itself, never a cache, and reports instead of raising.

Levels, each with all that the ones before it check:

* `chain`: repository document, every commit, its place in the chain, the rules of the fold; a saved state against them;
* `exist`: every pack and document that a commit names is there, a pack with its size;
* `objects`: every byte of every pack, document and report;
* `data`: every chunk opened, every batch's CRC, order and place, chunk index and run facts computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from kafkeep.errors import CorruptionError, CorruptObject, KeyRefused, ObjectNotFound, UnknownFormat
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned, ignore
from kafkeep.kafka.wire.batch import walk
from kafkeep.logger import get_logger
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.envelope import DOCUMENT_KINDS, digest, unwrap
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.keeping import shredded_topics
from kafkeep.repository.names import REPOSITORY, document_name
from kafkeep.repository.objects import read_audit, read_repository_document
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import EMPTY, State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.trust import admins_of
from kafkeep.repository.unlocking import unlocked
from kafkeep.verify.keys import key_findings
from kafkeep.verify.log import LogCheck, twice
from kafkeep.verify.packs import CheckBatches, PackCheck
from kafkeep.verify.quarantine import with_knowledge
from kafkeep.verify.report import LEVELS, Finding, VerifyReport, of_all_runs
from kafkeep.verify.rotation import Cursor, in_turn

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Access, Keyring
    from kafkeep.repository.sealing import DocumentSeal

log = get_logger(__name__)


def verify(
    repository: Repository | Store,
    *,
    level: str = "objects",
    sink: EventSink = ignore,
    check_batches: CheckBatches = walk,
    workers: int = 2,
    after: Cursor | None = None,
    is_over: Callable[[], bool] = lambda: False,
    access: Access | None = None,
    admins: Collection[str] = (),
) -> VerifyReport:
    """Check a repository, open or just its store: a store serves also when its commit log cannot be opened any more.

    The log is always checked whole. At the levels that read packs, those behind `after` are, until `is_over` says that the
    time is; documents and reports come last. `admins`: public keys of the only ones at whose saved states a reader begins;
    none: those of the repository document.

    Damage becomes findings. Raises `RepositoryNotFound`, `UnknownFormat` for a repository that this version must not
    judge, `KeyRefused` for an encrypted one that `access` (or the open repository) has not the keys for, `StoreError` when
    the store does not answer, ValueError for an unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"unknown level {level!r}")
    known = repository.state if isinstance(repository, Repository) else EMPTY
    store = repository.store if isinstance(repository, Repository) else repository
    check = _Check(store, sink, check_batches)
    document = check.repository_document()
    check.keyring = _keyring(repository, document, access, level)
    depth = LEVELS.index(level)
    if isinstance(repository, Repository):
        admins = repository.acceptable
    state = check.chain(document, known, admins=admins, whole=depth > 1)
    turn, done = in_turn(state.packs, after), 0
    if depth == 1:
        check.exist(state)
    elif depth > 1 and document is not None:
        done = check.packs(turn, document, data=depth == 3, workers=workers, is_over=is_over)
        if done == len(turn):
            check.documents(state, document)
    findings = tuple(dict.fromkeys(check.findings))
    if document is not None:
        findings = with_knowledge(store, document.id, findings, check.seal)
    return _report(level, check, state, findings, turn[:done], len(turn) - done if depth > 1 else 0, after)


def _report(
    level: str,
    check: _Check,
    state: State,
    findings: tuple[Finding, ...],
    done: Sequence[PackEntry],
    left: int,
    after: Cursor | None,
) -> VerifyReport:
    """`done`: the packs that were read, `left`: how many are for another time."""
    clean = not findings and not state.alarms and (after is None or after.clean)
    head = state.head if after is None else after.head
    cursor = after
    if left and done:
        cursor = Cursor(level, head, done[-1].number, done[-1].name, clean)
    return VerifyReport(
        level,
        state.head,
        check.seen,
        check.read,
        findings,
        tuple(state.alarms),
        left=left,
        cursor=cursor if left else None,
        whole_head=head if clean and not left and LEVELS.index(level) > 1 else None,
        shredded=shredded_topics(state),
        begins=None if check.log is None else check.log.begins,
    )


def _keyring(
    repository: Repository | Store, document: RepositoryDocument | None, access: Access | None, level: str
) -> Keyring | None:
    """The keys that this level needs."""
    if isinstance(repository, Repository):
        keyring = repository.keyring
    else:
        keyring = None if document is None else unlocked(repository, document, access)
    if level == "data" and keyring is not None and keyring.identity is None:
        raise KeyRefused(
            "the level data opens records, which takes an identity or a passphrase",
            hint="A writer key is enough for --level objects, which checks every byte.",
        )
    return keyring


class _Check:
    """One verification: what it saw, read and found."""

    def __init__(self, store: Store, sink: EventSink, check_batches: CheckBatches) -> None:
        self._store = store
        self._sink = sink
        self._check_batches = check_batches
        self.seen = 0
        self.read = 0
        self.findings: list[Finding] = []
        self.keyring: Keyring | None = None
        self.log: LogCheck | None = None

    @property
    def seal(self) -> DocumentSeal | None:
        return None if self.keyring is None else self.keyring.seal

    def _note(self, objects: int, size: int) -> None:
        self.seen += objects
        self.read += size

    # --- the chain ---------------------------------------------------------------------------------------------------

    def repository_document(self) -> RepositoryDocument | None:
        """The repository document, None (and a finding) when it is damaged."""
        self._note(1, 0)
        try:
            document = twice(lambda: read_repository_document(self._store))
        except CorruptionError as error:
            self.findings.append(Finding(REPOSITORY, error.message))
            return None
        document.require("verify", self._store.url)
        return document

    def chain(
        self, document: RepositoryDocument | None, known: State, *, admins: Collection[str], whole: bool
    ) -> State:
        """The fold over all commits up to the first that is absent or damaged."""
        self._sink(Stage("chain"))
        first = () if document is None else (key.public for key in document.admins)
        acceptable = {*(admins or first), *admins_of(known)}
        self.log = LogCheck(self._store, document, self.seal, acceptable=acceptable, whole=whole, note=self._note)
        state = self.log.run(known)
        self.findings += self.log.findings
        return state

    def _saved_documents(self) -> frozenset[str]:
        return frozenset() if self.log is None else self.log.saved_documents()

    # --- existence ---------------------------------------------------------------------------------------------------

    def exist(self, state: State) -> None:
        self._sink(Stage("exist"))
        for entry in state.packs:
            self._note(1, 0)
            size = self._size(entry.name)
            if size is None:
                self._found_pack(entry, "it is missing")
            elif size != entry.size:
                self._found_pack(entry, f"it is {size} bytes long, commit {entry.number} says {entry.size}")
        saved = self._saved_documents()
        for name in sorted({*saved, *(document_name(reference) for _, reference in _documents(state))}):
            self._note(1, 0)
            if self._size(name) is None:
                self.findings.append(Finding(name, "it is missing"))
        self.keys(state, whole=False)

    def keys(self, state: State, *, whole: bool) -> None:
        """Looks for the keys of an encrypted repository."""
        if self.keyring is not None:
            self._note((len(state.keys.topic_keys) + 1) * len(state.keys.recipients), 0)
        self.findings += self._settled(lambda: list(key_findings(self._store, state, whole=whole)))

    def _size(self, name: str) -> int | None:
        """Its size, None when the store says twice that it is absent."""
        for _ in range(2):
            try:
                return self._store.head(name).size
            except ObjectNotFound:
                continue
        return None

    def _found_pack(self, entry: PackEntry, what: str) -> None:
        self.findings += of_all_runs(entry, what)

    # --- objects and data ----------------------------------------------------------------------------------------------

    def packs(
        self,
        turn: Sequence[PackEntry],
        document: RepositoryDocument,
        *,
        data: bool,
        workers: int,
        is_over: Callable[[], bool],
    ) -> int:
        """Looks at packs in this order until the time is over, at one of them in any case; how many it came to."""
        self._sink(WorkPlanned("verify", len(turn), None, sum(entry.size for entry in turn)))
        self._sink(Stage("packs"))
        done = 0

        def check(entry: PackEntry) -> list[Finding] | None:
            if entry is not turn[0] and is_over():
                return None
            return self._settled(
                lambda: PackCheck(self._store, entry, document.id, data, self._check_batches, self.keyring).run()
            )

        with ThreadPoolExecutor(workers) as pool:
            for entry, found in zip(turn, pool.map(check, turn), strict=True):
                if found is None:
                    break
                done += 1
                self.findings += found
                self._note(1, entry.size)
                records = sum(run.facts.records for run in entry.runs)
                self._sink(Progress("verify", records, entry.size))
        return done

    def documents(self, state: State, document: RepositoryDocument) -> None:
        """Looks at all documents, also at those that no point names any more, and at all reports."""
        self._sink(Stage("documents"))
        kinds = {document_name(reference): kind for kind, reference in _documents(state)}
        listed = [info.name for info in self._store.list("doc/")]
        saved = self._saved_documents()
        for name in sorted({*kinds, *listed, *saved}):
            self.findings += self._settled(partial(self._document, name, kinds.get(name)))
        self.keys(state, whole=True)
        for name in [info.name for info in self._store.list("audit/")]:
            self.findings += self._settled(partial(self._audit, name, document.id))

    def _settled(self, check: Callable[[], list[Finding]]) -> list[Finding]:
        """What two reads both show."""
        first = check()
        if not first:
            return []
        second = check()
        log.info("damage looked at twice", first=len(first), second=len(second))
        return [finding for finding in first if finding in second]

    def _document(self, name: str, kind: str | None) -> list[Finding]:
        try:
            data = self._store.get(name)
        except ObjectNotFound:
            return [Finding(name, "it is missing")]
        self._note(1, len(data))
        if document_name(digest(data)) != name:
            return [Finding(name, "it does not match the digest it is named by")]
        if kind in DOCUMENT_KINDS:
            try:
                unwrap(data, DOCUMENT_KINDS[kind], name, self.seal)
            except (CorruptObject, UnknownFormat) as error:
                return [Finding(name, error.message)]
        return []

    def _audit(self, name: str, repository_id: str) -> list[Finding]:
        self._note(1, 0)
        try:
            read_audit(self._store, name, repository_id, self.seal)
        except ObjectNotFound:
            return []
        except (CorruptObject, UnknownFormat) as error:
            return [Finding(name, error.message)]
        return []


def _documents(state: State) -> list[tuple[str, str]]:
    """(kind, digest) of all documents that recovery points name, each once."""
    return sorted({reference for point in state.points for reference in point.documents})
