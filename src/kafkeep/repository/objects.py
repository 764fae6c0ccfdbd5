"""Documents and reports as objects of a store: wrapped, named by their digests, read and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kafkeep.errors import CorruptObject, ObjectNotFound, RepositoryNotFound
from kafkeep.records import dataclass
from kafkeep.repository import names, nouns
from kafkeep.repository.envelope import DOCUMENT_KINDS, Kind, digest, object_limit, unwrap, wrap
from kafkeep.repository.format import RepositoryDocument, decode_repository
from kafkeep.repository.stores.base import Store

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal


def _document_kind(kind: str) -> Kind:
    if kind not in DOCUMENT_KINDS:
        raise ValueError(f"unknown kind of document: {kind[:40]!r}")
    return DOCUMENT_KINDS[kind]


def read_repository_document(store: Store) -> RepositoryDocument:
    """`kafkeep.json`. Raises `RepositoryNotFound`, `CorruptObject`, `UnknownFormat`, `StoreError`."""
    limit = object_limit(Kind.REPOSITORY)
    try:
        data = store.get(names.REPOSITORY, 0, limit + 1)
    except ObjectNotFound as error:
        raise RepositoryNotFound(f"no repository in {store.url}") from error
    return decode_repository(data, f"{names.REPOSITORY} in {store.url}")


@dataclass(frozen=True, slots=True)
class WrappedDocument:
    """A document as it is stored, and what it will be named by: known before anything is stored."""

    digest: str
    data: bytes


def wrap_document(kind: str, value: object, seal: DocumentSeal | None = None) -> WrappedDocument:
    """A document of `envelope.DOCUMENT_KINDS`. Raises ValueError for what is not canonical JSON."""
    data = wrap(_document_kind(kind), value, seal)
    return WrappedDocument(digest(data), data)


def read_document(store: Store, kind: str, reference: str, seal: DocumentSeal | None = None) -> object:
    """A document by its digest. Raises `CorruptObject` when it is missing or not as written, `StoreError`."""
    name = names.document_name(nouns.hexadecimal(reference, "digest of a document", 64))
    known = _document_kind(kind)
    return unwrap(stored_document(store, known, reference), known, name, seal)


def stored_document(store: Store, kind: Kind, reference: str) -> bytes:
    """The bytes of a document. Raises `CorruptObject` when it is missing or not as written, `StoreError`."""
    name = names.document_name(reference)
    try:
        data = store.get(name, 0, object_limit(kind) + 1)
    except ObjectNotFound as error:
        raise CorruptObject(f"{name} is missing") from error
    if digest(data) != reference:
        raise CorruptObject(f"{name} does not match the digest it is named by")
    return data


def stored_pages(store: Store) -> Callable[[bytes], bytes | None]:
    """Where a `PageStore` has pages of saved states from: it checks them itself."""

    def read(page: bytes) -> bytes | None:
        try:
            return store.get(names.document_name(page.hex()), 0, object_limit(Kind.STATE) + 1)
        except ObjectNotFound:
            return None

    return read


def read_audit(store: Store, name: str, repository_id: str, seal: DocumentSeal | None = None) -> dict[str, object]:
    """A report: `kind`, `time` and `value`. Raises `CorruptObject`, `ObjectNotFound`, `StoreError`."""
    report = unwrap(store.get(name, 0, object_limit(Kind.AUDIT) + 1), Kind.AUDIT, name, seal)
    if not isinstance(report, dict) or not {"kind", "time", "value"} <= report.keys():
        raise CorruptObject(f"{name} is not a report")
    if (report.get("name"), report.get("repository")) != (name, repository_id):
        raise CorruptObject(f"{name} holds a report that was stored elsewhere")
    return report
