"""The recipe of building a log anew: what is left of it, then what the packs themselves tell, then a recovery point.

Packs are found by listing them: besides the search for orphans the only place where a listing counts for something, for
there is no log that could tell. Each is proved by its own root, which stands in its trailer and begins its name.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

import kafkeep
from kafkeep.copying.run import copy_pack, put_same
from kafkeep.errors import (
    CorruptObject,
    ObjectNotFound,
    PlanRefused,
    RepositoryNotFound,
    UnknownFormat,
)
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.mending.filling import for_writing, read_log
from kafkeep.mending.newest_metadata import newest_metadata
from kafkeep.mending.rebuild_plan import LogStep, PackPart, RebuildPlan, RebuildResult, plan_steps
from kafkeep.model import Failure, PackRef, PartitionCut
from kafkeep.repository import chain, layout, names
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.changes import RaiseEpoch
from kafkeep.repository.drafts import Draft, PointDraft
from kafkeep.repository.envelope import digest
from kafkeep.repository.format import NO_COMMIT, Commit, RepositoryDocument, encode_commit, encode_repository
from kafkeep.repository.moving import PackMover, stored_chunks
from kafkeep.repository.objects import read_audit, read_repository_document
from kafkeep.repository.packing import Randomness
from kafkeep.repository.reader import read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import ObjectInfo, Store
from kafkeep.times import rfc3339

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Access

REBUILT: Final = "rebuilt"
"""Name of the recovery point, and kind of the report."""
_ANOTHER: Final = "Name an empty place, or the one where a rebuild of this repository was stopped."


def prepare(
    source: Store,
    target: Store | None,
    *,
    cluster_id: str | None = None,
    without: frozenset[str] = frozenset(),
    now: Callable[[], datetime],
    sink: EventSink = ignore,
) -> RebuildPlan:
    """Reads what is left of the log, and the footer of every pack that it does not name; changes nothing.

    `target` None builds in place, where the log has to be gone altogether. Packs in `without` are taken for unreadable.
    Raises `PlanRefused` when there is nothing wrong, when the target holds something else, or when nothing tells the
    cluster's id; `RepositoryNotFound`, `UnknownFormat`, `StoreError`.
    """
    document = read_repository_document(source)
    if document.encryption is not None:
        raise PlanRefused(
            "the log of an encrypted repository also tells which keys there are, which no pack does",
            hint="Only a copy brings it back: `kafkeep repair --from`.",
        )
    kept = read_log(source)
    base = _in_place(source, kept) if target is None else _base(source, target, document, kept)
    broken = _broken(source, kept)
    if broken is None and target is not None:
        raise PlanRefused(
            "nothing is wrong with the log", hint="`kafkeep copy` keeps a whole repository a second time."
        )
    sink(Stage("packs", "reading the footer of every pack that the log does not name"))
    packs, failures = _found_packs(source, document, base, without)
    steps, over = plan_steps(base, packs, only_young=bool(kept.points), time=rfc3339(now()))
    taken = {pack.name for step in steps for pack in (*step.packs, *step.stale)}
    chosen = newest_metadata(source, base, steps)
    known = _cluster(base.cluster_id, cluster_id, None if chosen.metadata is None else chosen.metadata.cluster_id)
    first = kept.head + 1 if target is not None else 0
    made = next((point.number for point in base.points if point.name == REBUILT and point.number >= first), None)
    return RebuildPlan(
        repository=document.id,
        source=source.url,
        target=source.url if target is None else target.url,
        broken="it is gone" if broken is None else broken,
        kept=kept.head,
        cluster_id=known,
        metadata=chosen.digest,
        metadata_why=chosen.why,
        steps=steps,
        over=over,
        unnamed=tuple(pack.name for pack in packs if pack.name not in taken),
        failures=failures,
        made=made,
        done=made is not None and (target is None or _is_repository(target)),
    )


def _cluster(*told: str | None) -> str:
    """The first that is known. Raises `PlanRefused`."""
    for known in told:
        if known is not None:
            return known
    raise PlanRefused(
        "nothing tells which cluster this repository is of",
        hint="Give --cluster-id: `kafka-cluster.sh cluster-id` tells it.",
    )


def _is_repository(store: Store) -> bool:
    try:
        read_repository_document(store)
    except RepositoryNotFound:
        return False
    return True


def _in_place(store: Store, kept: State) -> State:
    """Nothing, or what a rebuild that was stopped has made."""
    if kept.head < 0 and any(True for _ in store.list("log/")):
        raise PlanRefused("the log is damaged, not gone", hint="Build it anew in another place: --to.")
    if any(point.name != REBUILT for point in kept.points):
        raise PlanRefused("the log holds recovery points", hint="Build it anew in another place: --to.")
    return kept


def _base(source: Store, target: Store, document: RepositoryDocument, kept: State) -> State:
    """What the target's log will begin with: what is left of the source's, or what a rebuild that was stopped has made
    of it."""
    try:
        theirs = read_repository_document(target)
    except RepositoryNotFound:
        theirs = document
    if theirs.id != document.id:
        raise PlanRefused(f"{target.url} holds repository {theirs.id}, not {document.id}", hint=_ANOTHER)
    made = read_log(target)
    common = min(made.head, kept.head)
    if common >= 0 and chain.read_commit(target, common) != chain.read_commit(source, common):
        raise PlanRefused(f"commit {common} in {target.url} is not the source's", hint=_ANOTHER)
    return made if made.head > kept.head else kept


def _broken(store: Store, kept: State) -> str | None:
    """What shows that the log went on once; None when nothing does."""
    if kept.head < 0:
        return "no commit of it can be read"
    if chain.read_commit(store, kept.head + 1) is not None:
        return f"commit {kept.head + 1} cannot be read"
    hint = chain.read_hint(store)
    numbers = [number for info in store.list("log/") if (number := names.log_number(info.name)) is not None]
    last = max([*numbers, -1 if hint is None else hint])
    return f"commit {kept.head + 1} is missing, though there were {last + 1}" if last > kept.head else None


def _found_packs(
    store: Store, document: RepositoryDocument, base: State, without: frozenset[str]
) -> tuple[list[PackRef], tuple[Failure, ...]]:
    packs: list[PackRef] = []
    failures: list[Failure] = []
    for info in store.list("pack/"):
        if info.name in base.packs or info.name in base.swept or info.name in without:
            continue
        try:
            packs.append(_pack(store, info, document.id))
        except (CorruptObject, UnknownFormat, ObjectNotFound) as error:
            failures.append(Failure(info.name, error.slug, error.message))
    failures += [Failure(name, CorruptObject.slug, "a part of it is damaged") for name in sorted(without)]
    return packs, tuple(failures)


def _pack(store: Store, info: ObjectInfo, repository_id: str) -> PackRef:
    """A pack as a commit would name it, proved by the root in its trailer and its name."""
    what = f"pack {info.name}"
    parsed = names.parse_pack_name(info.name)
    if parsed is None:
        raise CorruptObject(f"{what} does not have the name of a pack")
    start = max(0, info.size - layout.TRAILER_SIZE)
    _, _, root = layout.decode_trailer(store.get(info.name, start, layout.TRAILER_SIZE), info.size, what)
    if root[:16] != parsed.h16:
        raise CorruptObject(f"{what}: its trailer does not fit its name")
    footer = read_footer(store, PackEntry(info.name, info.size, root, parsed.epoch, -1, ()), repository_id)
    keys = tuple(run.seal.topic_key for run in footer.runs if run.seal is not None)
    return PackRef(info.name, info.size, root, parsed.epoch, tuple(run.facts for run in footer.runs), keys)


def rebuild(
    source: Store,
    target: Store | None,
    plan: RebuildPlan,
    *,
    now: Callable[[], datetime],
    rng: Randomness,
    access: Access | None = None,
    sink: EventSink = ignore,
) -> RebuildResult:
    """Carries the plan out. Stopped anywhere, the next rebuild goes on from there; what was stopped in another place is no
    repository yet, because its document comes last.

    A pack that turns out to be damaged is left out, and the plan made anew without it. Raises `PlanRefused` when
    the target has changed meanwhile, and what the stores raise.
    """
    document = read_repository_document(source)
    where = for_writing(source if target is None else target, document, rng)
    failures: tuple[Failure, ...] = ()
    if target is not None:
        plan, failures = _bring(source, where, document, plan, now=now, rng=rng, sink=sink)
    _begin(source, where, document, plan, rng=rng, in_place=target is None)
    sink(Stage("log", f"{len(plan.steps)} commit(s)"))
    key = None if access is None else access.signing_key
    repository = Repository(where, document, now=now, rng=rng, sink=sink, signing_key=key)
    state = repository.refresh()
    builder = _Builder(repository, source, plan, now=now, rng=rng)
    for step in plan.steps:
        builder.commit(step)
    everything = (*plan.failures, *failures)
    point = builder.point(everything) if plan.made is None else plan.made
    if plan.made is None:
        repository.put_audit(REBUILT, _report(plan, point))
    put_same(where, names.REPOSITORY, encode_repository(document))
    chain.write_hint(where, repository.state.head)
    return RebuildResult(
        plan=plan,
        point=point,
        head=repository.state.head,
        packs=len(repository.state.packs) - len(state.packs),
        rewritten=builder.rewritten,
        failures=everything,
    )


def _bring(
    source: Store,
    target: Store,
    document: RepositoryDocument,
    plan: RebuildPlan,
    *,
    now: Callable[[], datetime],
    rng: Randomness,
    sink: EventSink,
) -> tuple[RebuildPlan, tuple[Failure, ...]]:
    """Packs, documents and reports, each checked on its way."""
    kept = read_log(source)
    readable = Repository(source, document, now=now, rng=rng)
    failures: list[Failure] = []
    sink(Stage("copy", f"{len(kept.packs) + len(plan.packs)} pack(s)"))
    for entry in kept.packs:
        if entry.runs:
            try:
                copy_pack(readable, target, entry)
            except CorruptObject as error:
                failures.append(Failure(entry.name, error.slug, error.message))
    while True:
        bad = _bring_packs(readable, target, plan)
        if not bad:
            break
        known = {failure.subject for failure in plan.failures}
        plan = prepare(
            source,
            target,
            cluster_id=plan.cluster_id,
            without=frozenset({*bad, *(name for name in known if name.startswith("pack/"))}),
            now=now,
        )
    for prefix in ("doc/", "audit/"):
        for info in source.list(prefix):
            try:
                put_same(target, info.name, _checked(source, info.name, document.id))
            except (CorruptObject, UnknownFormat) as error:
                failures.append(Failure(info.name, error.slug, error.message))
    return plan, tuple(failures)


def _bring_packs(source: Repository, target: Store, plan: RebuildPlan) -> set[str]:
    """Those that could not be brought whole. The ones that are rewritten are not brought at all."""
    bad: set[str] = set()
    for step in plan.steps:
        for pack in step.packs:
            try:
                copy_pack(source, target, _entry(pack))
            except CorruptObject:
                bad.add(pack.name)
    return bad


def _entry(pack: PackRef) -> PackEntry:
    return PackEntry(pack.name, pack.size, pack.blake3, pack.epoch, -1, pack.run_refs())


def _checked(store: Store, name: str, repository_id: str) -> bytes:
    data = store.get(name)
    if name.startswith("audit/"):
        read_audit(store, name, repository_id)
    elif names.document_name(digest(data)) != name:
        raise CorruptObject(f"{name} does not match the digest it is named by")
    return data


def _begin(
    source: Store, target: Store, document: RepositoryDocument, plan: RebuildPlan, *, rng: Randomness, in_place: bool
) -> None:
    """The commits that are kept, or a first one as `init` makes it."""
    if plan.kept >= 0:
        if not in_place:
            for number, data in chain.read_commits(source, 0, plan.kept):
                put_same(target, names.log_name(number), data)
        return
    if chain.read_commit(target, 0) is not None:
        return
    commit = Commit(
        seq=0,
        prev=NO_COMMIT,
        kind="init",
        writer=rng.randbytes(16).hex(),
        epoch=0,
        started=document.created,
        finished=document.created,
        tool=f"kafkeep {kafkeep.__version__}",
        repository=document,
    )
    put_same(target, names.log_name(0), encode_commit(commit))


class _Builder:
    def __init__(
        self,
        repository: Repository,
        source: Store,
        plan: RebuildPlan,
        *,
        now: Callable[[], datetime],
        rng: Randomness,
    ) -> None:
        self._repository = repository
        self._source = source
        self._plan = plan
        self._now = now
        self._rng = rng
        self._started = rfc3339(now())
        self.rewritten = 0

    def commit(self, step: LogStep) -> None:
        while self._repository.state.epoch < step.epoch:
            self._repository.decide(RaiseEpoch(self._repository.state.epoch + 1), started=self._started)
        packs: list[PackRef] = [*step.packs, *(self._rewrite(pack) for pack in step.stale)]
        outcome = self._repository.commit(
            Draft(
                cluster_id=self._plan.cluster_id,
                started=self._started,
                packs=tuple(packs),
                gaps=step.gaps,
                opened=step.opened,
                closed=step.closed,
            )
        )
        if outcome.dropped_runs:
            raise PlanRefused("the target has changed meanwhile", hint="Run the command again.")

    def _rewrite(self, pack: PackPart) -> PackRef:
        """The runs that count, byte for byte, in a pack of the epoch at hand."""
        self.rewritten += 1
        entry = _entry(pack)
        footer = read_footer(self._source, entry, self._repository.id)
        store, about = self._repository.store, self._repository.about
        with PackMover(
            store.open_new(), about, epoch=self._repository.state.epoch, now=self._now, rng=self._rng
        ) as mover:
            for index in pack.taken:
                run = footer.runs[index]
                mover.add(run, stored_chunks(self._source, pack.name, run))
            return mover.finish()

    def point(self, failures: tuple[Failure, ...]) -> int:
        """The recovery point over everything that is covered now."""
        state = self._repository.state
        cuts = tuple(
            PartitionCut(
                known.generation,
                known.next_offset,
                known.start,
                known.next_offset,
                known.next_offset,
                known.runs[-1].facts.leader_epochs[-1][0] if known.runs and known.runs[-1].facts.leader_epochs else -1,
            )
            for known in state.generations.values()
            if known.open
        )
        documents = () if self._plan.metadata is None else (("metadata", self._plan.metadata),)
        outcome = self._repository.commit(
            Draft(
                kind="recovery-point",
                cluster_id=self._plan.cluster_id,
                started=self._started,
                point=PointDraft(
                    name=REBUILT,
                    tags=((REBUILT, str(self._plan.kept + 1)),),
                    cuts=cuts,
                    documents=documents,
                    complete=not failures and not self._plan.gaps,
                    failures=failures,
                ),
            )
        )
        if outcome.point is None:
            raise PlanRefused("the target has changed meanwhile", hint="Run the command again.")
        return outcome.point.number


def _report(plan: RebuildPlan, point: int) -> dict[str, object]:
    return {
        "broken": plan.broken,
        "kept": plan.kept,
        "left_over": [[over.pack, over.index, over.why] for over in plan.over],
        "metadata": plan.metadata,
        "packs": [pack.name for pack in plan.packs],
        "point": point,
        "unreadable": [failure.subject for failure in plan.failures],
    }
