"""All fuzz targets by name."""

from __future__ import annotations

from typing import Final

from tests.fuzz import targets_keys, targets_repository, targets_text, targets_wire
from tests.fuzz.engine import Target

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (*targets_wire.TARGETS, *targets_repository.TARGETS, *targets_keys.TARGETS, *targets_text.TARGETS)
}
