"""Feature levels of a metadata plan: which are raised: pure."""

from __future__ import annotations

from collections.abc import Mapping

from kafkeep.metadata import options as areas
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.plan import SET, SetFeature
from kafkeep.metadata.verdicts import Verdicts


def plan_features(source: ClusterImage, target: ClusterImage, known: Mapping[str, int], verdicts: Verdicts) -> None:
    """Levels of the source that the target does not have. One is never lowered, for what it brought may be in use, and
    none is set that the target's brokers do not know: `known` has the highest of each.
    """
    there = {feature.name: feature.level for feature in target.inventory.features}
    for feature in source.inventory.features:
        now = there.get(feature.name)
        if now is not None and now > feature.level:
            reason = f"the target has level {now}, the point {feature.level}: a level is not lowered"
            verdicts.leave_out(areas.FEATURES, feature.name, reason)
            continue
        if now != feature.level and feature.level > known.get(feature.name, 0):
            reason = f"the point has level {feature.level}, the target's brokers know {known.get(feature.name, 'none')}"
            verdicts.leave_out(areas.FEATURES, feature.name, reason, missing=True)
            continue
        before = {} if now is None else {"level": str(now)}
        changes = verdicts.changes(areas.FEATURES, feature.name, {"level": str(feature.level)}, before, [])
        if changes:
            step = SetFeature(
                area=areas.FEATURES, action=SET, subject=feature.name, changes=changes, level=feature.level
            )
            verdicts.steps.append(step)
