"""Carrying out the steps of a plan that concern the servers beside the cluster."""

from __future__ import annotations

from collections.abc import Sequence

from kafkeep.errors import KafkeepError
from kafkeep.metadata.apply_connectors import CONNECTOR_STEPS, ConnectorHands
from kafkeep.metadata.apply_schemas import SCHEMA_STEPS, SchemaHands
from kafkeep.metadata.plan import MetadataPlan, SchemaId, Step
from kafkeep.services import Services

SERVICE_STEPS = (*SCHEMA_STEPS, *CONNECTOR_STEPS)


class ServiceHands:
    """Hands for registry and Connect, as far as the settings name them."""

    def __init__(self, services: Services, plan: MetadataPlan) -> None:
        self._planned = plan.schema_ids
        self._schemas = None if services.registry is None else SchemaHands(services.registry, plan.schema_ids)
        self._connectors = None if services.connect is None else ConnectorHands(services.connect)

    def do(self, steps: Sequence[Step]) -> list[KafkeepError | None]:
        """The answer to each of these steps, which are all of one kind."""
        hands = self._schemas if isinstance(steps[0], SCHEMA_STEPS) else self._connectors
        if hands is None:
            raise ValueError("the plan was made with a server that is not given")
        return hands.do(steps)

    @property
    def schema_ids(self) -> tuple[SchemaId, ...]:
        """Every schema of the point, in the order of the plan, with where it is by now."""
        found = {} if self._schemas is None else self._schemas.ids
        return tuple(found.get((row.subject, row.version), row) for row in self._planned)
