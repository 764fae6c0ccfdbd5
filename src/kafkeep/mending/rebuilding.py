"""The recipe of building a log anew: what is left of it, then what the packs themselves tell, then a recovery point.

Packs are found by listing them: besides the search for orphans the only place where a listing counts for something, for
there is no log that could tell. Each is proved by its own root, which stands in its trailer and begins its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

import kafkeep
from kafkeep.copying.run import copy_pack, log_begins, put_commits, put_same
from kafkeep.errors import (
    CorruptObject,
    ObjectExists,
    ObjectNotFound,
    PlanRefused,
    RepositoryNotFound,
    UnknownFormat,
)
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.mending.filling import for_writing, read_log, whole_object
from kafkeep.mending.newest_metadata import newest_metadata
from kafkeep.mending.rebuild_keys import (
    KEYS,
    UNREADABLE,
    KeyObjects,
    changed_recipients,
    check_locked,
    gone_keys,
    opened_keys,
    topics_of_keys,
)
from kafkeep.mending.rebuild_log import REBUILT, LogBuilder, entry_of
from kafkeep.mending.rebuild_plan import (
    KeyPlan,
    LeftOver,
    LockedKey,
    LogStep,
    Lost,
    RebuildPlan,
    RebuildResult,
    plan_steps,
)
from kafkeep.model import Failure, PackRef
from kafkeep.records import dataclass
from kafkeep.repository import chain, layout, names
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.envelope import digest
from kafkeep.repository.format import NO_COMMIT, Commit, RepositoryDocument, encode_commit, encode_repository
from kafkeep.repository.objects import read_audit, read_repository_document
from kafkeep.repository.packing import Randomness
from kafkeep.repository.reader import read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import ObjectInfo, Store
from kafkeep.repository.topic_keys import TopicKey
from kafkeep.repository.unlocking import unlocked
from kafkeep.times import rfc3339

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Access, Keyring
    from kafkeep.repository.sealing import DocumentSeal
    from kafkeep.repository.signing import SigningKey

_ANOTHER: Final = "Name an empty place, or the one where a rebuild of this repository was stopped."


def prepare(
    source: Store,
    target: Store | None,
    *,
    cluster_id: str | None = None,
    without: frozenset[str] = frozenset(),
    leave_locked: bool = False,
    now: Callable[[], datetime],
    access: Access | None = None,
    admins: frozenset[str] = frozenset(),
    sink: EventSink = ignore,
) -> RebuildPlan:
    """Reads what is left of the log, and the footer of every pack that it does not name; changes nothing.

    `target` None builds in place, where the log has to be gone altogether. Packs in `without` are taken for unreadable.
    `access` opens a repository that is encrypted; with `leave_locked` runs become gaps whose keys it does not open.
    `admins`: public keys of the only ones whose saved states count; none: those of the repository document.
    Raises `PlanRefused` when there is nothing wrong, when the target holds something else, when nothing tells the
    cluster's id or a key does not open; `RepositoryNotFound`, `UnknownFormat`, `KeyRefused`, `StoreError`.
    """
    keyring = unlocked(source, read_repository_document(source), access)
    given = _Given(cluster_id, without, leave_locked, admins)
    return _planned(source, target, given, keyring, now=now, sink=sink)


@dataclass(frozen=True, slots=True)
class _Given:
    cluster_id: str | None
    without: frozenset[str]
    leave_locked: bool
    admins: frozenset[str] = frozenset()
    """Public keys of the only ones whose saved states count; none: those of the repository document."""


def _planned(
    source: Store,
    target: Store | None,
    given: _Given,
    keyring: Keyring | None,
    *,
    now: Callable[[], datetime],
    sink: EventSink = ignore,
) -> RebuildPlan:
    document = read_repository_document(source)
    seal = None if keyring is None else keyring.seal
    kept = read_log(source, seal, about=document, admins=given.admins)
    begins = log_begins(source, kept, seal)
    made = kept if target is None else read_log(target, seal, about=document, admins=given.admins)
    base = _in_place(source, kept) if target is None else _base(source, target, document, kept, made, begins)
    broken = _broken(source, kept)
    if broken is None and target is not None:
        raise PlanRefused(
            "nothing is wrong with the log", hint="`kafkeep copy` keeps a whole repository a second time."
        )
    sink(Stage("packs", "reading the footer of every pack that the log does not name"))
    packs, failures = _found_packs(source, document, base, given.without, seal)
    steps, over, keys = _steps(
        source, document, base, packs, keyring, only_young=bool(kept.points), time=rfc3339(now()), given=given
    )
    taken = {pack.name for step in steps for pack in (*step.packs, *step.stale)}
    chosen = newest_metadata(source, base, steps, seal)
    known = _cluster(base.cluster_id, given.cluster_id, None if chosen.metadata is None else chosen.metadata.cluster_id)
    first = kept.head + 1 if target is not None else 0
    point = next((point.number for point in base.points if point.name == REBUILT and point.number >= first), None)
    return RebuildPlan(
        repository=document.id,
        source=source.url,
        target=source.url if target is None else target.url,
        broken="it is gone" if broken is None else broken,
        kept=kept.head,
        begins=begins,
        cluster_id=known,
        metadata=chosen.digest,
        metadata_why=chosen.why,
        steps=steps,
        over=over,
        unnamed=tuple(pack.name for pack in packs if pack.name not in taken),
        failures=failures,
        keys=keys,
        signed=bool(document.admins),
        made=point,
        done=point is not None and (target is None or _is_repository(target)),
    )


def _steps(
    source: Store,
    document: RepositoryDocument,
    base: State,
    packs: Sequence[PackRef],
    keyring: Keyring | None,
    *,
    only_young: bool,
    time: str,
    given: _Given,
) -> tuple[tuple[LogStep, ...], tuple[LeftOver, ...], KeyPlan]:
    """The commits to be; of an encrypted repository also what they say of keys. A run that nobody opens may let
    another one count, whose key is opened then."""
    if document.encryption is None or keyring is None:
        steps, over = plan_steps(base, packs, only_young=only_young, time=time)
        return steps, over, KeyPlan()
    objects = KeyObjects.of(source)
    topics = topics_of_keys(base, packs)
    used = {key for pack in packs for key in pack.keys}
    lost: dict[str, Lost] = gone_keys(base, objects, used, document.encryption, keyring)
    gone = tuple((key, topics[key][0]) for key in lost)
    opened: dict[str, TopicKey] = {}
    locked: list[LockedKey] = []
    while True:
        steps, over = plan_steps(base, packs, only_young=only_young, time=time, lost=lost)
        more = opened_keys(base, steps, topics, objects, keyring, opened)
        if not more:
            break
        locked += more
        lost |= {each.key: Lost(UNREADABLE, f"topic key {each.key} was opened by nobody at hand") for each in more}
    if not given.leave_locked:
        check_locked(locked)
    named = {run.key for step in steps for pack in (*step.packs, *step.stale) for run in pack.run_refs()}
    brought = tuple(key for key in opened.values() if key.id in named)
    added, removed, unknown = changed_recipients(base, objects, brought, document.encryption, keyring)
    plan = KeyPlan(topic_keys=brought, gone=gone, locked=tuple(locked), added=added, removed=removed, unknown=unknown)
    return steps, over, plan


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


def _base(source: Store, target: Store, document: RepositoryDocument, kept: State, made: State, begins: int) -> State:
    """What the target's log will begin with: what is left of the source's, or what a rebuild that was stopped has made
    of it."""
    try:
        theirs = read_repository_document(target)
    except RepositoryNotFound:
        theirs = document
    if theirs.id != document.id:
        raise PlanRefused(f"{target.url} holds repository {theirs.id}, not {document.id}", hint=_ANOTHER)
    common = min(made.head, kept.head)
    if common < begins:
        common -= common % names.MILESTONE
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
    store: Store, document: RepositoryDocument, base: State, without: frozenset[str], seal: DocumentSeal | None
) -> tuple[list[PackRef], tuple[Failure, ...]]:
    packs: list[PackRef] = []
    failures: list[Failure] = []
    for info in store.list("pack/"):
        if info.name in base.packs or info.name in base.swept or info.name in without:
            continue
        try:
            packs.append(_pack(store, info, document.id, seal))
        except (CorruptObject, UnknownFormat, ObjectNotFound) as error:
            failures.append(Failure(info.name, error.slug, error.message))
    failures += [Failure(name, CorruptObject.slug, "a part of it is damaged") for name in sorted(without)]
    return packs, tuple(failures)


def _pack(store: Store, info: ObjectInfo, repository_id: str, seal: DocumentSeal | None) -> PackRef:
    """A pack as a commit would name it, proved by the root in its trailer and its name."""
    what = f"pack {info.name}"
    parsed = names.parse_pack_name(info.name)
    if parsed is None:
        raise CorruptObject(f"{what} does not have the name of a pack")
    start = max(0, info.size - layout.TRAILER_SIZE)
    _, _, root = layout.decode_trailer(store.get(info.name, start, layout.TRAILER_SIZE), info.size, what)
    if root[:16] != parsed.h16:
        raise CorruptObject(f"{what}: its trailer does not fit its name")
    footer = read_footer(store, PackEntry(info.name, info.size, root, parsed.epoch, -1, ()), repository_id, seal)
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
    admins: frozenset[str] = frozenset(),
    sink: EventSink = ignore,
) -> RebuildResult:
    """Carries the plan out. Stopped anywhere, the next rebuild goes on from there; what was stopped in another place is no
    repository yet, because its document comes last.

    A pack that turns out to be damaged is left out, and the plan made anew without it. Raises `PlanRefused` when
    the target has changed meanwhile, `KeyRefused` unless an admin signs where commits are signed, and what the stores raise.
    """
    document = read_repository_document(source)
    keyring = unlocked(source, document, access)
    key = None if access is None else access.signing_key
    _check_signer(source, document, keyring, key, admins)
    where = for_writing(source if target is None else target, document, rng)
    failures: tuple[Failure, ...] = ()
    if target is not None:
        readable = Repository(source, document, now=now, rng=rng, keyring=keyring)
        plan, failures = _bring(readable, where, plan, admins, now=now, sink=sink)
    _begin(source, where, document, plan, rng=rng, in_place=target is None)
    sink(Stage("log", f"{len(plan.steps)} commit(s)"))
    repository = Repository(
        where, document, now=now, rng=rng, sink=sink, keyring=keyring, signing_key=key, admins=admins
    )
    state = repository.refresh()
    builder = LogBuilder(repository, source, plan, now=now, rng=rng)
    everything = (*plan.failures, *failures)
    point = _build(builder, repository, plan, everything, encrypted=keyring is not None)
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


def _build(
    builder: LogBuilder,
    repository: Repository,
    plan: RebuildPlan,
    failures: tuple[Failure, ...],
    *,
    encrypted: bool,
) -> int:
    """Makes the commits of the plan; tells the recovery point at their end, which an earlier rebuild may have made."""
    for step in plan.steps:
        builder.commit(step)
    if plan.made is not None:
        return plan.made
    if encrypted:
        builder.end_keys()
    point = builder.point(failures)
    repository.put_audit(REBUILT, _report(plan, point))
    return point


def _check_signer(
    source: Store,
    document: RepositoryDocument,
    keyring: Keyring | None,
    key: SigningKey | None,
    admins: frozenset[str],
) -> None:
    """Before anything is brought: raises `KeyRefused` unless an admin signs, where commits are signed."""
    if not document.admins:
        return
    from kafkeep.repository.signing import allowed  # loads cryptography

    kept = read_log(source, None if keyring is None else keyring.seal, about=document, admins=admins)
    allowed(key, document.admins if kept.head < 0 else kept.trusted, REBUILT, source.url)


def _bring(
    readable: Repository,
    target: Store,
    plan: RebuildPlan,
    admins: frozenset[str],
    *,
    now: Callable[[], datetime],
    sink: EventSink,
) -> tuple[RebuildPlan, tuple[Failure, ...]]:
    """Keys, packs, documents and reports, each checked on its way."""
    source = readable.store
    kept = read_log(source, readable.seal, about=readable.about, admins=admins)
    failures = [*_bring_keys(source, target)]
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
        without = frozenset({*bad, *(name for name in known if name.startswith("pack/"))})
        given = _Given(plan.cluster_id, without, bool(plan.keys.locked), admins)
        plan = _planned(source, target, given, readable.keyring, now=now)
    for prefix in ("doc/", "audit/"):
        for info in source.list(prefix):
            try:
                put_same(target, info.name, _checked(source, info.name, readable.id, readable.seal))
            except (CorruptObject, UnknownFormat) as error:
                failures.append(Failure(info.name, error.slug, error.message))
    return plan, tuple(failures)


def _bring_packs(source: Repository, target: Store, plan: RebuildPlan) -> set[str]:
    """Those that could not be brought whole. The ones that are rewritten are not brought at all."""
    bad: set[str] = set()
    for step in plan.steps:
        for pack in step.packs:
            try:
                copy_pack(source, target, entry_of(pack))
            except CorruptObject:
                bad.add(pack.name)
    return bad


def _bring_keys(source: Store, target: Store) -> Iterator[Failure]:
    """Also those of recipients that the log does not name: whoever is added anew needs nothing wrapped then."""
    for info in source.list(KEYS):
        try:
            data = whole_object(source, info.name)
        except (CorruptObject, UnknownFormat) as error:
            yield Failure(info.name, error.slug, error.message)
            continue
        with suppress(ObjectExists):  # a key may be wrapped twice with other bytes that open to the same
            target.put_new(info.name, data)


def _checked(store: Store, name: str, repository_id: str, seal: DocumentSeal | None) -> bytes:
    data = store.get(name)
    if name.startswith("audit/"):
        read_audit(store, name, repository_id, seal)
    elif names.document_name(digest(data)) != name:
        raise CorruptObject(f"{name} does not match the digest it is named by")
    return data


def _begin(
    source: Store, target: Store, document: RepositoryDocument, plan: RebuildPlan, *, rng: Randomness, in_place: bool
) -> None:
    """The commits that are kept, or a first one as `init` makes it."""
    if plan.kept >= 0:
        if not in_place:
            put_commits(source, target, plan.begins, plan.kept, range(0, plan.begins, names.MILESTONE))
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


def _report(plan: RebuildPlan, point: int) -> dict[str, object]:
    return {
        "broken": plan.broken,
        "keys_gone": [list(each) for each in plan.keys.gone],
        "keys_locked": [each.key for each in plan.keys.locked],
        "kept": plan.kept,
        "left_over": [[over.pack, over.index, over.why] for over in plan.over],
        "metadata": plan.metadata,
        "packs": [pack.name for pack in plan.packs],
        "point": point,
        "unreadable": [failure.subject for failure in plan.failures],
    }
