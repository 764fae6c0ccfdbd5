"""What a whole recovery will do, as values: pure. Both halves keep their own plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kafkeep.errors import CorruptObject, UnknownFormat
from kafkeep.metadata.options import ACLS, EXISTING
from kafkeep.metadata.plan import LeftOut, MetadataPlan
from kafkeep.records import dataclass
from kafkeep.recovery.options import SETTINGS_AREAS, SettingsOptions
from kafkeep.renaming import Rename
from kafkeep.repository.shapes import from_shape, to_shape
from kafkeep.restore.plan import RestorePlan

_BESIDE: Final = "settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPlan:
    """Both halves: carried out together, or refused together."""

    records: RestorePlan | None
    """None when a recovery is continued whose records are all there."""
    settings: MetadataPlan | None
    """None when nothing but records, topics and positions was asked for."""
    warnings: tuple[str, ...] = ()
    """About the two halves together; each half has warnings of its own."""

    @property
    def settings_refusals(self) -> tuple[LeftOut, ...]:
        return () if self.settings is None else self.settings.refusals


def recovery_warnings(settings: SettingsOptions, renames: tuple[Rename, ...]) -> tuple[str, ...]:
    """What people should know of the two halves together."""
    if not renames or ACLS not in settings.areas:
        return ()
    return ("topics get other names here, and ACLs name what they protect as the source did",)


def settings_to_beside(settings: SettingsOptions) -> dict[str, Any]:
    """What the record of the restore's job keeps, so that whoever continues it knows that settings are due."""
    return {_BESIDE: to_shape(settings)}


def settings_from_beside(beside: Mapping[str, Any]) -> SettingsOptions | None:
    """The other way; None when no settings were asked for.

    Raises `CorruptObject`, and `UnknownFormat` for areas that this version of kafkeep does not know.
    """
    if _BESIDE not in beside:
        return None
    try:
        settings = from_shape(SettingsOptions, beside[_BESIDE], _BESIDE)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptObject(f"the record of a restore holds no settings that can be read: {error}") from error
    if not settings.areas <= set(SETTINGS_AREAS) or settings.existing not in EXISTING:
        raise UnknownFormat("the restore was begun by another version of kafkeep with settings this one does not know")
    return settings
