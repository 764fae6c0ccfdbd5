"""Which settings a whole recovery brings back beside the records: pure."""

from __future__ import annotations

from typing import Final

from kafkeep.metadata.options import APPLY_AREAS, SERVICE_AREAS, TOPIC_CONFIGS, TOPICS, ApplyOptions
from kafkeep.records import dataclass

SETTINGS_AREAS: Final = tuple(area for area in APPLY_AREAS if area not in (TOPICS, TOPIC_CONFIGS))
"""What may come back beside records: topics and their settings come with the records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsOptions:
    areas: frozenset[str]
    """Of `SETTINGS_AREAS`."""
    existing: str = "keep"
    """What is on the target already with another value: `keep` it, `align` it, or `fail` before anything is done."""

    @property
    def of_services(self) -> bool:
        """True when something is wanted that lies on servers beside the cluster."""
        return not self.areas.isdisjoint(SERVICE_AREAS)

    @property
    def apply_options(self) -> ApplyOptions:
        return ApplyOptions(only=self.areas, existing=self.existing)
