"""What a store in a bucket needs to know besides its URL, with secrets already fetched. Pure values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from datetime import datetime

from kafkeep.records import dataclass
from kafkeep.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A login at an S3 service; without an end it is valid until it is changed."""

    id: Secret
    secret: Secret
    token: Secret | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLock:
    """What new packs, commits and documents are locked with."""

    mode: str
    """`governance` or `compliance`."""
    days: int
    now: Callable[[], datetime]
    """The clock that the end is counted from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """A repository as its bucket was at a time: `stores.as_of`."""

    time: datetime
    """By the store's clock."""
    reports: bool = False
    """Whether reports and documents that came since are there too, and further ones may be left: for verbs that do
    something to a cluster and say so in the repository."""
    no_reports: set[str] = field(default_factory=set)
    """Names under `audit/` that came since and hold no report, added by who has looked: they are not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """Of `s3://`."""

    endpoint: str | None = None
    """None: Amazon's own for the region."""
    region: str | None = None
    path_style: bool | None = None
    """Whether the bucket stands in the path rather than in the host name; None: with an endpoint."""
    access_key: Callable[[], AccessKey] | None = None
    """Asked for when a login is needed and when it is about to end. None: obstore's own chain of the environment, web
    identity, container and host."""
    checksum: str | None = None
    """`sha256`: of the body, in the signature, understood everywhere. `header`: in a header besides. `crc64nvme`: a cheaper
    sum in a header. None: the last at Amazon's own endpoints, else the first."""
    object_lock: ObjectLock | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsOptions:
    """Of `gs://`."""

    endpoint: str | None = None
    service_account_key: Secret | None = None
    """The JSON text. None: the application default credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureOptions:
    """Of `az://`."""

    account: str | None = None
    endpoint: str | None = None
    account_key: Secret | None = None
    sas_token: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Of any store in a bucket."""

    s3: S3Options = field(default_factory=S3Options)
    gcs: GcsOptions = field(default_factory=GcsOptions)
    azure: AzureOptions = field(default_factory=AzureOptions)
    ca_pem: bytes | None = None
    """Certificates that are trusted besides the system's."""
    timeout_seconds: float = 60.0
    """Longest wait for a request that moves nothing; one that moves bytes gets their time besides."""
    connections: int = 16
    storage_class: str | None = None
    """For packs, in the service's own words."""
    spool_folder: str | None = None
    """Where packs wait until they are whole; None: the system's folder for temporary files."""
