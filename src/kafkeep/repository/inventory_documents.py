"""The documents `inventory` and `standing` of a recovery point, to JSON values and back: pure."""

from __future__ import annotations

from typing import Any

from kafkeep.errors import CorruptObject
from kafkeep.inventory import Inventory, Standing
from kafkeep.repository.shapes import Misshapen, from_shape, to_shape


def inventory_to_json(inventory: Inventory) -> Any:
    return to_shape(inventory, secrets=True)


def inventory_from_json(value: object) -> Inventory:
    """Raises `CorruptObject` when the document does not have the shape that docs/format.md gives it."""
    try:
        return from_shape(Inventory, value, "inventory", open_ended=True)
    except Misshapen as error:
        raise CorruptObject(f"the inventory document is not of the known shape: {error}") from error


def standing_to_json(standing: Standing) -> Any:
    return to_shape(standing)


def standing_from_json(value: object) -> Standing:
    """Raises `CorruptObject` when the document does not have the shape that docs/format.md gives it."""
    try:
        return from_shape(Standing, value, "standing", open_ended=True)
    except Misshapen as error:
        raise CorruptObject(f"the standing document is not of the known shape: {error}") from error
