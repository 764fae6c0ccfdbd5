"""Access control lists (KIP-11, KIP-290, KIP-140). The functions here are `ClusterSettings`' methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kafkeep.errors import KafkaError
from kafkeep.inventory import Acl
from kafkeep.kafka.codes import ErrorCode, code_name
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.links import Fields
from kafkeep.kafka.routing import refused
from kafkeep.kafka.settings_apis import CREATE_ACLS, DELETE_ACLS, DESCRIBE_ACLS
from kafkeep.kafka.words import OPERATIONS, PATTERN_TYPES, PERMISSIONS, RESOURCE_TYPES, word

_ANY: Final = 1
ACLS_PER_REQUEST: Final = 1000
"""A KRaft controller writes at most 10 000 metadata records per call."""


def describe_acls(client: ControlClient) -> tuple[Acl, ...] | None:
    """All bindings, sorted; None when the cluster has no authorizer.

    Raises:
        KafkaAccessDenied: without DESCRIBE on the cluster; KafkaRequestError for other refusals.
    """
    body: Fields = {
        "resource_type_filter": _ANY,
        "resource_name_filter": None,
        "pattern_type_filter": _ANY,
        "principal_filter": None,
        "host_filter": None,
        "operation": _ANY,
        "permission_type": _ANY,
    }
    answer = client.send(DESCRIBE_ACLS, body, to="any", retry=client.retry("describe ACLs"))
    if answer.error_code == ErrorCode.SECURITY_DISABLED:
        return None
    if answer.error_code:
        raise refused(answer.error_code, "describe ACLs", right="DESCRIBE on the cluster", message=answer.error_message)
    return tuple(
        sorted(
            Acl(
                word(RESOURCE_TYPES, resource.resource_type),
                resource.resource_name,
                word(PATTERN_TYPES, resource.pattern_type),
                acl.principal,
                acl.host,
                word(OPERATIONS, acl.operation),
                word(PERMISSIONS, acl.permission_type),
            )
            for resource in answer.resources
            for acl in resource.acls
        )
    )


def create_acls(client: ControlClient, acls: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
    """Adds bindings; None per binding that is there now. One that exists already is no error.

    Raises ValueError for a word that is not Kafka's.
    """
    results: dict[Acl, KafkaError | None] = {}
    retry = client.retry("create ACLs")
    for first in range(0, len(acls), ACLS_PER_REQUEST):
        chunk = acls[first : first + ACLS_PER_REQUEST]
        answer = client.send(CREATE_ACLS, {"creations": [_creation(acl) for acl in chunk]}, to="any", retry=retry)
        for acl, item in zip(chunk, answer.results, strict=True):
            what = f"create ACL {acl.permission} {acl.operation} on {acl.resource_type} {acl.resource_name}"
            right = "ALTER on the cluster"
            error = refused(item.error_code, what, right=right, message=item.error_message)
            results[acl] = error if item.error_code else None
    return results


def delete_acls(client: ControlClient, acls: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
    """Removes exactly these bindings; None per binding that is gone now. Raises ValueError as `create_acls`."""
    results: dict[Acl, KafkaError | None] = {}
    retry = client.retry("delete ACLs")
    for first in range(0, len(acls), ACLS_PER_REQUEST):
        chunk = acls[first : first + ACLS_PER_REQUEST]
        answer = client.send(DELETE_ACLS, {"filters": [_filter(acl) for acl in chunk]}, to="any", retry=retry)
        for acl, item in zip(chunk, answer.filter_results, strict=True):
            codes = [item.error_code, *(match.error_code for match in item.matching_acls)]
            code = next((code for code in codes if code), 0)
            what = f"delete ACL {acl.permission} {acl.operation} on {acl.resource_type} {acl.resource_name}"
            results[acl] = refused(code, what, right="ALTER on the cluster", message=code_name(code)) if code else None
    return results


def _creation(acl: Acl) -> Fields:
    return {
        "resource_type": _number(RESOURCE_TYPES, acl.resource_type),
        "resource_name": acl.resource_name,
        "resource_pattern_type": _number(PATTERN_TYPES, acl.pattern_type),
        "principal": acl.principal,
        "host": acl.host,
        "operation": _number(OPERATIONS, acl.operation),
        "permission_type": _number(PERMISSIONS, acl.permission),
    }


def _filter(acl: Acl) -> Fields:
    return {
        "resource_type_filter": _number(RESOURCE_TYPES, acl.resource_type),
        "resource_name_filter": acl.resource_name,
        "pattern_type_filter": _number(PATTERN_TYPES, acl.pattern_type),
        "principal_filter": acl.principal,
        "host_filter": acl.host,
        "operation": _number(OPERATIONS, acl.operation),
        "permission_type": _number(PERMISSIONS, acl.permission),
    }


def _number(names: Mapping[int, str], name: str) -> int:
    for number, known in names.items():
        if known == name:
            return number
    if name.startswith("CODE_") and name[5:].isdecimal():
        return int(name[5:])
    raise ValueError(f"{name!r} is not one of {', '.join(names.values())}")
