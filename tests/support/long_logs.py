"""Signed repositories with thousands of commits, made fast: small commits are signed and stored without folding any."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count, islice

from tests.support.repositories import Clock, Piece, backup, generation, piece

from kafkeep.repository.changes import KIND_OF, Change, RaiseEpoch
from kafkeep.repository.format import Commit, encode_commit, unsigned_text
from kafkeep.repository.keyring import Access, NewEncryption
from kafkeep.repository.names import MILESTONE, log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.trust import ADMIN, WRITER, Signature, Trust, signed_text

ADMIN_KEY, WRITER_KEY = SigningKey(bytes(range(1, 33))), SigningKey(bytes(range(33, 65)))
STARTED = "2026-11-20T10:00:00Z"
ORDERS, PAYMENTS = generation("orders"), generation("payments", 1)


def raised_epochs(state: State) -> Iterator[Change]:
    """Decisions without end that are valid one after the other, and need neither a point nor a pack."""
    return (RaiseEpoch(epoch) for epoch in count(state.epoch + 1))


def append_small(
    repository: Repository,
    key: SigningKey | None,
    commits: int,
    *,
    changes: Iterable[Change] | None = None,
    finished: str = STARTED,
) -> int:
    """So many commits behind what the open repository has folded, put into its store; the number of the last one.

    The caller sees to it that the head of `repository.state` is the end of the log, and refreshes it afterwards, or does
    not, when others are to read. `key` signs; None where commits are not signed.
    """
    from blake3 import blake3

    state = repository.state
    number, prev, epoch = state.head, state.head_digest, state.epoch
    root = state.root
    for change in islice(raised_epochs(state) if changes is None else changes, commits):
        number += 1
        commit = Commit(
            seq=number,
            prev=prev,
            kind=KIND_OF[type(change)],
            writer="ab" * 16,
            epoch=epoch,
            started=finished,
            finished=finished,
            tool="kafkeep of the tests",
            change=change,
            root=None if root is None else root.number,
        )
        if key is not None:
            value = key.sign(signed_text(repository.id, unsigned_text(commit)))
            commit = replace(commit, signature=Signature(key.id, value))
        data = encode_commit(commit, repository.seal)
        repository.store.put_new(log_name(number), data)
        prev = blake3(data).hexdigest()
        if isinstance(change, RaiseEpoch):
            epoch = change.epoch
    return number


@dataclass
class LongLog:
    """A signed repository in memory, its keys, and a clock that tests set."""

    store: Store = field(default_factory=MemoryStore)
    clock: Clock = field(default_factory=Clock)
    access: Access = field(default_factory=Access)
    """What else opens it, where it is encrypted."""
    seed: int = 0

    def create(self, encryption: NewEncryption | None = None) -> Repository:
        """Commit 0 trusts the admin, commit 1 the writer."""
        first = Repository.init(
            self.store,
            now=self.clock,
            rng=random.Random(self.seed),
            chunk_bytes=1000,
            encryption=encryption,
            admins=(ADMIN_KEY.trusted(ADMIN, "ops"),),
            access=replace(self.access, signing_key=ADMIN_KEY),
        )
        first.decide(Trust(WRITER_KEY.trusted(WRITER, "backup host")), started=STARTED)
        return first

    def open(self, key: SigningKey | None = ADMIN_KEY, *, store: Store | None = None, **options: object) -> Repository:
        """As a host with this signing key, which has no cache unless `cache_dir` says where."""
        self.seed += 1
        return Repository.open(
            self.store if store is None else store,
            now=self.clock,
            rng=random.Random(self.seed),
            pause=lambda seconds: None,
            access=replace(self.access, signing_key=key),
            **options,  # type: ignore[arg-type]
        )

    def grow_to(self, number: int, repository: Repository | None = None) -> None:
        """Small commits up to this number, by the admin."""
        opened = self.open() if repository is None else repository
        append_small(opened, ADMIN_KEY, number - opened.state.head)
        if repository is None:
            opened.close()

    def backup(self, *, name: str | None = None, repository: Repository | None = None) -> int:
        """A backup of both topics that goes on from what is covered; the number of its point."""
        writer = self.open(WRITER_KEY) if repository is None else repository
        outcome = backup(writer, next_pieces(writer), name=name)
        assert outcome.number is not None
        return outcome.number

    def copy(self) -> LongLog:
        """One of its own with the same objects."""
        assert isinstance(self.store, MemoryStore)
        other = LongLog(store=MemoryStore(), access=self.access, seed=self.seed + 1000)
        other.store.objects = dict(self.store.objects)  # type: ignore[attr-defined]
        return other


def next_pieces(repository: Repository, batches: int = 2) -> list[Piece]:
    """Runs of both topics that begin where the coverage ends."""
    known = repository.state.generations
    starts = {of: known[of].next_offset if of in known else 0 for of in (ORDERS, PAYMENTS)}
    return [piece(of, start, batches, seed=start) for of, start in starts.items()]


@cache
def _grown(head: int) -> LongLog:
    log = LongLog()
    log.create()
    log.backup(name="first")
    log.grow_to(head)
    return log


def long_log(head: int = 4200) -> LongLog:
    """A copy of a signed repository with one backup (commit 2) and small commits up to `head`, no root; made once for each
    number and process of tests.
    """
    return _grown(head).copy()


_COUNTING = (
    "kafkeep.repository.names",
    "kafkeep.repository.chain",
    "kafkeep.repository.beginning",
    "kafkeep.saved_states",
    "kafkeep.trimming.run",
    "kafkeep.verify.run",
    "kafkeep.mending.rebuilding",
    "kafkeep.mending.repairing",
    "kafkeep.retention.locks",
)


@contextmanager
def small_milestones(every: int = 8) -> Iterator[int]:
    """As if each `every`th commit were a milestone: a log of fifty commits can be trimmed several times over."""
    for name in _COUNTING:
        importlib.import_module(name)
    modules = [module for name, module in sys.modules.items() if name.startswith("kafkeep.")]
    counting = [module for module in modules if getattr(module, "MILESTONE", None) == MILESTONE]
    for module in counting:
        module.MILESTONE = every  # type: ignore[attr-defined]
    try:
        yield every
    finally:
        for module in counting:
            module.MILESTONE = MILESTONE  # type: ignore[attr-defined]
