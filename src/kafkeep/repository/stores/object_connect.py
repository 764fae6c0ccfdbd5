"""From a URL and options to a bucket: the only place that knows how each service's client is made."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from obstore.store import AzureStore, GCSStore, S3Store

from kafkeep.errors import KafkeepError, SettingsError, UsageError
from kafkeep.repository.names import LONGEST_NAME
from kafkeep.repository.stores.as_of import AsOfStore
from kafkeep.repository.stores.object import ObjectStore, Place
from kafkeep.repository.stores.object_errors import FOREIGN
from kafkeep.repository.stores.options import AccessKey, AsOf, AzureOptions, GcsOptions, S3Options, StoreOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Client

CONNECT_SECONDS: Final = 10
LONGEST_KEY: Final = 1024
"""Bytes of a key that every service takes."""
DEFAULT_REGION: Final = "us-east-1"
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")
_NO_RETRIES: Final[RetryConfig] = {"max_retries": 0, "retry_timeout": timedelta(0)}


def open_object_store(url: str, options: StoreOptions, *, as_of: AsOf | None = None) -> ObjectStore:
    """The store behind `s3://bucket/prefix`, `gs://…` or `az://container/prefix`, or what it was. Nothing is asked yet.

    Raises `UsageError` for a URL without a bucket, `SettingsError` for options that the client refuses.
    """
    parts = urlsplit(url)
    bucket, path = parts.netloc, parts.path.strip("/")
    if not _BUCKET.fullmatch(bucket) or parts.query or parts.fragment:
        raise UsageError(
            f"{parts.scheme}:// needs a bucket and perhaps a path",
            hint="Write it as s3://bucket/path/inside; endpoints and logins belong into the settings.",
        )
    if path and not all(_PART.fullmatch(part) for part in path.split("/")):
        raise UsageError(
            "a part of a path in a bucket begins with a letter or digit and has only letters, digits and . _ = - besides",
            hint="Give another path.",
        )
    prefix = f"{path}/" if path else ""
    if len(prefix.encode()) + LONGEST_NAME > LONGEST_KEY:
        raise UsageError(
            f"a path in a bucket has at most {LONGEST_KEY - LONGEST_NAME} bytes", hint="Give a shorter one."
        )
    login = _Login(options.s3.access_key)
    make = {"s3": _s3, "gs": _gcs, "az": _azure}[parts.scheme]
    lock = options.s3.object_lock if parts.scheme == "s3" else None
    place = Place(
        url=f"{parts.scheme}://{bucket}/{path}".rstrip("/"),
        prefix=prefix,
        connect=functools.partial(_checked, make, bucket, options, login),
        timeout_seconds=options.timeout_seconds,
        connections=options.connections,
        storage_class=options.storage_class,
        failure=lambda: login.failure,
        lock=lock,
        connect_locked=functools.partial(_checked_locked, bucket, options, login),
        connect_to=functools.partial(_checked_part, bucket, options, login) if parts.scheme == "s3" else None,
    )
    place.connect(options.timeout_seconds)
    if as_of is not None:
        return AsOfStore(place, as_of, spool_folder=options.spool_folder)
    return ObjectStore(place, spool_folder=options.spool_folder)


class _Login:
    """Hands out access keys to the client, and keeps the reason when there is none to be had."""

    def __init__(self, source: Callable[[], AccessKey] | None) -> None:
        self.source = source
        self.failure: KafkeepError | None = None

    def __call__(self) -> dict[str, Any]:
        if self.source is None:
            raise TypeError("no source of access keys was given")
        try:
            key = self.source()
        except KafkeepError as error:
            self.failure = error
            raise
        self.failure = None
        return {
            "access_key_id": key.id.reveal(),
            "secret_access_key": key.secret.reveal(),
            "token": None if key.token is None else key.token.reveal(),
            "expires_at": key.expires,
        }


def _checked(
    make: Callable[[str, StoreOptions, _Login, ClientConfig], Client],
    bucket: str,
    options: StoreOptions,
    login: _Login,
    seconds: float,
) -> Client:
    try:
        return make(bucket, options, login, _client(options, seconds))
    except (*FOREIGN, TypeError) as error:
        # the client's text may repeat a key that it could not read
        raise SettingsError(f"the client refuses the options of this store ({type(error).__name__})") from None


def _checked_locked(
    bucket: str, options: StoreOptions, login: _Login, seconds: float, headers: Mapping[str, str]
) -> Client:
    """A client whose requests carry these headers, signed: for creations alone."""
    # a service takes a lock only with a checksum of the body
    checksum = "crc64nvme" if _cheap(options.s3) else "header"
    locked = replace(options, s3=replace(options.s3, checksum=checksum))

    def make(bucket: str, options: StoreOptions, login: _Login, client: ClientConfig) -> Client:
        client["default_headers"] = dict(headers)
        return _s3(bucket, options, login, client)

    return _checked(make, bucket, locked, login, seconds)


def _checked_part(bucket: str, options: StoreOptions, login: _Login, seconds: float, key: str, query: str) -> Client:
    """A client for one resource that obstore has no call for, such as `KEY?retention`: any object that it is asked for is
    that resource.

    Its endpoint holds path and query, and what obstore puts behind them becomes the value of a parameter that services
    ignore, as Amazon says of all that begin with `x-`. Everything is signed with the same login as all else.
    """
    place = f"{_bucket_url(bucket, options.s3)}/{quote(key, safe='/-_.~')}".rstrip("/")
    s3 = replace(options.s3, endpoint=f"{place}?{query}&x-kafkeep=", path_style=False, checksum="header")
    return _checked(_s3, bucket, replace(options, s3=s3), login, seconds)


def _bucket_url(bucket: str, given: S3Options) -> str:
    """Where the bucket is, as obstore finds it."""
    path_style = given.endpoint is not None if given.path_style is None else given.path_style
    if given.endpoint is None:
        region = DEFAULT_REGION if given.region is None else given.region
        host = f"https://s3.{region}.amazonaws.com"
        return f"{host}/{bucket}" if path_style else f"https://{bucket}.s3.{region}.amazonaws.com"
    base = given.endpoint.rstrip("/")
    return f"{base}/{bucket}" if path_style else base


def _client(options: StoreOptions, seconds: float) -> ClientConfig:
    endpoints = (options.s3.endpoint, options.gcs.endpoint, options.azure.endpoint)
    config: ClientConfig = {
        "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, options.timeout_seconds)),
        "timeout": timedelta(seconds=seconds),
        "allow_http": any(endpoint is not None and endpoint.startswith("http://") for endpoint in endpoints),
        "user_agent": "kafkeep",
    }
    if options.ca_pem is not None:
        config["root_certificate"] = options.ca_pem
    return config


def _s3(bucket: str, options: StoreOptions, login: _Login, client: ClientConfig) -> Client:
    given: S3Options = options.s3
    path_style = given.endpoint is not None if given.path_style is None else given.path_style
    config: dict[str, Any] = {
        "virtual_hosted_style_request": not path_style,
        "conditional_put": "etag",
        "disable_bulk_delete": True,  # its answer is a list of errors, and some services want another right for it
        # the client takes whatever begins with AWS_ from the environment: these decide whom it talks to and whether what
        # it sends is proved
        "skip_signature": False,
        "unsigned_payload": False,
        "s3_express": False,
    }
    if given.region is not None:
        config["region"] = given.region
    if given.endpoint is not None:
        config["endpoint"] = given.endpoint
        config["aws_endpoint_url_s3"] = given.endpoint  # of the environment it would go before the other
        config.setdefault("region", DEFAULT_REGION)
    if _cheap(given):
        config |= {"checksum_algorithm": "CRC64NVME", "unsigned_payload": True}
    elif given.checksum == "header":
        config["checksum_algorithm"] = "SHA256"
    provider: Any = None if given.access_key is None else login
    return S3Store(bucket, config=config, client_options=client, retry_config=_NO_RETRIES, credential_provider=provider)  # type: ignore[arg-type]


def _cheap(given: S3Options) -> bool:
    return given.endpoint is None if given.checksum is None else given.checksum == "crc64nvme"


def _gcs(bucket: str, options: StoreOptions, login: _Login, client: ClientConfig) -> Client:
    given: GcsOptions = options.gcs
    config: dict[str, Any] = {"skip_signature": False}
    if given.endpoint is not None:
        config["base_url"] = given.endpoint
    if given.service_account_key is not None:
        config["service_account_key"] = given.service_account_key.reveal()
    return GCSStore(bucket, config=config, client_options=client, retry_config=_NO_RETRIES)  # type: ignore[arg-type]


def _azure(bucket: str, options: StoreOptions, login: _Login, client: ClientConfig) -> Client:
    given: AzureOptions = options.azure
    config: dict[str, Any] = {"skip_signature": False, "use_emulator": False}
    if given.account is not None:
        config["account_name"] = given.account
    if given.endpoint is not None:
        config["endpoint"] = given.endpoint
    if given.account_key is not None:
        config["account_key"] = given.account_key.reveal()
    if given.sas_token is not None:
        config["sas_key"] = given.sas_token.reveal()
    return AzureStore(bucket, config=config, client_options=client, retry_config=_NO_RETRIES)  # type: ignore[arg-type]
