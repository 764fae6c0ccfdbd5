"""The documents of a recovery point, as every operation reads them."""

from __future__ import annotations

from typing import Final

from kafkeep.connectors import CONNECTORS, Connectors
from kafkeep.errors import PlanRefused
from kafkeep.inventory import Inventory, Standing
from kafkeep.model import ClusterMetadata, Failure, RecoveryPoint
from kafkeep.records import dataclass
from kafkeep.repository.documents import cluster_metadata_from_json, cluster_metadata_to_json
from kafkeep.repository.envelope import TooLarge
from kafkeep.repository.inventory_documents import (
    inventory_from_json,
    inventory_to_json,
    standing_from_json,
    standing_to_json,
)
from kafkeep.repository.objects import WrappedDocument
from kafkeep.repository.repository import Repository
from kafkeep.repository.service_documents import (
    connectors_from_json,
    connectors_to_json,
    schemas_from_json,
    schemas_to_json,
)
from kafkeep.schemas import SCHEMAS, Schemas

METADATA: Final = "metadata"
"""Name of a recovery point's document with topics and groups."""
INVENTORY: Final = "inventory"
"""Name of the one with settings and permissions."""
STANDING: Final = "standing"
"""Name of the one that tells how the cluster stood at that moment."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What the servers beside the cluster hold; None where there is none, or where it could not be read."""

    schemas: Schemas | None = None
    connectors: Connectors | None = None


NOTHING_BESIDE: Final = Beside()


@dataclass(frozen=True, slots=True)
class PointDocuments:
    """The documents of a point that may come to be: named already, and stored only when the point is made."""

    wrapped: tuple[tuple[str, WrappedDocument], ...]
    """Sorted by name."""
    failures: tuple[Failure, ...] = ()
    """Of servers beside the cluster: what is more than one document can hold is left out of the point, and no more."""

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """What a point names them by: (name, digest), sorted by name."""
        return tuple((name, document.digest) for name, document in self.wrapped)

    def put(self, repository: Repository) -> tuple[tuple[str, str], ...]:
        """Stores them; their `names`. Raises `CorruptObject`, `StoreError`."""
        for _, document in self.wrapped:
            repository.store_document(document)
        return self.names


def wrap_point_documents(
    repository: Repository,
    metadata: ClusterMetadata,
    settings: tuple[Inventory, Standing] | None,
    beside: Beside = NOTHING_BESIDE,
) -> PointDocuments:
    """The documents of a point, as this repository will have them; `settings` is None for one that holds none.

    Raises ValueError for topics, groups or settings that no document can hold.
    """
    found: dict[str, object] = {METADATA: cluster_metadata_to_json(metadata)}
    if settings is not None:
        inventory, standing = settings
        found[INVENTORY] = inventory_to_json(inventory)
        found[STANDING] = standing_to_json(standing)
    if beside.schemas is not None:
        found[SCHEMAS] = schemas_to_json(beside.schemas)
    if beside.connectors is not None:
        found[CONNECTORS] = connectors_to_json(beside.connectors)
    wrapped: list[tuple[str, WrappedDocument]] = []
    failures: list[Failure] = []
    for name, value in sorted(found.items()):
        try:
            wrapped.append((name, repository.wrap_document(name, value)))
        except TooLarge as error:
            if name not in (SCHEMAS, CONNECTORS):
                raise
            failures.append(Failure(name, "too-large", str(error)))
    return PointDocuments(tuple(wrapped), tuple(failures))


def put_point_documents(
    repository: Repository,
    metadata: ClusterMetadata,
    settings: tuple[Inventory, Standing] | None,
    beside: Beside = NOTHING_BESIDE,
) -> tuple[tuple[str, str], ...]:
    """Stores the documents; what a point names them by: (name, digest), sorted by name. Raises ValueError for what no
    document can hold.
    """
    documents = wrap_point_documents(repository, metadata, settings, beside)
    if documents.failures:
        raise ValueError(documents.failures[0].message)
    return documents.put(repository)


def beside_of(repository: Repository, point: RecoveryPoint) -> Beside:
    """Schemas and connectors of the point. Raises `CorruptObject`, `StoreError`."""
    digests = dict(point.documents)
    schemas, connectors = digests.get(SCHEMAS), digests.get(CONNECTORS)
    return Beside(
        None if schemas is None else schemas_from_json(repository.document(SCHEMAS, schemas)),
        None if connectors is None else connectors_from_json(repository.document(CONNECTORS, connectors)),
    )


def inventory_of(repository: Repository, point: RecoveryPoint) -> Inventory | None:
    """Settings and permissions of the point; None when it was made without. Raises `CorruptObject`, `StoreError`."""
    digest = dict(point.documents).get(INVENTORY)
    return None if digest is None else inventory_from_json(repository.document(INVENTORY, digest))


def needed_inventory_of(repository: Repository, point: RecoveryPoint) -> Inventory:
    """As `inventory_of`; `PlanRefused` when the point was made without settings and permissions."""
    inventory = inventory_of(repository, point)
    if inventory is None:
        raise PlanRefused(
            f"point #{point.number} holds no settings and permissions",
            hint="Make points with `kafkeep backup` without --no-settings, or with `kafkeep metadata backup`.",
        )
    return inventory


def standing_of(repository: Repository, point: RecoveryPoint) -> Standing:
    """How the cluster stood; empty when the point was made without. Raises `CorruptObject`, `StoreError`."""
    digest = dict(point.documents).get(STANDING)
    return Standing() if digest is None else standing_from_json(repository.document(STANDING, digest))


def metadata_of(repository: Repository, point: RecoveryPoint) -> ClusterMetadata:
    """Topics and groups of the point; empty when it was made without them. Raises `CorruptObject`, `StoreError`."""
    digest = dict(point.documents).get(METADATA)
    if digest is None:
        return ClusterMetadata(point.cluster_id, (), ())
    return cluster_metadata_from_json(repository.document(METADATA, digest))


def needed_metadata_of(repository: Repository, point: RecoveryPoint) -> ClusterMetadata:
    """As `metadata_of`; `PlanRefused` when the point was made without topics and groups."""
    if METADATA not in dict(point.documents):
        raise PlanRefused(
            f"point #{point.number} holds no topics and groups, only records",
            hint="Take another point: `kafkeep points` lists them.",
        )
    return metadata_of(repository, point)
