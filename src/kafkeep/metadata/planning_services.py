"""What planning has in common for the servers beside a cluster: pure."""

from __future__ import annotations

from typing import Protocol, TypeVar

from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.verdicts import Verdicts


class Held(Protocol):
    @property
    def unreadable(self) -> tuple[str, ...]: ...


H = TypeVar("H", bound=Held)


def held_on_both(
    area: str,
    server: str,
    source: tuple[ClusterImage, H | None],
    target: tuple[ClusterImage, H | None],
    verdicts: Verdicts,
) -> tuple[H, H] | None:
    """What the point and the target hold of an area, each with the image it belongs to; None when there is nothing to plan.

    What could not be read is said, part by part: of the point as missing, of the target as a refusal.
    """
    (source_image, wanted), (target_image, there) = source, target
    if wanted is None:
        if area in source_image.unreadable:
            reason = f"{source_image.origin} does not hold them: they could not be read"
            verdicts.leave_out(area, area, reason, missing=True)
        return None
    for name in wanted.unreadable:
        reason = f"{source_image.origin} does not hold it: it could not be read"
        verdicts.leave_out(area, name, reason, missing=True)
    if there is None:
        if area in target_image.unreadable:
            verdicts.refuse(area, area, f"{server} of {target_image.origin} cannot be read")
        else:
            reason = f"the settings name no {server.removeprefix('the ')} for {target_image.origin}"
            verdicts.leave_out(area, area, reason, missing=True)
        return None
    for name in there.unreadable:
        verdicts.refuse(area, name, f"it cannot be read on {target_image.origin}")
    return wanted, there
