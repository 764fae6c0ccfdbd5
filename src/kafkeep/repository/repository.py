"""The facade of the room: create, open, read the state, write packs, commit, read back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kafkeep.errors import CorruptObject, PlanRefused, PointNotFound, UsageError
from kafkeep.events import Committed, EventSink, ignore
from kafkeep.logger import get_logger
from kafkeep.model import ChunkRef, OffsetRange, RecoveryPoint, RunRef
from kafkeep.repository import chain, nouns
from kafkeep.repository.beginning import Log
from kafkeep.repository.cache import CommitCache
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.changes import KIND_OF, Change, SaveState
from kafkeep.repository.creation import create
from kafkeep.repository.drafts import CommitOutcome, Draft, Fitted, brought, commit_of, fit
from kafkeep.repository.envelope import TooLarge
from kafkeep.repository.finding import find_point
from kafkeep.repository.fold.settling import Limits
from kafkeep.repository.folding import recovery_point
from kafkeep.repository.format import (
    MANY,
    SINGLE,
    Commit,
    RepositoryDocument,
    Slot,
    encode_commit,
    read_slot,
    unsigned_text,
)
from kafkeep.repository.objects import read_repository_document, stored_pages
from kafkeep.repository.pack import PackWriter
from kafkeep.repository.packing import Randomness
from kafkeep.repository.page_store import Source
from kafkeep.repository.reader import PackReader, chunk_coverage
from kafkeep.repository.remembering import TOOL, Remembered
from kafkeep.repository.roots import SavedState
from kafkeep.repository.rules import Judgement, judge
from kafkeep.repository.saving import save_state
from kafkeep.repository.shelf import Shelf
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.single import SingleWriterStore
from kafkeep.repository.trust import Signature, TrustedKey, admins_of, is_trusted_report, report_text, signed_text
from kafkeep.repository.unlocking import StateSealer, unlocked
from kafkeep.repository.views import PointView

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Access, Keyring, NewEncryption
    from kafkeep.repository.signing import SigningKey

log = get_logger(__name__)


class Repository(Shelf):
    """An open repository. All methods may be called from many threads; a `PackWriter` belongs to one.

    `about` is the repository document. `state` is what the commits read so far say; `refresh` and `commit` move it on.
    Old states and the recovery points in them stay true.
    """

    def __init__(
        self,
        store: Store,
        document: RepositoryDocument,
        *,
        now: Callable[[], datetime],
        rng: Randomness,
        cache: CommitCache | None = None,
        sink: EventSink = ignore,
        pause: Callable[[float], None] = time.sleep,
        keyring: Keyring | None = None,
        signing_key: SigningKey | None = None,
        limits: Limits = Limits(),
        admins: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(store, document.id, seal=None if keyring is None else keyring.seal, now=now, rng=rng)
        self.keyring = keyring
        self._signing_key = signing_key
        self.about = document
        self._sink = sink
        self._pause = pause
        self._writer = rng.randbytes(16).hex()
        self._lock = threading.RLock()
        self._limits = limits
        self.acceptable = admins or frozenset(key.public for key in document.admins)
        """Public keys of those at whose saved states a host begins that remembers nothing."""
        self._remembered = Remembered(cache, self.seal, limits, _pages_in(store, document))
        self._log = Log(
            store,
            document,
            self._remembered,
            seal=self.seal,
            acceptable=self.acceptable,
            learned=self._forget_keys,
        )
        self._reader = PackReader(store, document.id, seal=self.seal, opener=keyring)

    @classmethod
    def init(
        cls,
        store: Store,
        *,
        now: Callable[[], datetime],
        rng: Randomness,
        compression: str = "zstd",
        sink: EventSink = ignore,
        chunk_bytes: int | None = None,
        pack_bytes: int | None = None,
        encryption: NewEncryption | None = None,
        access: Access | None = None,
        writers: str = MANY,
        admins: tuple[TrustedKey, ...] = (),
    ) -> Repository:
        """Create a repository; finishes one whose creation was interrupted, with the settings chosen then.

        `access` is what opens it then; one that was just created needs none. `writers` single: for a store that replaces
        what it is to create. Raises `RepositoryExists`, `StoreNotCreateOnly` when the store does not keep what it holds,
        `HeldByAnotherWriter`, `KeyRefused`, `StoreError`.
        """
        made = create(
            store,
            now=now,
            rng=rng,
            compression=compression,
            chunk_bytes=chunk_bytes,
            pack_bytes=pack_bytes,
            encryption=encryption,
            writers=writers,
            admins=admins,
        )
        if made is not None and access is not None:
            made = replace(made, signing_key=access.signing_key)
        return cls.open(store, now=now, rng=rng, sink=sink, access=access if made is None else made)

    @classmethod
    def open(
        cls,
        store: Store,
        *,
        now: Callable[[], datetime],
        rng: Randomness,
        cache_dir: Path | None = None,
        sink: EventSink = ignore,
        pause: Callable[[float], None] = time.sleep,
        access: Access | None = None,
        limits: Limits = Limits(),
        admins: frozenset[str] = frozenset(),
    ) -> Repository:
        """Read the commit log to its end; `access` opens a repository that is encrypted. Without `cache_dir` what is too
        much for memory goes into a temporary file. `admins`: public keys of the only ones at whose saved states reading
        may begin, besides those whom this host remembers; none: the admins of the repository document.

        Raises `RepositoryNotFound`, `UnknownFormat`, `KeyRefused`, `CorruptObject`, `CorruptChain`, `StoreError`, and
        `UsageError` for a signing key where commits are not signed.
        """
        document = read_repository_document(store)
        if document.writers == SINGLE and not isinstance(store, SingleWriterStore):
            store = SingleWriterStore(store, rng.randbytes(16).hex(), pause=pause)
        keyring = unlocked(store, document, access)
        signing_key = None if access is None else access.signing_key
        if signing_key is not None and not document.admins:
            raise UsageError(
                f"commits of {store.url} are not signed, and a signing key was given for it",
                hint="Leave the key out; or check that this is the repository you mean.",
            )
        seal = None if keyring is None else keyring.seal
        cache = None
        if cache_dir is not None:
            source = _pages_in(store, document)
            cache = CommitCache(cache_dir, document.id, store.url, seal=seal, pause=pause, source=source)
        repository = cls(
            store,
            document,
            now=now,
            rng=rng,
            cache=cache,
            sink=sink,
            pause=pause,
            keyring=keyring,
            signing_key=signing_key,
            limits=limits,
            admins=admins,
        )
        repository._log.load()
        return repository

    @property
    def state(self) -> State:
        """The fold over the commits read so far."""
        return self._log.state

    @property
    def _state(self) -> State:
        return self._log.state

    def close(self) -> None:
        """Close the cache and the store. States that were handed out can still be read, as far as their pages are here."""
        self._log.state = self._remembered.keep(self._state, at_rest=True)
        self._remembered.close()
        self._reader.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the chain -------------------------------------------------------------------------------------------

    def refresh(self) -> State:
        """Read what others committed since. Raises `CorruptChain`, `StoreError`."""
        with self._lock:
            self._log.refresh()
            return self._state

    def _forget_keys(self, state: State) -> None:
        if self.keyring is not None:
            self.keyring.forget(state.keys)

    def _signed(self, commit: Commit) -> Commit:
        """With our signature, where commits are signed. Raises `KeyRefused` when ours is not enough for it."""
        if not self.about.admins:
            return commit
        key = self._signing_key_for(commit.kind)
        value = key.sign(signed_text(self.id, unsigned_text(commit)))
        return replace(commit, signature=Signature(key.id, value))

    def _signature(self, report: Mapping[str, object]) -> Signature | None:
        key = self._signing_key
        return None if key is None else Signature(key.id, key.sign(report_text(self.id, report)))

    def _signing_key_for(self, kind: str) -> SigningKey:
        from kafkeep.repository.signing import allowed  # loads cryptography

        return allowed(self._signing_key, self._state.trusted, kind, self.store.url)

    def _encode_checked(self, commit: Commit) -> tuple[bytes, Slot]:
        """The stored bytes and what they say, read back and compared before anything is written."""
        data = encode_commit(commit, self.seal)
        slot = read_slot(data, commit.seq, commit.prev, "the commit to be written", self.seal)
        if slot.commit != commit:
            raise ValueError(f"a draft that cannot be stored as it is: {slot.defect or 'it reads back as another one'}")
        return data, slot

    def commit(self, draft: Draft) -> CommitOutcome:
        """Commit what fits of the draft at the next free number; durable when the call returns.

        After a lost race the winner is applied and what no longer fits is dropped, run by run (`drafts.fit`). A draft that
        is too large for one commit is committed in several, in the order of its packs, its point with the last. Raises
        `WrongCluster`, `UnknownFormat` when this version may not write here, `StoreError` (retryable: the outcome is
        open), ValueError for a draft that breaks a rule by itself or cannot be stored.
        """
        self.about.require("append", self.store.url)
        with self._lock:
            while True:
                fitted = fit(self._state, self._with_keys(draft))
                if fitted.empty:
                    return CommitOutcome(
                        number=None, commit=None, accepted_runs=(), dropped_runs=fitted.dropped_runs, point=None
                    )
                commit = self._signed(commit_of(self._head_of_next(draft.started), draft, fitted))
                judgement = judge(self._state, commit)
                if judgement.reason is not None:
                    raise ValueError(f"a draft that can never be committed: {judgement.reason}")
                try:
                    encoded = self._encode_checked(commit)
                except TooLarge:
                    if len(draft.packs) < 2:
                        raise
                    return self._commit_halves(draft)
                if self._put_commit(commit, judgement, *encoded):
                    return self._committed(commit, fitted)

    def decide(self, change: Change, *, started: str) -> int:
        """Commit a change of what is kept at the next free number, which is returned; durable then.

        Raises `PlanRefused` when it breaks a rule by now, `UnknownFormat` when this version may not do it here, `StoreError`
        (retryable: the outcome is open).
        """
        self.about.require("prune", self.store.url)
        with self._lock:
            while (number := self._try(change, started)) is None:
                pass
            return number

    def _try(self, change: Change, started: str) -> int | None:
        """The number of its commit, None after a lost race. Raises as `decide`."""
        kind = KIND_OF[type(change)]
        commit = self._signed(replace(self._head_of_next(started), kind=kind, change=change))
        judgement = judge(self._state, commit)
        if judgement.reason is not None:
            raise PlanRefused(judgement.reason, hint="The repository has changed meanwhile: run the command again.")
        if not self._put_commit(commit, judgement, *self._encode_checked(commit)):
            return None
        chain.write_hint(self.store, self._state.head)
        log.info("committed", number=commit.seq, kind=commit.kind)
        return commit.seq

    def _put_commit(self, commit: Commit, judgement: Judgement, data: bytes, slot: Slot) -> bool:
        """Whether it is now in the log; else the state knows what is there instead. Raises `CorruptChain`, `StoreError`."""
        try:
            other = chain.put_commit(self.store, commit.seq, data, self._pause, milestones=bool(self.about.admins))
        except chain.Trimmed as error:
            log.info("the log went on", reason=str(error))
            return not self._log.refresh() or brought(self._state, commit)
        if other is None:
            self._log.extend(commit.seq, data, slot, judgement)
            return True
        log.info("lost a race for a commit", number=commit.seq)
        self._log.refresh()
        return False

    def _with_keys(self, draft: Draft) -> Draft:
        if self.keyring is None:
            return draft
        return replace(draft, topic_keys=(*draft.topic_keys, *self.keyring.made(self._state.keys)))

    def _commit_halves(self, draft: Draft) -> CommitOutcome:
        """Gaps and openings go with the first half that has room for them: what is there already is dropped."""
        half = len(draft.packs) // 2
        first = self.commit(replace(draft, kind="add", packs=draft.packs[:half], closed=(), point=None))
        second = self.commit(replace(draft, packs=draft.packs[half:]))
        return CommitOutcome(
            number=first.number if second.number is None else second.number,
            commit=first.commit if second.commit is None else second.commit,
            accepted_runs=first.accepted_runs + second.accepted_runs,
            dropped_runs=first.dropped_runs + second.dropped_runs,
            point=second.point,
        )

    def _head_of_next(self, started: str) -> Commit:
        """What a commit says before its body; the kind is the caller's."""
        return Commit(
            seq=self._state.head + 1,
            prev=self._state.head_digest,
            kind="add",
            writer=self._writer,
            epoch=self._state.epoch,
            started=started,
            finished=nouns.utc_text(self._now()),
            tool=TOOL,
            root=None if self._state.root is None else self._state.root.number,
        )

    def _committed(self, commit: Commit, fitted: Fitted) -> CommitOutcome:
        chain.write_hint(self.store, self._state.head)
        runs = tuple(run for pack in commit.packs for run in pack.runs)
        log.info("committed", number=commit.seq, kind=commit.kind, packs=len(commit.packs), runs=len(runs))
        self._sink(Committed(commit.seq, commit.kind, len(commit.packs), sum(run.facts.records for run in runs)))
        return CommitOutcome(
            number=commit.seq,
            commit=commit,
            accepted_runs=runs,
            dropped_runs=fitted.dropped_runs,
            point=recovery_point(commit),
        )

    def save_state(self, *, started: str) -> SavedState:
        """Make what all commits say together durable as documents, and commit that whoever comes new may begin there.

        They are read anew for it, from the state that was saved before or from commit 0, without the local cache, and
        compared with what is known here. Raises `CorruptChain` where that differs, `PlanRefused` where commits are not
        signed, or when others commit faster than this gets done, `KeyRefused` without an admin's key, `CorruptObject`,
        `UnknownFormat`, `StoreError` (retryable: the outcome is open).
        """
        with self._lock:
            self.check_may_decide("state")
            known = self.acceptable.union(admins_of(self._state))
            return save_state(self, known, self._limits, lambda document: self._try(SaveState(document), started))

    # --- packs -----------------------------------------------------------------------------------------------

    def check_may_add(self) -> None:
        """Before anything is uploaded that could not be committed. Raises `UnknownFormat`, `KeyRefused`."""
        self.about.require("append", self.store.url)
        if self.about.admins:
            self._signing_key_for("add")

    def check_may_decide(self, kind: str) -> None:
        """Before anything is done for a decision that could not be committed. Raises `UnknownFormat`, `KeyRefused`."""
        self.about.require("prune", self.store.url)
        if self.about.admins:
            self._signing_key_for(kind)

    def pack_writer(self) -> PackWriter:
        """A new pack, written with the epoch of the state at hand. Raises `UnknownFormat`, `StoreError`."""
        self.check_may_add()
        sealer = None if self.keyring is None else StateSealer(self.keyring, lambda: self._state.keys)
        return PackWriter(
            self.store.open_new(), self.about, epoch=self._state.epoch, now=self._now, rng=self._rng, sealer=sealer
        )

    def read_run(
        self,
        run: RunRef,
        *,
        start: int | None = None,
        stop: int | None = None,
        verify: bool = True,
        skip: Callable[[ChunkRef], bool] | None = None,
    ) -> Iterator[memoryview]:
        """Whole batches of a run as the broker sent them, chunk by chunk: those chunks that overlap `[start, stop)`, less
        those that `skip` is true for.

        The first and the last chunk may hold batches outside the range. Each chunk's digest is checked before it is
        handed out. Raises `CorruptObject` (naming pack, run and chunk), `StoreError`.
        """
        return self._reader.read(self._entry(run.pack), run, start, stop, verify=verify, skip=skip)

    def remembering_chunks(self) -> AbstractContextManager[None]:
        """While it lasts, a chunk that `read_run` has held against its digest is known again, and not hashed, when it is
        read once more: for work that checks everything before it does anything."""
        return self._reader.remembering(self._rng)

    def trusts(self, report: Mapping[str, object]) -> bool:
        """Whether a report counts as evidence: signed by somebody who is trusted, or where nothing is signed."""
        return is_trusted_report(self._state, report)

    def chunk_ranges(self, run: RunRef) -> tuple[tuple[OffsetRange, int], ...]:
        """For readers of a part: the offsets that each chunk of a run answers for, and its bytes as the broker sent them.

        Raises `CorruptObject`, `StoreError`.
        """
        index = self._reader.run_index(self._entry(run.pack), run)
        found = []
        for place, chunk in enumerate(index.chunks):
            start, stop = chunk_coverage(index, place)
            found.append((OffsetRange(start, max(start, stop)), chunk.raw_length))
        return tuple(found)

    def check_run_header(self, run: RunRef) -> None:
        """The bytes of a run that `read_run` never needs. Raises `CorruptObject`, `StoreError`."""
        self._reader.check_run_header(self._entry(run.pack), run)

    def _entry(self, pack: str) -> PackEntry:
        entry = self._state.packs.get(pack)
        if entry is None:
            raise CorruptObject(f"pack {pack} is named by no commit of {self.store.url}")
        return entry

    # --- recovery points -------------------------------------------------------------------------------------

    def points(self) -> tuple[RecoveryPoint, ...]:
        """All recovery points, oldest first."""
        return tuple(self._state.points)

    def point(self, spec: str, *, with_records: bool = True) -> RecoveryPoint:
        """A point by number, by name (the newest of that name), `latest`, or `@<RFC 3339 UTC>` (finished at or before).

        `with_records`: of points by time only those that hold records, not those of metadata alone. Imported ones are
        never meant by a time. Raises `PointNotFound`.
        """
        found = find_point(reversed(self.points()), spec, with_records=with_records)
        if found is None:
            raise PointNotFound(f"no recovery point {spec[:100]!r} in {self.store.url}")
        return found

    def view(self, point: RecoveryPoint) -> PointView:
        """What a point holds, partition by partition: runs and gaps cut to the point."""
        return self._state.view(point)


def _pages_in(store: Store, document: RepositoryDocument) -> Source | None:
    """Where pages of saved states are: only where commits are signed there are any."""
    return stored_pages(store) if document.admins else None
