"""The documents `schemas` and `connectors` of a recovery point, to JSON values and back: pure."""

from __future__ import annotations

from typing import Any

from kafkeep.connectors import Connector, ConnectorOffset, Connectors, ConnectorSetting, ConnectorTask
from kafkeep.errors import CorruptObject
from kafkeep.records import dataclass
from kafkeep.repository.shapes import Misshapen, from_shape, to_shape
from kafkeep.schemas import Schemas
from kafkeep.secret import Secret


@dataclass(frozen=True, slots=True)
class _StoredSetting:
    name: str
    value: str | None
    secret: bool
    """With a value: one that is not shown. Without: a hole."""


@dataclass(frozen=True, slots=True)
class _StoredConnector:
    name: str
    type: str
    state: str
    config: tuple[_StoredSetting, ...]
    tasks: tuple[ConnectorTask, ...]
    offsets: tuple[ConnectorOffset, ...]


@dataclass(frozen=True, slots=True)
class _StoredConnectors:
    version: str
    connectors: tuple[_StoredConnector, ...]
    unreadable: tuple[str, ...]


def schemas_to_json(schemas: Schemas) -> Any:
    return to_shape(schemas)


def schemas_from_json(value: object) -> Schemas:
    """Raises `CorruptObject` when the document does not have the shape that docs/format.md gives it."""
    try:
        return from_shape(Schemas, value, "schemas", open_ended=True)
    except Misshapen as error:
        raise CorruptObject(f"the schemas document is not of the known shape: {error}") from error


def connectors_to_json(connectors: Connectors) -> Any:
    """Secrets that were kept are written as they are: whoever calls has been told to keep them."""
    stored = tuple(
        _StoredConnector(one.name, one.type, one.state, tuple(map(_stored, one.config)), one.tasks, one.offsets)
        for one in connectors.connectors
    )
    return to_shape(_StoredConnectors(connectors.version, stored, connectors.unreadable))


def connectors_from_json(value: object) -> Connectors:
    """Raises `CorruptObject` when the document does not have the shape that docs/format.md gives it."""
    try:
        stored = from_shape(_StoredConnectors, value, "connectors", open_ended=True)
    except Misshapen as error:
        raise CorruptObject(f"the connectors document is not of the known shape: {error}") from error
    connectors = tuple(
        Connector(
            name=one.name,
            type=one.type,
            state=one.state,
            config=tuple(map(_setting, one.config)),
            tasks=one.tasks,
            offsets=one.offsets,
        )
        for one in stored.connectors
    )
    return Connectors(version=stored.version, connectors=connectors, unreadable=stored.unreadable)


def _stored(setting: ConnectorSetting) -> _StoredSetting:
    if setting.secret is not None:
        return _StoredSetting(setting.name, setting.secret.reveal(), True)
    return _StoredSetting(setting.name, setting.value, setting.value is None)


def _setting(stored: _StoredSetting) -> ConnectorSetting:
    if stored.secret and stored.value is not None:
        return ConnectorSetting(stored.name, None, Secret(stored.value))
    return ConnectorSetting(stored.name, stored.value)
