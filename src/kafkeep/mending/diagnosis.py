"""From what a verification finds to a plan: what is damaged, exactly which offsets are in doubt, and what would mend it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kafkeep.errors import CorruptObject, ObjectNotFound, PlanRefused, UnknownFormat
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.wire.batch import walk
from kafkeep.mending.filling import FilledStore, check_same, read_log, whole_object
from kafkeep.mending.plan import (
    CLUSTER,
    COPY,
    LOG,
    LOSE,
    MOVE,
    NONE,
    RUNS,
    DamagedObject,
    DamagedRun,
    RepairPlan,
)
from kafkeep.mending.refetching import available
from kafkeep.mending.sources import Sources
from kafkeep.model import RunRef
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.names import REPOSITORY
from kafkeep.repository.objects import read_repository_document
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.unlocking import unlocked
from kafkeep.verify.packs import PackCheck
from kafkeep.verify.report import Finding
from kafkeep.verify.run import verify

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Access, Keyring

_IN_PLACE: Final = "it cannot be overwritten: remove it from the store"


def prepare(
    store: Store,
    *,
    copy: Repository | None = None,
    cluster: Cluster | None = None,
    reason: str | None = None,
    packs: Sequence[str] = (),
    access: Access | None = None,
    admins: Collection[str] = (),
    sink: EventSink = ignore,
) -> RepairPlan:
    """Verifies the repository, log and all objects, or with `packs` the log and these, and says what would mend each
    finding; changes nothing. With `reason`, what nothing mends is to be declared lost. `access` opens an encrypted one.
    `admins`: public keys of the only ones whose saved states count; none: those of the repository document.

    Raises `PlanRefused` when `copy` is none, or a pack is not one of the repository, `RepositoryNotFound`,
    `UnknownFormat`, `StoreError`, and what the cluster raises when it cannot be reached at all.
    """
    if copy is not None:
        check_same(store, copy.store)
    filled = FilledStore(store, None if copy is None else copy.store)
    document = read_repository_document(filled)
    keyring = unlocked(filled, document, access)
    seal = None if keyring is None else keyring.seal
    filled.look_for_saved(document, seal, admins)
    report = verify(filled, level="chain" if packs else "objects", sink=sink, access=access, admins=admins)
    state = read_log(filled, seal, about=document, admins=admins)
    findings = [*report.findings]
    for name in packs:
        entry = state.packs.get(name)
        if entry is None:
            raise PlanRefused(f"{name[:100]} is no pack of this repository", hint="`kafkeep verify` names the packs.")
        findings += _of_pack(filled, entry, document.id, keyring)
    sink(Stage("means", "looking for what mends each finding"))
    sources = Sources(store, document.id, copy, seal)
    planner = _Planner(store, state, sources, copy, cluster, reason)
    return RepairPlan(
        repository=document.id,
        store=store.url,
        copy=None if copy is None else copy.store.url,
        head=state.head,
        damage=(*_of_log(filled), *planner.of(findings)),
        reason=reason,
    )


def _of_pack(store: Store, entry: PackEntry, repository_id: str, keyring: Keyring | None) -> list[Finding]:
    """What two reads both show."""

    def look() -> list[Finding]:
        return PackCheck(store, entry, repository_id, False, walk, keyring).run()

    first = look()
    second = look() if first else []
    return [finding for finding in first if finding in second]


def _of_log(filled: FilledStore) -> list[DamagedObject]:
    """Commits and the repository document that only the copy has whole."""
    found = [
        DamagedObject(
            object=name,
            what=("it is missing",),
            means=LOG if name == REPOSITORY and filled.from_log else COPY,
            why="commit 0 holds it" if name == REPOSITORY and filled.from_log else "the copy has it",
        )
        for name in sorted(filled.missing)
    ]
    found += [
        DamagedObject(
            object=name,
            what=("it is damaged",),
            means=NONE,
            why=f"{_IN_PLACE}, and repair puts it again, for it can be had",
        )
        for name in sorted(filled.damaged)
    ]
    return found


class _Planner:
    def __init__(
        self,
        store: Store,
        state: State,
        sources: Sources,
        copy: Repository | None,
        cluster: Cluster | None,
        reason: str | None,
    ) -> None:
        self._store = store
        self._state = state
        self._sources = sources
        self._copy = copy
        self._cluster = cluster
        self._reason = reason

    def of(self, findings: Sequence[Finding]) -> list[DamagedObject]:
        by_object: dict[str, list[Finding]] = {}
        for finding in findings:
            by_object.setdefault(finding.object, []).append(finding)
        return [self._object(name, found) for name, found in by_object.items()]

    def _object(self, name: str, findings: list[Finding]) -> DamagedObject:
        what = tuple(dict.fromkeys(finding.what for finding in findings))
        known = all(finding.known is not None for finding in findings)
        entry = self._state.packs.get(name)
        if entry is not None:
            return replace(self._pack(entry, findings, what), known=known)
        means, why = NONE, f"nothing at hand has it whole; {_IN_PLACE}"
        if name.startswith(("doc/", "key/")):
            means, why = self._single(name)
        elif name.startswith("audit/"):
            why = f"{_IN_PLACE}; nothing depends on a report"
        elif name.startswith("log/"):
            why = "the log cannot be read from here on: a copy mends it (--from), else `kafkeep rebuild`"
        return DamagedObject(object=name, what=what, means=means, why=why, known=known)

    def _single(self, name: str) -> tuple[str, str]:
        whole = self._copy is not None and _has_whole(self._copy.store, name)
        if not _is_absent(self._store, name):
            return NONE, f"{_IN_PLACE}" + (", and repair puts it again, for the copy has it" if whole else "")
        return (COPY, "the copy has it") if whole else (NONE, "no copy at hand has it")

    def _pack(self, entry: PackEntry, findings: list[Finding], what: tuple[str, ...]) -> DamagedObject:
        absent = _is_absent(self._store, entry.name)
        if absent and self._copy is not None and self._is_whole_there(self._copy, entry):
            return DamagedObject(object=entry.name, what=what, means=COPY, why="the copy has it")
        retired = [number for number, each in self._state.retirements.items() if entry.name in each.packs]
        if retired:
            why = f"commit {retired[0]} retired it: no recovery point needs it, and `kafkeep prune` gives it up in time"
            return DamagedObject(object=entry.name, what=what, means=NONE, why=why)
        doubtful = [run for run in entry.runs if any(_is_about(finding, run) for finding in findings)]
        runs = [self._run(entry, run) for run in doubtful]
        why = f"{len(runs)} of {len(entry.runs)} run(s) are in doubt"
        if all(run.means != NONE for run in runs):
            runs += [self._along(entry, run) for run in entry.runs if run not in doubtful]
        return DamagedObject(object=entry.name, what=what, means=RUNS, why=why, runs=tuple(runs))

    @staticmethod
    def _along(entry: PackEntry, run: RunRef) -> DamagedRun:
        return DamagedRun(
            pack=entry.name,
            index=run.index,
            generation=run.generation,
            coverage=run.coverage,
            doubt=(),
            means=MOVE,
            why="whole; it goes along, so that nothing depends on this pack any more",
        )

    @staticmethod
    def _is_whole_there(copy: Repository, entry: PackEntry) -> bool:
        return not _of_pack(copy.store, entry, copy.id, copy.keyring)

    def _run(self, entry: PackEntry, run: RunRef) -> DamagedRun:
        salvage = self._sources.salvage(entry, run)
        means, why = NONE, "no copy at hand has it whole" if self._copy is not None else "no copy is at hand (--from)"
        if salvage.whole:
            means, why = MOVE, "from the copy" if salvage.doubt else "its chunks are whole"
        elif self._cluster is not None:
            possible, why = available(self._cluster, run)
            means = CLUSTER if possible else NONE
        if means == NONE and self._reason is not None:
            means = LOSE
        return DamagedRun(
            pack=entry.name,
            index=run.index,
            generation=run.generation,
            coverage=run.coverage,
            doubt=salvage.doubt,
            means=means,
            why=why,
        )


def _is_about(finding: Finding, run: RunRef) -> bool:
    if finding.generation != run.generation or finding.coverage is None:
        return False
    return run.coverage.start <= finding.coverage.start and finding.coverage.stop <= run.coverage.stop


def _is_absent(store: Store, name: str) -> bool:
    """Whether the store says twice that it is absent."""
    for _ in range(2):
        try:
            store.head(name)
        except ObjectNotFound:
            continue
        return False
    return True


def _has_whole(store: Store, name: str) -> bool:
    try:
        whole_object(store, name)
    except (ObjectNotFound, CorruptObject, UnknownFormat):
        return False
    return True
