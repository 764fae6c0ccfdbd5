"""Feature levels of a cluster (KIP-584): what its brokers know, and raising what is finalized. The functions here are
`SettingsAdmin`'s methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kafkeep.errors import KafkaError, KafkaUnsupported
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.routing import refused
from kafkeep.kafka.settings_apis import API_VERSIONS, UPDATE_FEATURES

_UPGRADE: Final = 1
"""FeatureUpdate.UpgradeType: never lower a level."""
_LONGEST_MS: Final = 30_000


def supported_features(client: ControlClient) -> dict[str, int]:
    """The highest level of each feature that the brokers know; empty where they do not tell (before Kafka 2.7)."""
    body = {"client_software_name": "kafkeep", "client_software_version": "1"}
    try:
        answer = client.send(API_VERSIONS, body, to="any", retry=client.retry("features"))
    except KafkaUnsupported:
        return {}
    return {item.name: item.max_version for item in answer.supported_features}


def raise_features(client: ControlClient, levels: Mapping[str, int]) -> dict[str, KafkaError | None]:
    """Finalizes the features at these levels; None for each that is done, and a level is never lowered.

    One request for each: a request is carried out as a whole or not at all, and names no feature in its answer.
    """
    results: dict[str, KafkaError | None] = {}
    for name, level in levels.items():
        update = {"feature": name, "max_version_level": level, "upgrade_type": _UPGRADE}
        body = {"timeout_ms": _LONGEST_MS, "feature_updates": [update], "validate_only": False}
        answer = client.send(UPDATE_FEATURES, body, to="any", retry=client.retry(f"raise feature {name}"))
        code, message = answer.error_code, answer.error_message
        for result in getattr(answer, "results", None) or ():
            if not code:
                code, message = result.error_code, result.error_message
        what = f"raise feature {name} to {level}"
        results[name] = refused(code, what, right="ALTER on the cluster", message=message) if code else None
    return results
