"""The servers beside a cluster, and reading them for a recovery point."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kafkeep.connectors import CONNECTORS, without_secrets
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.model import Failure
from kafkeep.point_documents import Beside
from kafkeep.records import dataclass
from kafkeep.schemas import SCHEMAS

if TYPE_CHECKING:
    from kafkeep.connect.client import ConnectCluster
    from kafkeep.registry.client import SchemaRegistry


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
    return ServicesReading(beside, failures)
