"""What a whole recovery did: the results of its two halves."""

from __future__ import annotations

from kafkeep.metadata.apply import MetadataResult
from kafkeep.records import dataclass
from kafkeep.restore.result import RestoreResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryResult:
    records: RestoreResult | None
    """None when a recovery was continued whose records were all there."""
    settings: MetadataResult | None
    """None when none were asked for, or when the recovery was asked to end before they were reached."""
    settings_due: bool
    """True when settings were asked for and not reached."""
    warnings: tuple[str, ...] = ()
