"""Carrying out the steps of a plan that concern Kafka Connect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kafkeep.errors import KafkeepError, ServiceError, ServiceUnreachable
from kafkeep.metadata.plan import Step
from kafkeep.metadata.steps_services import (
    CreateConnector,
    SetConnectorConfig,
    SetConnectorOffsets,
    SetConnectorState,
)

if TYPE_CHECKING:
    from kafkeep.connect.client import ConnectCluster

CONNECTOR_STEPS = (CreateConnector, SetConnectorConfig, SetConnectorOffsets, SetConnectorState)


class ConnectorHands:
    """Does steps of one kind. What could not be made is not gone on with: no connector starts without its offsets."""

    def __init__(self, connect: ConnectCluster) -> None:
        self._connect = connect
        self._failed: dict[str, KafkeepError] = {}
        self._lost: KafkeepError | None = None

    def do(self, steps: Sequence[Step]) -> list[KafkeepError | None]:
        """The answer to each of these steps."""
        return [self._answer(step) for step in steps]

    def _answer(self, step: Step) -> KafkeepError | None:
        if not isinstance(step, CONNECTOR_STEPS):
            raise TypeError(f"no way to do a {type(step).__name__}")
        name = step.connector.name
        before = self._failed.get(name) if self._lost is None else self._lost
        if before is not None:
            return before
        try:
            self._do(step)
        except ServiceError as error:
            self._failed[name] = error
            if isinstance(error, ServiceUnreachable):
                self._lost = error
            return error
        return None

    def _do(self, step: Step) -> None:
        match step:
            case CreateConnector():
                self._connect.create_stopped(step.connector)
            case SetConnectorConfig():
                self._connect.set_config(step.connector)
            case SetConnectorOffsets():
                self._connect.set_offsets(step.connector)
            case SetConnectorState():
                self._connect.set_state(step.connector.name, step.connector.state)
