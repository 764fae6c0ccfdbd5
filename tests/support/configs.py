"""Changing configs of one resource, which the product never does alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafkeep.errors import KafkaError
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config_changes import TOPIC, ConfigChange
from kafkeep.kafka.settings_admin import SettingsAdmin


def alter_configs(
    settings: SettingsAdmin,
    kind: str,
    name: str,
    *,
    set: Mapping[str, str],  # noqa: A002 - reads as what it does at the call
    delete: Sequence[str] = (),
) -> KafkaError | None:
    """What it is refused with, None when it is done."""
    (answer,) = settings.alter_configs([ConfigChange(kind, name, tuple(set.items()), tuple(delete))])
    return answer


def alter_topic(cluster: Cluster, topic: str, *, values: Mapping[str, str], delete: Sequence[str] = ()) -> None:
    """Raises what it is refused with."""
    refusal = alter_configs(cluster.settings, TOPIC, topic, set=values, delete=delete)
    if refusal is not None:
        raise refusal
