"""The documents and reports of an open repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from kafkeep.errors import CorruptObject, ObjectExists
from kafkeep.repository import names, nouns
from kafkeep.repository.envelope import Kind, wrap
from kafkeep.repository.objects import WrappedDocument, read_audit, read_document, wrap_document
from kafkeep.repository.packing import Randomness
from kafkeep.repository.stores.base import Store
from kafkeep.repository.trust import Signature, encode_signature

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal


class Shelf:
    """Puts and reads what is named by its digest or its time. All methods may be called from many threads."""

    def __init__(
        self,
        store: Store,
        repository_id: str,
        *,
        seal: DocumentSeal | None,
        now: Callable[[], datetime],
        rng: Randomness,
    ) -> None:
        self.store = store
        self.seal = seal
        self._id = repository_id
        self._now = now
        self._rng = rng

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return self._id

    def put_document(self, kind: str, value: object) -> str:
        """Store a document (`envelope.DOCUMENT_KINDS`) and return its digest; the same value is stored once.

        Raises ValueError for what is not canonical JSON, `CorruptObject` when its place holds others, `StoreError`.
        """
        document = self.wrap_document(kind, value)
        self.store_document(document)
        return document.digest

    def wrap_document(self, kind: str, value: object) -> WrappedDocument:
        """A document as it would be stored. Raises ValueError for what is not canonical JSON."""
        return wrap_document(kind, value, self.seal)

    def store_document(self, document: WrappedDocument) -> None:
        """Store a document that is not there yet. Raises `CorruptObject` when its place holds others, `StoreError`."""
        name = names.document_name(document.digest)
        if not self._put(name, document.data):
            raise CorruptObject(f"{name} does not hold the document it is named after")

    def document(self, kind: str, reference: str) -> object:
        """A document by its digest. Raises `CorruptObject` when it is missing or not as written, `StoreError`."""
        return read_document(self.store, kind, reference, self.seal)

    def put_audit(self, kind: str, value: object) -> str:
        """Store a report and return its object name. Raises ValueError, `StoreError`."""
        moment = self._now()
        name = names.audit_name(moment, names.ulid(moment, self._rng.randbytes(10)))
        report: dict[str, object] = {
            "kind": nouns.slug(kind, "kind of a report"),
            "name": name,
            "repository": self.id,
            "time": nouns.utc_text(moment),
            "value": value,
        }
        signature = self._signature(report)
        if signature is not None:
            report["signature"] = encode_signature(signature)
        if not self._put(name, wrap(Kind.AUDIT, report, self.seal)):
            raise ObjectExists(f"{name} already exists in {self.store.url}")
        return name

    def _signature(self, report: Mapping[str, object]) -> Signature | None:
        """Whoever has a key signs what it reports."""
        return None

    def trusts(self, report: Mapping[str, object]) -> bool:
        """Whether a report (`audit`) counts as evidence."""
        return True

    def _put(self, name: str, data: bytes) -> bool:
        """Create the object unless it is there already, as after a try whose answer was lost; False: others' bytes are."""
        try:
            self.store.put_new(name, data)
        except ObjectExists:
            return self.store.get(name, 0, len(data) + 1) == data
        return True

    def audit(self, name: str) -> dict[str, object]:
        """A report: `kind`, `time` and `value`. Raises `CorruptObject`, `ObjectNotFound`, `StoreError`."""
        return read_audit(self.store, name, self.id, self.seal)

    def audits(self, kind: str | None = None, *, trusted: bool = False) -> Iterator[tuple[str, object]]:
        """Names and values of the reports that the store lists, oldest first; only those that count as evidence if `trusted`.

        Raises `CorruptObject`, `StoreError`.
        """
        for info in self.store.list("audit/"):
            report = self.audit(info.name)
            if (kind is None or report["kind"] == kind) and (not trusted or self.trusts(report)):
                yield info.name, report["value"]
