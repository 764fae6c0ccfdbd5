"""From what a backup learnt to a recovery point, unless the newest one says the same already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from kafkeep.capture.look import Seen
from kafkeep.capture.plan import CapturePlan, PartitionPlan
from kafkeep.capture.reading import Reading
from kafkeep.capture.tombstones import reaches_its_end, unproven
from kafkeep.capture.whole import NOT_CONSISTENT, make_whole
from kafkeep.errors import HeldByAnotherWriter
from kafkeep.model import ClusterMetadata, Failure, Generation, HeldBack, PartitionCut, RecoveryPoint
from kafkeep.point_documents import STANDING, PointDocuments, wrap_point_documents
from kafkeep.records import dataclass
from kafkeep.repository.drafts import PointDraft
from kafkeep.repository.nouns import parse_time
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State

_MOST_REBASES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What a backup learnt besides records."""

    seen: Seen
    plan: CapturePlan
    started: datetime
    lost_partitions: bool
    """Some chosen partition was not read to its cut, or not at all."""
    failures: tuple[Failure, ...]


def gather(seen: Seen, plan: CapturePlan, started: datetime, reading: Reading, lost: Sequence[Failure]) -> Gathered:
    """To be called when the records are read; `lost` are the partitions that were not read to their cut."""
    return Gathered(
        seen=seen,
        plan=plan,
        started=started,
        lost_partitions=bool(plan.failures or lost or reading.deleted),
        failures=(*seen.failures, *plan.failures, *lost),
    )


def commit_point(
    reading: Reading,
    repository: Repository,
    parts: Sequence[PartitionPlan],
    gathered: Gathered,
    *,
    now: Callable[[], datetime],
) -> tuple[PointDraft, RecoveryPoint | None]:
    """Commits the point, unless it would say nothing that the newest one does not say already: then nothing at all is
    stored.
    """
    documents = _documents(repository, reading, gathered)
    stored = False
    for _ in range(_MOST_REBASES):
        draft = _draft(reading, repository.state, parts, gathered, documents)
        if not reading.pending and _says_the_same(repository, draft) and not _renews(draft, gathered, now()):
            return draft, None
        if not stored:
            documents.put(repository)
            stored = True
        outcome = reading.commit_point(draft)
        if outcome.point is not None:
            return draft, outcome.point
        reading.catch_up(parts)
    raise HeldByAnotherWriter(f"other writers committed first {_MOST_REBASES} times in a row")


def _documents(repository: Repository, reading: Reading, gathered: Gathered) -> PointDocuments:
    seen = gathered.seen
    there = tuple(topic for topic in seen.topics.topics if topic.name not in reading.deleted)
    metadata = ClusterMetadata(seen.survey.cluster_id, there, seen.groups.groups)
    settings = seen.settings
    return wrap_point_documents(
        repository,
        metadata,
        None if settings is None else (settings.inventory, settings.standing),
        seen.services.beside,
    )


def _draft(
    reading: Reading, state: State, parts: Sequence[PartitionPlan], gathered: Gathered, documents: PointDocuments
) -> PointDraft:
    options = gathered.seen.options
    covered = reading.covered()
    cuts = tuple(_cut(part, covered(part)) for part in parts)
    failures = (*gathered.failures, *documents.failures, *_unproven(cuts, reading, state, gathered))
    cuts, torn = _whole(cuts, gathered)
    failures = (*failures, *torn)
    return PointDraft(
        name=options.name,
        tags=options.tags,
        cuts=cuts,
        selection=(*options.topics, *(f"!{pattern}" for pattern in options.exclude)),
        documents=documents.names,
        consistency="partition" if gathered.seen.watched is None or torn else "transaction",
        complete=not failures,
        failures=failures,
    )


def _cut(part: PartitionPlan, covered_to: int) -> PartitionCut:
    stop = min(part.stop, covered_to)
    return PartitionCut(
        generation=part.generation,
        stop=stop,
        start=min(part.log_start, stop),
        high_watermark=part.high_watermark,
        last_stable_offset=part.last_stable_offset,
        leader_epoch=part.leader_epoch,
    )


def _whole(cuts: tuple[PartitionCut, ...], gathered: Gathered) -> tuple[tuple[PartitionCut, ...], tuple[Failure, ...]]:
    """The cuts with what they hold back; or as they are, with a failure, when transactions may be torn all the same."""
    watched = gathered.seen.watched
    if watched is None:
        return cuts, ()
    doubts = watched.doubts
    if gathered.lost_partitions:
        doubts = (*doubts, "not every partition was read")
    if not doubts:
        whole = make_whole(cuts, watched.ledger, watched.moments.producers)
        if not whole.doubts:
            return whole.cuts, ()
        doubts = whole.doubts
    return cuts, (Failure("transactions", NOT_CONSISTENT, "; ".join(doubts)),)


def _unproven(cuts: Sequence[PartitionCut], reading: Reading, state: State, gathered: Gathered) -> tuple[Failure, ...]:
    planned = {part.generation for part in gathered.plan.partitions}

    def since(generation: Generation) -> datetime:
        evidence = gathered.plan.evidence.get(generation)
        if evidence is not None:
            return evidence.since
        # One that history has opened meanwhile may be another writer's, who began earlier.
        known = None if generation in planned else state.generations.get(generation)
        return gathered.started if known is None else min(gathered.started, parse_time(known.opened_time))

    return unproven(
        cuts,
        since=since,
        read_at=reading.read_at,
        delete_retention_ms=gathered.seen.topics.delete_retention_ms,
    )


def _renews(draft: PointDraft, gathered: Gathered, now: datetime) -> bool:
    """True when the point would say nothing new of records, but that no deletion was missed until today: a compacted
    topic that rests would otherwise have to be read anew the next time something is written to it.
    """
    failed = {failure.subject for failure in draft.failures}
    limits = gathered.seen.topics.delete_retention_ms
    return any(
        gathered.plan.evidence[cut.generation].is_ageing(now, limits[cut.generation.topic])
        for cut in draft.cuts
        if cut.generation in gathered.plan.evidence
        and reaches_its_end(cut)
        and str(cut.generation.topic_partition) not in failed
    )


def _says_the_same(repository: Repository, draft: PointDraft) -> bool:
    """True when the newest point of this selection has the same ends, all that the documents say and the same failures,
    and any name or tags asked for.
    """
    before = next((point for point in reversed(repository.points()) if point.selection == draft.selection), None)
    if before is None or ((draft.name or draft.tags) and (before.name, before.tags) != (draft.name, draft.tags)):
        return False
    return (
        before.consistency == draft.consistency
        and _lasting(draft.documents) <= _lasting(before.documents)
        and _failed(before.failures) == _failed(draft.failures)
        and _same_ends(before.cuts, draft.cuts)
    )


def _same_ends(before: Sequence[PartitionCut], cuts: Sequence[PartitionCut]) -> bool:
    """In whatever order; but mostly it is the same, and ten thousand partitions are quicker compared than hashed."""
    return len(before) == len(cuts) and (
        all(map(_is_same_end, before, cuts)) or set(map(_end, before)) == set(map(_end, cuts))
    )


def _is_same_end(one: PartitionCut, other: PartitionCut) -> bool:
    return (
        one.stop == other.stop
        and one.start == other.start
        and one.generation == other.generation
        and one.held_back == other.held_back
    )


def _end(cut: PartitionCut) -> tuple[Generation, int, int, tuple[HeldBack, ...]]:
    return cut.generation, cut.start, cut.stop, cut.held_back


def _lasting(documents: tuple[tuple[str, str], ...]) -> frozenset[tuple[str, str]]:
    """How the cluster stood changes with every look at it: sizes of log directories, members of groups."""
    return frozenset((name, digest) for name, digest in documents if name != STANDING)


def _failed(failures: tuple[Failure, ...]) -> frozenset[tuple[str, str]]:
    """Messages may tell of addresses and attempts, which change while the failure stays the same."""
    return frozenset((failure.subject, failure.reason) for failure in failures)
