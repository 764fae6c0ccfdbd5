"""Looking at the transactions of a cluster until each producer has its moment (docs/transactions.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable

from kafkeep.capture.moments import Ends, Look, Moments
from kafkeep.capture.survey import Survey
from kafkeep.capture.whole import Ledger
from kafkeep.errors import KafkaError, KafkaUnsupported
from kafkeep.kafka.cluster import LATEST, Cluster
from kafkeep.kafka.codes import request_error
from kafkeep.kafka.topology import Topology
from kafkeep.kafka.transaction_values import ListedTransaction, TransactionDescription
from kafkeep.logger import get_logger
from kafkeep.model import TopicPartition
from kafkeep.records import dataclass

log = get_logger(__name__)

_PAUSE_SECONDS = 0.01
_PAUSE_AFTER_TROUBLE_SECONDS = 0.1
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Watched:
    """What was learnt of the cluster's transactions, and the survey whose cuts may be judged by it."""

    moments: Moments
    survey: Survey
    doubts: tuple[str, ...]
    """Why the point cannot be consistent, empty when it may."""
    ledger: Ledger
    """To be filled while the partitions are read."""


def _watched(moments: Moments, survey: Survey, *doubts: str) -> Watched:
    return Watched(moments, survey, doubts, Ledger({} if moments.floor is None else moments.floor))


def watch_transactions(
    cluster: Cluster,
    survey: Survey,
    survey_again: Callable[[], Survey],
    *,
    seconds: float,
    stop: threading.Event,
) -> Watched:
    """Looks until every transactional id has its moment, then surveys the end offsets. Partitions that changed leader
    or came to be meanwhile make it begin anew: what an old leader said of its end may be too little.
    """
    until = time.monotonic() + seconds
    while True:
        moments, doubts = _look_until_settled(cluster, survey, until=until, stop=stop)
        final = survey_again()
        if doubts or stop.is_set():
            return _watched(moments, final, *doubts)
        if _leaders(final) == _leaders(survey):
            return _watched(moments, final)
        if time.monotonic() >= until:
            doubt = "partitions came, went or changed their leader while transactions were looked at"
            return _watched(moments, final, doubt)
        survey = final


def _leaders(survey: Survey) -> set[tuple[TopicPartition, str, int]]:
    return {(part.topic_partition, part.topic_id, part.leader_epoch) for part in survey.partitions}


def _look_until_settled(
    cluster: Cluster, survey: Survey, *, until: float, stop: threading.Event
) -> tuple[Moments, tuple[str, ...]]:
    moments = Moments()
    topology = survey.topology()
    wanted = [part.topic_partition for part in survey.partitions]
    while not stop.is_set():
        trouble = ""
        try:
            listed = cluster.admin.list_transactions()
            moments.learn(listed)
            for asked in _portions(moments):
                listed = _look(cluster, moments, listed, asked, wanted, topology)
        except KafkaError as error:
            if isinstance(error, KafkaUnsupported) or not error.retryable:
                return moments, (str(error),)
            trouble = str(error)
            log.info("look at transactions given up", reason=trouble)
        if not trouble and not moments.pending:
            break
        if time.monotonic() >= until:
            return moments, (trouble or _never_at_rest(moments.pending),)
        stop.wait(_PAUSE_AFTER_TROUBLE_SECONDS if trouble else _PAUSE_SECONDS)
    return moments, ()


def _portions(moments: Moments) -> list[dict[str, int]]:
    """What to ask about in one look: at first everything; later, when only busy ids are left, one broker's at a time,
    so that little time passes between the two descriptions of an id."""
    pending = moments.pending
    if moments.floor is None:
        return [pending]
    return [
        {name: node for name, node in pending.items() if node == broker} for broker in sorted(set(pending.values()))
    ]


def _look(
    cluster: Cluster,
    moments: Moments,
    listed: tuple[ListedTransaction, ...],
    asked: dict[str, int],
    wanted: Collection[TopicPartition],
    topology: Topology,
) -> tuple[ListedTransaction, ...]:
    """One look; returns the list it ended with, which may begin the next one."""
    brokers = {node: [name for name, at in asked.items() if at == node] for node in sorted(set(asked.values()))}
    before = {name: told for node, ids in brokers.items() for name, told in _describe(cluster, node, ids)}
    ends = _ends(cluster, wanted, topology)
    after = {name: told for node, ids in brokers.items() for name, told in _describe(cluster, node, ids)}
    listed_after = cluster.admin.list_transactions()
    moments.take(Look(listed, asked, before, ends, after, listed_after))
    return listed_after


def _describe(cluster: Cluster, node: int, ids: list[str]) -> Iterable[tuple[str, TransactionDescription | None]]:
    return cluster.admin.describe_transactions(node, ids).items()


def _ends(cluster: Cluster, wanted: Collection[TopicPartition], topology: Topology) -> Ends:
    answers = cluster.offsets(wanted, LATEST, topology=topology)
    for partition, answer in answers.items():
        if answer.error:
            raise request_error(answer.error, f"list offsets of {partition}")
    return {partition: answer.offset for partition, answer in answers.items()}


def _never_at_rest(pending: Collection[str]) -> str:
    named = ", ".join(sorted(pending)[:_MOST_NAMED]) + (" and more" if len(pending) > _MOST_NAMED else "")
    return f"no moment was found at which no transaction of these transactional ids was being decided: {named}"
