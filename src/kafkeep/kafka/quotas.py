"""Client quotas (KIP-546). The functions here are `ClusterSettings`' methods."""

from __future__ import annotations

from collections.abc import Mapping

from kafkeep.errors import KafkaError
from kafkeep.inventory import Quota, QuotaEntity
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.links import Fields
from kafkeep.kafka.routing import refused
from kafkeep.kafka.settings_apis import ALTER_QUOTAS, DESCRIBE_QUOTAS
from kafkeep.kafka.words import quota_place

QUOTAS_PER_REQUEST = 1000
"""A KRaft controller writes at most 10 000 metadata records per call."""


def describe_quotas(client: ControlClient) -> tuple[Quota, ...]:
    """All quotas of all entities, defaults included, sorted by entity.

    Raises:
        KafkaAccessDenied: without DESCRIBE_CONFIGS on the cluster; KafkaRequestError for other refusals.
    """
    retry = client.retry("describe quotas")
    answer = client.send(DESCRIBE_QUOTAS, {"components": [], "strict": False}, to="any", retry=retry)
    if answer.error_code:
        right = "DESCRIBE_CONFIGS on the cluster"
        raise refused(answer.error_code, "describe client quotas", right=right, message=answer.error_message)
    found = [
        Quota(
            QuotaEntity(
                tuple(sorted(((part.entity_type, part.entity_name) for part in entry.entity), key=quota_place))
            ),
            tuple(sorted((value.key, float(value.value)) for value in entry.values)),
        )
        for entry in (answer.entries if answer.entries is not None else ())
    ]
    return tuple(sorted(found, key=lambda quota: [quota_place(part) for part in quota.entity.parts]))


def alter_quotas(
    client: ControlClient, changes: Mapping[QuotaEntity, Mapping[str, float | None]]
) -> dict[QuotaEntity, KafkaError | None]:
    """Sets limits, or takes them away where the value is None; None per entity that was changed."""
    results: dict[QuotaEntity, KafkaError | None] = {}
    retry = client.retry("alter quotas")
    entities = list(changes)
    for first in range(0, len(entities), QUOTAS_PER_REQUEST):
        chunk = entities[first : first + QUOTAS_PER_REQUEST]
        body = {"entries": [_entry(entity, changes[entity]) for entity in chunk], "validate_only": False}
        answer = client.send(ALTER_QUOTAS, body, to="any", retry=retry)
        told = {
            frozenset((part.entity_type, part.entity_name) for part in item.entity): item for item in answer.entries
        }
        for entity in chunk:
            item = told[frozenset(entity.parts)]
            error = refused(
                item.error_code,
                f"alter quotas of {entity}",
                right="ALTER_CONFIGS on the cluster",
                message=item.error_message,
            )
            results[entity] = error if item.error_code else None
    return results


def _entry(entity: QuotaEntity, values: Mapping[str, float | None]) -> Fields:
    return {
        "entity": [{"entity_type": kind, "entity_name": name} for kind, name in entity.parts],
        "ops": [
            {"key": key, "value": 0.0 if value is None else value, "remove": value is None}
            for key, value in sorted(values.items())
        ],
    }
