"""A repository in a versioned bucket of S3 or a compatible service, as it was at a time: for reading alone.

Somebody who may delete and overwrite objects cannot take away the versions that the bucket keeps. Each name stands here for
the version that was the newest by `AsOf.time`, and for nothing where that was a deletion or the name came later. Which that
is, is taken from the service's list of versions, read once for each kind of object; the times in it are the service's own,
to the second.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from kafkeep.errors import ObjectNotFound, RepositoryNotFound, StoreAccessDenied, StoreError
from kafkeep.records import dataclass
from kafkeep.repository.names import REPOSITORY, check_object_name, check_prefix
from kafkeep.repository.stores.base import ObjectInfo, Unchanging
from kafkeep.repository.stores.object import ObjectStore, Place
from kafkeep.repository.stores.object_upload import Body
from kafkeep.repository.stores.options import AsOf
from kafkeep.times import rfc3339

LEFT_SINCE: Final = ("audit/", "doc/")
"""Names that a restore gives: each to one object, for ever."""

_KINDS: Final = ("audit/", "doc/", "hint/", "key/", "log/", "pack/")
PAGE: Final = 1000
"""Entries asked for at once: the most that services give."""
_ENTRY: Final = re.compile(r"<(Version|DeleteMarker)>(.*?)</\1>", re.DOTALL)
_TRUE: Final = "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An entry of the list of versions."""

    key: str
    id: str
    modified: datetime
    size: int
    """In bytes; 0 for a deletion."""
    deleted: bool
    latest: bool


@dataclass(frozen=True, slots=True)
class VersionPage:
    """One answer: its entries, and where the next one begins, None for the last."""

    versions: tuple[Version, ...]
    next: tuple[str, str] | None


def read_versions(answer: bytes) -> VersionPage:
    """Of GET ?versions. Entries that cannot be understood are none of ours. Raises ValueError for no such list."""
    # keys of others may hold bytes that no XML may: they must not hide ours
    text = answer.decode("utf-8", "surrogateescape")
    truncated = _field(_ENTRY.sub("", text), "IsTruncated")
    if truncated is None:
        raise ValueError("not a list of versions")
    found = (_version(match[2], deleted=match[1] == "DeleteMarker") for match in _ENTRY.finditer(text))
    after = None
    if truncated.lower() == _TRUE:
        rest = _ENTRY.sub("", text)
        after = (_field(rest, "NextKeyMarker") or "", _field(rest, "NextVersionIdMarker") or "")
    return VersionPage(tuple(version for version in found if version is not None), after)


def _field(text: str, name: str) -> str | None:
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return None if found is None else html.unescape(found[1])


def _version(text: str, *, deleted: bool) -> Version | None:
    key, identity, modified = (_field(text, name) for name in ("Key", "VersionId", "LastModified"))
    size = "0" if deleted else _field(text, "Size")
    if key is None or identity is None or modified is None or size is None or not size.isdecimal():
        return None
    try:
        moment = datetime.fromisoformat(modified)
    except ValueError:
        return None
    return Version(
        key=key,
        id=identity,
        modified=moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment,
        size=int(size),
        deleted=deleted,
        latest=_field(text, "IsLatest") == _TRUE,
    )


def newest_by(versions: Iterator[Version], time: datetime) -> dict[str, Version]:
    """The newest version of each key that is not younger than `time`, deletions among them.

    Of two of one second the one that the service calls the latest counts, else the one it names first.
    """
    found: dict[str, Version] = {}
    for version in versions:
        if version.modified > time:
            continue
        known = found.get(version.key)
        if known is None or _order(version) > _order(known):
            found[version.key] = version
    return found


def _order(version: Version) -> tuple[datetime, bool]:
    return version.modified.replace(microsecond=0), version.latest


class AsOfStore(Unchanging, ObjectStore):
    """See the module's text. Creations are refused, but for what `AsOf.reports` lets through. Safe for many threads.

    A bucket that keeps no versions is a `StoreError` at the first question.
    """

    def __init__(self, place: Place, as_of: AsOf, *, spool_folder: str | None = None) -> None:
        super().__init__(place, spool_folder=spool_folder)
        self._as_of = as_of
        self._listing = threading.Lock()
        self._known: dict[str, Mapping[str, Version]] = {}
        """Of each kind of object by its name, once it was asked for."""

    # --- reading -----------------------------------------------------------------------------------------------------

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        version = self._version(check_object_name(name))
        try:
            return super().get(name, start, length)
        except ObjectNotFound:
            if version is None:
                raise
            # it was there a moment ago: to take it for absent would be to take the log for shorter than it was
            raise StoreError(
                f"cannot read {name} in {self.url}: its version {version.id} was deleted since it was listed",
                hint="Somebody deletes versions: take the right s3:DeleteObjectVersion away before anything else.",
            ) from None

    def head(self, name: str) -> ObjectInfo:
        check_object_name(name)
        version = self._version(name)
        return super().head(name) if version is None else ObjectInfo(name, version.size)

    def modified(self, name: str) -> datetime | None:
        check_object_name(name)
        version = self._version(name)
        return super().modified(name) if version is None else version.modified

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        kinds = [kind for kind in (*_KINDS, REPOSITORY) if kind.startswith(prefix) or prefix.startswith(kind)]
        found = {
            name: ObjectInfo(name, version.size)
            for kind in kinds
            for name, version in self._of_kind(kind).items()
            if name.startswith(prefix)
        }
        if self._as_of.reports:
            since = (info for info in super().list(prefix) if info.name.startswith(LEFT_SINCE))
            found = {info.name: info for info in since if info.name not in self._as_of.no_reports} | found
        return iter([found[name] for name in sorted(found)])

    def _version_of(self, name: str) -> str | None:
        version = self._version(name)
        return None if version is None else version.id

    def _version(self, name: str) -> Version | None:
        """None for an object that is read as it is today."""
        kind = REPOSITORY if name == REPOSITORY else f"{name.split('/', 1)[0]}/"
        found = self._of_kind(kind).get(name)
        if found is None and not (self._as_of.reports and name.startswith(LEFT_SINCE)):
            raise ObjectNotFound(f"cannot read {name} in {self.url}: it was not there at {rfc3339(self._as_of.time)}")
        return found

    def _of_kind(self, kind: str) -> Mapping[str, Version]:
        with self._listing:
            known = self._known.get(kind)
            if known is None:
                if not self._known:
                    self._check_versioned()
                newest = newest_by(self._versions(kind), self._as_of.time)
                base = self._place.prefix
                names = {version.key.removeprefix(base): version for version in newest.values() if not version.deleted}
                if kind == REPOSITORY and REPOSITORY not in names:
                    raise RepositoryNotFound(
                        f"no repository was in {self.url} at {rfc3339(self._as_of.time)}",
                        hint="Give a time after `kafkeep init`, and before the damage was done.",
                    )
                known = self._known[kind] = {name: names[name] for name in names if _is_name(name)}
            return known

    def _check_versioned(self) -> None:
        try:
            kept = self.versioning()
        except StoreAccessDenied:
            return  # another right than that to list versions: what is there will show
        if kept == "never":
            raise StoreError(
                f"the bucket of {self.url} keeps no versions: it cannot be read as it was",
                hint="Versions are kept from when versioning was switched on for the bucket.",
            )

    def _versions(self, prefix: str) -> Iterator[Version]:
        what = f"cannot list versions of {prefix} in {self.url}"
        asked = f"versions=&max-keys={PAGE}&prefix={quote(self._key(prefix), safe='')}"
        after: tuple[str, str] | None = None
        while True:
            markers = "" if after is None else f"&key-marker={_quoted(after[0])}"
            markers += "" if after is None or not after[1] else f"&version-id-marker={_quoted(after[1])}"
            answer = self._resource(what, "", asked + markers)
            try:
                page = read_versions(b"" if answer is None else answer)
            except ValueError:
                raise StoreError(f"{what}: the service gives no such list") from None
            yield from page.versions
            if page.next is None:
                return
            if page.next == after:
                raise StoreError(f"{what}: the service's list does not go on")
            after = page.next

    # --- changing ----------------------------------------------------------------------------------------------------

    def _refuse(self, what: str) -> StoreAccessDenied:
        return StoreAccessDenied(
            f"cannot {what}: {self.url} is opened as it was at {rfc3339(self._as_of.time)}, for reading only",
            hint="`kafkeep copy --as-of` makes a repository of it that can be written.",
        )

    def _lets(self, name: str) -> bool:
        return self._as_of.reports and name.startswith(LEFT_SINCE)

    def create(self, name: str, body: Body, size: int) -> None:
        if not self._lets(check_object_name(name)):
            raise self._refuse(f"create {name}")
        super().create(name, body, size)


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="")


def _is_name(name: str) -> bool:
    try:
        check_object_name(name)
    except ValueError:
        return False
    return True
