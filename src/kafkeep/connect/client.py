"""A Kafka Connect cluster as operations hold it: its connectors, and how they are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from kafkeep.connectors import (
    CONNECTORS,
    PAUSED,
    STOPPED,
    Connector,
    ConnectorOffset,
    Connectors,
    ConnectorSetting,
    ConnectorTask,
    setting,
)
from kafkeep.errors import ServiceError
from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.rest import Json, Parts, RestClient, as_object, as_text, segment
from kafkeep.secret import Secret


@dataclass(frozen=True, slots=True)
class ConnectorReading:
    """`connectors` is None when nothing could be read."""

    connectors: Connectors | None
    failures: tuple[Failure, ...]


class ConnectCluster:
    """Raises the errors of `RestClient`. Any worker will do: workers pass requests on to their leader."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest

    @property
    def name(self) -> str:
        return self._rest.config.name

    def read(self) -> ConnectorReading:
        """All connectors with configs, states and offsets; what cannot be read is named. Raises nothing of the server."""
        try:
            version = as_text(as_object(self._rest.get("/")).get("version"))
            listed = as_object(self._get("/connectors", {"expand": "info"}))
            states = as_object(self._get("/connectors", {"expand": "status"}))
        except ServiceError as error:
            return ConnectorReading(None, (Failure(CONNECTORS, error.slug, error.message),))
        parts = Parts()
        connectors: list[Connector] = []
        for name in sorted(listed):
            read = partial(self._connector, name, as_object(listed[name]), as_object(states.get(name, {})))
            absent: Connector | None = None
            connector = parts.read(f"connector {name}", read, absent)
            if connector is not None:
                nothing: tuple[ConnectorOffset, ...] = ()
                offsets = parts.read(f"offsets of connector {name}", partial(self.offsets, name), nothing)
                connectors.append(replace(connector, offsets=offsets))
        found = Connectors(
            version=version,
            connectors=tuple(connectors),
            unreadable=tuple(failure.subject for failure in parts.failures),
        )
        return ConnectorReading(found, tuple(parts.failures))

    def _get(self, path: str, query: dict[str, str] | None = None) -> Json:
        """409 means that the workers are dividing their work anew."""
        return self._rest.get(path, query, conflict_passes=True)

    def _connector(self, name: str, listed: dict[str, Json], stated: dict[str, Json]) -> Connector:
        info = as_object(listed.get("info"))
        config = as_object(info.get("config"))
        status = as_object(stated.get("status", {}))
        state = as_object(status.get("connector", {})).get("state", "UNKNOWN")
        tasks = [as_object(task) for task in status.get("tasks", [])]
        return Connector(
            name=name,
            type=as_text(info.get("type") if info.get("type") is not None else "unknown"),
            state=as_text(state),
            config=tuple(setting(key, as_text(config[key])) for key in sorted(config) if key != "name"),
            tasks=tuple(sorted((ConnectorTask(task["id"], as_text(task["state"])) for task in tasks), key=_task)),
        )

    def offsets(self, name: str) -> tuple[ConnectorOffset, ...]:
        """KIP-875; ServiceNotFound from a Connect before 3.5, which has no such request."""
        value = as_object(self._get(f"/connectors/{segment(name)}/offsets"))
        rows = [as_object(row) for row in value.get("offsets", [])]
        return tuple(
            sorted(
                (ConnectorOffset(_canonical(row.get("partition")), _canonical(row.get("offset"))) for row in rows),
                key=lambda row: (row.partition, row.offset),
            )
        )

    # --- changing ---------------------------------------------------------------------------------------------------

    def create_stopped(self, connector: Connector) -> None:
        """Makes it in state STOPPED (KIP-980: Connect 3.7). ValueError when its config has a hole."""
        config, secrets = _named(connector.config)
        body = {"name": connector.name, "config": config, "initial_state": STOPPED}
        self._rest.send("POST", "/connectors", body, repeatable=False, conflict_passes=True, hide=secrets)

    def set_config(self, connector: Connector) -> None:
        """Puts these values over those of the connector that is there. ValueError when one is a hole."""
        values, secrets = _named(connector.config)
        path = f"/connectors/{segment(connector.name)}/config"
        now = as_object(self._get(path))
        self._rest.send("PUT", path, now | values, repeatable=True, conflict_passes=True, hide=secrets)

    def set_offsets(self, connector: Connector) -> None:
        """Sets these offsets and leaves others (KIP-875: Connect 3.6); the connector has to be stopped."""
        rows = [{"partition": json.loads(one.partition), "offset": json.loads(one.offset)} for one in connector.offsets]
        path = f"/connectors/{segment(connector.name)}/offsets"
        self._rest.send("PATCH", path, {"offsets": rows}, repeatable=True, conflict_passes=True)

    def set_state(self, name: str, state: str) -> None:
        """PAUSED and STOPPED as they are called; anything else means to run."""
        verb = {PAUSED: "pause", STOPPED: "stop"}.get(state, "resume")
        path = f"/connectors/{segment(name)}/{verb}"
        self._rest.send("PUT", path, repeatable=True, conflict_passes=True)


def _named(config: Sequence[ConnectorSetting]) -> tuple[dict[str, Json], tuple[Secret, ...]]:
    """A config as Connect takes it, and which of its values must not be told. ValueError for one with a hole."""
    found: dict[str, Json] = {}
    for each in config:
        if each.is_hole:
            raise ValueError(f"the value of {each.name} is not known")
        found[each.name] = each.value if each.secret is None else each.secret.reveal()
    return found, tuple(each.secret for each in config if each.secret is not None)


def _task(task: ConnectorTask) -> int:
    return task.task


def _canonical(value: Json) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
