"""Damage that is known already: what quarantine reports in the repository tell of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kafkeep.errors import CorruptionError, ObjectNotFound, UnknownFormat
from kafkeep.logger import get_logger
from kafkeep.model import Generation, OffsetRange
from kafkeep.repository.nouns import encode_generation
from kafkeep.repository.objects import read_audit
from kafkeep.repository.stores.base import Store
from kafkeep.verify.report import Finding

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

log = get_logger(__name__)

QUARANTINE: Final = "quarantine"
"""Kind of the report."""


def quarantine_value(
    name: str, what: Sequence[str], runs: Sequence[tuple[Generation, OffsetRange]]
) -> dict[str, object]:
    """What a quarantine report says: the object, what was seen, and the offsets that cannot be relied on."""
    return {
        "object": name,
        "runs": [[encode_generation(of), offsets.start, offsets.stop] for of, offsets in runs],
        "what": list(what),
    }


def with_knowledge(
    store: Store, repository_id: str, findings: Sequence[Finding], seal: DocumentSeal | None = None
) -> tuple[Finding, ...]:
    """The findings, each with the time of the first report that tells of it. Raises `StoreError`."""
    if not findings:
        return ()
    known: dict[tuple[str, str], str] = {}
    for info in store.list("audit/"):
        try:
            report = read_audit(store, info.name, repository_id, seal)
        except (CorruptionError, UnknownFormat, ObjectNotFound) as error:
            log.debug("report not read", name=info.name, reason=error.message)
            continue
        value, time = report["value"], report["time"]
        if report["kind"] != QUARANTINE or not isinstance(value, dict) or not isinstance(time, str):
            continue
        what = value.get("what")
        for text in what if isinstance(what, list) else ():
            known.setdefault((str(value.get("object")), str(text)), time)
    return tuple(replace(finding, known=known.get((finding.object, finding.what))) for finding in findings)
