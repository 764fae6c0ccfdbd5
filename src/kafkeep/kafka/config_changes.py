"""Changing configs of many resources in few requests (KIP-339). The function here is `SettingsAdmin`'s method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from kafkeep.errors import KafkaError, KafkaUnreachable
from kafkeep.inventory import BROKER
from kafkeep.kafka.apis import ALTER_CONFIGS
from kafkeep.kafka.codes import ErrorCode, retriable
from kafkeep.kafka.configs import RESOURCE_TYPES
from kafkeep.kafka.control import ControlClient, Target
from kafkeep.kafka.links import Fields
from kafkeep.kafka.routing import refused
from kafkeep.records import dataclass

TOPIC: Final = "topic"
_TYPES: Final = {TOPIC: 2, **RESOURCE_TYPES}
_SET, _DELETE = 0, 1
CHANGES_PER_REQUEST: Final = 2000
"""Keys in one request; a KRaft controller writes at most 10 000 metadata records per call."""


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """Keys to set and to delete of one resource, in one step; its other keys stay as they are."""

    kind: str
    """`TOPIC`, or one of `inventory.CONFIG_KINDS`."""
    name: str
    set: tuple[tuple[str, str], ...]
    delete: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


def alter_many(client: ControlClient, changes: Sequence[ConfigChange]) -> list[KafkaError | None]:
    """Carries the changes out, each whole or not at all; for each None or what it was refused with.

    A resource may be named once. Each broker is asked to change its own configs, which it alone can check
    (core/server/ConfigAdminManager.scala); one that is out of reach is told in its place.
    """
    answers: list[KafkaError | None] = [None] * len(changes)
    wanted = [place for place, change in enumerate(changes) if change.set or change.delete]
    for target, places in _batches(changes, wanted):
        try:
            told = _alter(client, target, [changes[place] for place in places])
        except KafkaUnreachable as error:
            if target == "any":
                raise
            told = [error] * len(places)
        for place, answer in zip(places, told, strict=True):
            answers[place] = answer
    return answers


def _batches(changes: Sequence[ConfigChange], wanted: Sequence[int]) -> Iterator[tuple[Target, list[int]]]:
    batch: list[int] = []
    keys = 0
    for place in wanted:
        change = changes[place]
        if change.kind == BROKER:
            yield int(change.name), [place]
            continue
        size = len(change.set) + len(change.delete)
        if batch and keys + size > CHANGES_PER_REQUEST:
            yield "any", batch
            batch, keys = [], 0
        batch.append(place)
        keys += size
    if batch:
        yield "any", batch


def _alter(client: ControlClient, target: Target, changes: Sequence[ConfigChange]) -> list[KafkaError | None]:
    retry = client.retry(f"alter configs of {changes[0]}")
    pending = dict(enumerate(changes))
    answers: list[KafkaError | None] = [None] * len(changes)
    while pending:
        body = {"resources": [_resource(change) for change in pending.values()], "validate_only": False}
        answer = client.send(ALTER_CONFIGS, body, to=target, retry=retry)
        told = {(item.resource_type, item.resource_name): item for item in answer.responses}
        later: dict[int, ConfigChange] = {}
        for place, change in pending.items():
            item = told.get((_TYPES[change.kind], change.name))
            code = ErrorCode.UNKNOWN_SERVER_ERROR if item is None else item.error_code
            answers[place] = _refused(change, code, item) if code else None
            # For an administrative request an unknown topic is an answer, not a reason to ask again.
            if retriable(code) and code != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                later[place] = change
        pending = later
        if pending and not retry.again(str(answers[next(iter(pending))])):
            break
    return answers


def _refused(change: ConfigChange, code: int, item: Any | None) -> KafkaError:
    right = f"ALTER_CONFIGS on the {change.kind if change.kind in (TOPIC, 'group') else 'cluster'}"
    message = None if item is None else item.error_message
    return refused(code, f"alter configs of {change}", right=right, message=message)


def _resource(change: ConfigChange) -> Fields:
    configs: list[Fields] = [{"name": n, "config_operation": _SET, "value": v} for n, v in sorted(change.set)]
    configs += [{"name": n, "config_operation": _DELETE, "value": None} for n in sorted(change.delete)]
    return {"resource_type": _TYPES[change.kind], "resource_name": change.name, "configs": configs}
