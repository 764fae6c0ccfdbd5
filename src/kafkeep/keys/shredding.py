"""Shredding: a commit that makes gaps of a topic's runs, then the end of the keys that opened them.

Packs stay as they are, for other topics' runs lie in them too; without the keys the bytes in between are noise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from kafkeep.errors import PlanRefused, UsageError
from kafkeep.events import EventSink, ignore
from kafkeep.keys.plan import ShredPlan, ShredResult
from kafkeep.keys.recipients import KEYS, delete_all, keys_of
from kafkeep.repository.keeping import shredded_topics
from kafkeep.repository.keyring import wrap_name
from kafkeep.repository.names import key_of
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.repository.topic_keys import Shred, TopicName, topic_of
from kafkeep.times import rfc3339


def prepare_shred(
    repository: Repository,
    topics: Collection[str],
    *,
    topic_ids: Collection[str] = (),
    reason: str,
    confirmed: bool,
) -> ShredPlan:
    """`topics` by name, with all of their ids unless some are given. Changes nothing.

    Raises `UsageError` for a topic that the repository holds no key of, and never shredded; `StoreError`.
    """
    keys_of(repository)
    state = repository.refresh()
    held = {key.topic for key in state.keys.topic_keys.values()}
    chosen = {topic for topic in held if topic[0] in topics and (not topic_ids or topic[1] in topic_ids)}
    _check_known(state, held, chosen, topics, topic_ids)
    runs = [run for entry in state.packs for run in entry.runs if topic_of(run.generation) in chosen]
    generations = {run.generation for run in runs}
    refusals = []
    if chosen and chosen == held and not confirmed:
        refusals.append(f"these are all topics of the repository; --i-mean-it {repository.id} confirms it")
    return ShredPlan(
        topics=tuple(sorted(chosen)),
        reason=reason,
        keys=tuple(sorted(key.id for key in state.keys.topic_keys.values() if key.topic in chosen)),
        runs=len(runs),
        records=sum(run.facts.records for run in runs),
        stored_bytes=sum(run.facts.stored_bytes for run in runs),
        points=tuple(
            point.number for point in state.points if any(cut.generation in generations for cut in point.cuts)
        ),
        left_over=_left_over(repository, state),
        refusals=tuple(refusals),
    )


def _check_known(
    state: State,
    held: Collection[TopicName],
    chosen: Collection[TopicName],
    topics: Collection[str],
    topic_ids: Collection[str],
) -> None:
    before = {*shredded_topics(state), *(topic for topic, _ in held)}
    unknown = sorted(set(topics) - before)
    if unknown:
        raise UsageError(
            f"the repository holds no records of topic {unknown[0]!r}", hint="`kafkeep keys list` lists the topics."
        )
    lost = sorted(set(topic_ids) - {topic_id for _, topic_id in chosen})
    if lost:
        raise UsageError(
            f"none of these topics has the id {lost[0]!r}, or it was shredded already",
            hint="`kafkeep keys list` lists the ids.",
        )


def _left_over(repository: Repository, state: State) -> tuple[str, ...]:
    return tuple(sorted(info.name for info in repository.store.list(KEYS) if key_of(info.name) in state.keys.shredded))


def shred(
    repository: Repository, plan: ShredPlan, *, now: Callable[[], datetime], sink: EventSink = ignore
) -> ShredResult:
    """Carries a plan out: first the commit, from which on nobody writes under these keys, then the keys go. Stopped in
    between, the next shredding of the same topics finishes it.

    Raises `PlanRefused` when the plan holds refusals or the repository has changed meanwhile, `StoreError`.
    """
    if plan.refusals:
        raise PlanRefused("; ".join(plan.refusals), hint="Read the plan; confirm it only if it is what you want.")
    commit, doomed = None, set(plan.left_over)
    if plan.topics:
        before = repository.state.keys.shredded
        commit = repository.decide(Shred(plan.topics, plan.reason), started=rfc3339(now()))
        keys = repository.state.keys
        doomed |= {wrap_name(key, entry.id) for key in keys.shredded - before for entry in keys.recipients}
    doomed |= set(_left_over(repository, repository.state))
    failures = delete_all(repository, sorted(doomed), sink)
    return ShredResult(plan=plan, commit=commit, deleted=len(doomed) - len(failures), failures=failures)
