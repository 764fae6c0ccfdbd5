"""The servers beside a cluster, and reading them for a recovery point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from kafkeep.connect.client import ConnectCluster
from kafkeep.connectors import CONNECTORS, without_secrets
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.model import Failure
from kafkeep.point_documents import Beside
from kafkeep.registry.client import SchemaRegistry
from kafkeep.repository.envelope import TooLarge
from kafkeep.repository.objects import wrap_document
from kafkeep.repository.service_documents import connectors_to_json, schemas_to_json
from kafkeep.schemas import SCHEMAS


@dataclass(frozen=True, slots=True)
class Services:
    """None where the settings name none."""

    registry: SchemaRegistry | None = None
    connect: ConnectCluster | None = None


NO_SERVICES: Final = Services()


@dataclass(frozen=True, slots=True)
class ServicesReading:
    beside: Beside
    failures: tuple[Failure, ...]


def read_services(
    services: Services, *, include_credentials: bool = False, sink: EventSink = ignore
) -> ServicesReading:
    """What they hold, each read for itself: one that cannot be read is a failure and no more. Raises nothing of them.

    Secrets in configs of connectors are read only with `include_credentials`; a hole stands for them otherwise.
    """
    beside = Beside()
    failures: tuple[Failure, ...] = ()
    if services.registry is not None:
        sink(Stage(SCHEMAS, f"reading the {services.registry.name}"))
        schemas = services.registry.read()
        beside, failures = replace(beside, schemas=schemas.schemas), (*failures, *schemas.failures)
    if services.connect is not None:
        sink(Stage(CONNECTORS, f"reading {services.connect.name}"))
        found = services.connect.read()
        held = found.connectors
        if held is not None and not include_credentials:
            held = without_secrets(held)
        beside, failures = replace(beside, connectors=held), (*failures, *found.failures)
    return _fitting(beside, failures)


def _fitting(beside: Beside, failures: tuple[Failure, ...]) -> ServicesReading:
    """A registry may hold more than one document can: records are backed up all the same."""
    try:
        if beside.schemas is not None:
            wrap_document(SCHEMAS, schemas_to_json(beside.schemas))
    except TooLarge as error:
        beside, failures = replace(beside, schemas=None), (*failures, Failure(SCHEMAS, "too-large", str(error)))
    try:
        if beside.connectors is not None:
            wrap_document(CONNECTORS, connectors_to_json(beside.connectors))
    except TooLarge as error:
        beside, failures = replace(beside, connectors=None), (*failures, Failure(CONNECTORS, "too-large", str(error)))
    return ServicesReading(beside, failures)
