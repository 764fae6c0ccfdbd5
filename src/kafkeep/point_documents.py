"""The documents of a recovery point, as every operation reads them."""

from __future__ import annotations

from typing import Final

from kafkeep.errors import PlanRefused
from kafkeep.inventory import Inventory, Standing
from kafkeep.model import ClusterMetadata, RecoveryPoint
from kafkeep.repository.documents import cluster_metadata_from_json, cluster_metadata_to_json
from kafkeep.repository.inventory_documents import (
    inventory_from_json,
    inventory_to_json,
    standing_from_json,
    standing_to_json,
)
from kafkeep.repository.repository import Repository

METADATA: Final = "metadata"
"""Name of a recovery point's document with topics and groups."""
INVENTORY: Final = "inventory"
"""Name of the one with settings and permissions."""
STANDING: Final = "standing"
"""Name of the one that tells how the cluster stood at that moment."""


def put_point_documents(
    repository: Repository, metadata: ClusterMetadata, settings: tuple[Inventory, Standing] | None
) -> tuple[tuple[str, str], ...]:
    """Stores the documents; what a point names them by: (name, digest), sorted by name."""
    found = {METADATA: repository.put_document(METADATA, cluster_metadata_to_json(metadata))}
    if settings is not None:
        inventory, standing = settings
        found[INVENTORY] = repository.put_document(INVENTORY, inventory_to_json(inventory))
        found[STANDING] = repository.put_document(STANDING, standing_to_json(standing))
    return tuple(sorted(found.items()))


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
            hint="Make points with `kafkeep backup --settings` or `kafkeep metadata backup`.",
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
