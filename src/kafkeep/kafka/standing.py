"""How a cluster stands: features, controllers, log directories, reassignments, delegation tokens. Read only; the
functions here are `ClusterSettings`' methods.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from kafkeep.errors import KafkaError, KafkaUnsupported
from kafkeep.inventory import DelegationToken, Feature, LogDir, Quorum, Reassignment
from kafkeep.kafka.at_once import at_once
from kafkeep.kafka.codes import ErrorCode, code_name, request_error
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.routing import refused
from kafkeep.kafka.settings_apis import (
    API_VERSIONS,
    DESCRIBE_LOG_DIRS,
    DESCRIBE_QUORUM,
    DESCRIBE_TOKENS,
    LIST_REASSIGNMENTS,
)
from kafkeep.model import NO_TOPIC_ID, topic_id_text

METADATA_TOPIC: Final = "__cluster_metadata"
_DESCRIBE_CLUSTER: Final = "DESCRIBE on the cluster"
_TOKENS_ARE_OFF: Final = frozenset(
    {ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED, ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED}
)


def finalized_features(client: ControlClient) -> tuple[Feature, ...]:
    """The cluster's feature levels, sorted by name; none from brokers that do not tell (before Kafka 2.7)."""
    body = {"client_software_name": "kafkeep", "client_software_version": "1"}
    try:
        answer = client.send(API_VERSIONS, body, to="any", retry=client.retry("features"))
    except KafkaUnsupported:
        return ()
    if answer.error_code:
        raise request_error(answer.error_code, "features")
    return tuple(sorted(Feature(item.name, item.max_version_level) for item in answer.finalized_features))


def describe_quorum(client: ControlClient) -> Quorum | None:
    """The controllers; None where there is no quorum to be described (ZooKeeper, before Kafka 3.3).

    Raises:
        KafkaAccessDenied: without DESCRIBE on the cluster; KafkaRequestError for other refusals.
    """
    body = {"topics": [{"topic_name": METADATA_TOPIC, "partitions": [{"partition_index": 0}]}]}
    try:
        answer = client.send(DESCRIBE_QUORUM, body, to="any", retry=client.retry("describe quorum"))
    except KafkaUnsupported:
        return None
    if answer.error_code:
        message = getattr(answer, "error_message", None)
        raise refused(answer.error_code, "describe the quorum", right=_DESCRIBE_CLUSTER, message=message)
    partition = answer.topics[0].partitions[0]
    if partition.error_code:
        raise refused(partition.error_code, "describe the quorum", right=_DESCRIBE_CLUSTER)
    return Quorum(
        partition.leader_id,
        tuple(sorted(map(_replica, partition.current_voters))),
        tuple(sorted(map(_replica, partition.observers))),
    )


def _replica(item: Any) -> tuple[int, str]:
    directory = getattr(item, "replica_directory_id", None)
    return item.replica_id, NO_TOPIC_ID if directory is None else topic_id_text(directory.bytes)


def describe_log_dirs(client: ControlClient, nodes: Collection[int]) -> dict[int, tuple[LogDir, ...] | KafkaError]:
    """Log directories of each broker with the number and size of the replicas in them, one request for each broker."""

    def ask(node: int) -> tuple[LogDir, ...] | KafkaError:
        what = f"describe log directories of broker {node}"
        try:
            answer = client.send(DESCRIBE_LOG_DIRS, {"topics": None}, to=node, retry=client.retry(what))
        except KafkaError as error:
            return error
        code = getattr(answer, "error_code", 0)
        if not code and not answer.results:
            # Before version 3 that is all a login without the right is told: every broker has a directory.
            code = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
        if code:
            return refused(code, what, right=_DESCRIBE_CLUSTER)
        return tuple(sorted(_log_dir(item) for item in answer.results))

    return dict(zip(nodes, at_once(ask, nodes), strict=True))


def _log_dir(item: Any) -> LogDir:
    partitions = [p for topic in item.topics for p in topic.partitions]
    return LogDir(
        path=item.log_dir,
        error=code_name(item.error_code) if item.error_code else "",
        total_bytes=getattr(item, "total_bytes", -1),
        usable_bytes=getattr(item, "usable_bytes", -1),
        replicas=len(partitions),
        replica_bytes=sum(p.partition_size for p in partitions),
    )


def list_reassignments(client: ControlClient) -> tuple[Reassignment, ...]:
    """Partitions that are being moved, sorted.

    Raises:
        KafkaAccessDenied: without DESCRIBE on the cluster; KafkaRequestError for other refusals.
    """
    body = {"timeout_ms": client.broker_timeout_ms, "topics": None}
    answer = client.send(LIST_REASSIGNMENTS, body, to="controller", retry=client.retry("list reassignments"))
    if answer.error_code:
        raise refused(answer.error_code, "list reassignments", right=_DESCRIBE_CLUSTER, message=answer.error_message)
    return tuple(
        sorted(
            Reassignment(
                topic.name, p.partition_index, tuple(p.replicas), tuple(p.adding_replicas), tuple(p.removing_replicas)
            )
            for topic in answer.topics
            for p in topic.partitions
        )
    )


def describe_tokens(client: ControlClient) -> tuple[DelegationToken, ...]:
    """Delegation tokens that this login may see, without their HMACs, sorted; none where they are switched off.

    Raises:
        KafkaAccessDenied, KafkaRequestError: the broker refused.
    """
    try:
        answer = client.send(DESCRIBE_TOKENS, {"owners": None}, to="any", retry=client.retry("describe tokens"))
    except KafkaUnsupported:
        return ()
    if answer.error_code in _TOKENS_ARE_OFF:
        return ()
    if answer.error_code:
        raise refused(answer.error_code, "describe delegation tokens", right="DESCRIBE on the delegation tokens")
    return tuple(sorted(map(_token, answer.tokens)))


def _token(item: Any) -> DelegationToken:
    owner = f"{item.principal_type}:{item.principal_name}"
    requester = getattr(item, "token_requester_principal_name", "")
    return DelegationToken(
        token_id=item.token_id,
        owner=owner,
        requester=f"{item.token_requester_principal_type}:{requester}" if requester else owner,
        renewers=tuple(sorted(f"{renewer.principal_type}:{renewer.principal_name}" for renewer in item.renewers)),
        issued=item.issue_timestamp,
        expires=item.expiry_timestamp,
        longest=item.max_timestamp,
    )
