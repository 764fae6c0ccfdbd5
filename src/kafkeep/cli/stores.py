"""From the settings of a repository to its store, secrets fetched on the way."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kafkeep.cli.secrets import read_secret
from kafkeep.errors import CorruptionError, RepositoryNotFound, SettingsError, UnknownFormat
from kafkeep.repository.stores.factory import open_store
from kafkeep.repository.stores.options import (
    AccessKey,
    AsOf,
    AzureOptions,
    GcsOptions,
    ObjectLock,
    S3Options,
    StoreOptions,
)
from kafkeep.repository.stores.wrappers import Rate, ThrottledStore
from kafkeep.secret import Secret

if TYPE_CHECKING:
    from kafkeep.cli.common import Run
    from kafkeep.repository.stores.base import Store
    from kafkeep.settings import AzureSettings, GcsSettings, RepositorySettings, S3Settings, SecretSource

SECRET_VARIABLES: Final = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_CLIENT_SECRET",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
)
"""Where the client of a bucket looks by itself: never to be shown either."""
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def open_configured(run: Run, spec: str, url: str, *, as_of: AsOf | None = None) -> Store:
    """The store behind --repo, held to the limits that were asked for. Raises `UsageError`, `SettingsError`."""
    settings = run.settings.settings.repository.get(spec)
    options = store_options(run, spec, url, settings)
    store = open_store(url, options, as_of=as_of, sink=run.output.event, jitter=run.rng.random)
    upload = run.limits.get("upload", None if settings is None else settings.upload_bytes_per_second)
    download = run.limits.get("download", None if settings is None else settings.download_bytes_per_second)
    if upload is None and download is None:
        return store
    return ThrottledStore(
        store,
        upload=None if upload is None else Rate(upload),
        download=None if download is None else Rate(download),
    )


ONE_WRITER: Final = (
    "one writer at a time: the repository was made for a store that is not relied on to create only what is absent"
)


def takes_one_writer(store: Store) -> bool:
    """Whether a repository in the store, if there is one that can be read, was made with --single-writer."""
    from kafkeep.repository.format import SINGLE
    from kafkeep.repository.objects import read_repository_document

    try:
        return read_repository_document(store).writers == SINGLE
    except (RepositoryNotFound, CorruptionError, UnknownFormat):
        return False


def store_options(run: Run, name: str, url: str, settings: RepositorySettings | None) -> StoreOptions | None:
    """What a bucket needs besides its URL; None for other stores."""
    scheme = url.split("://", 1)[0].lower() if "://" in url else ""
    if scheme not in ("s3", "gs", "az"):
        return None
    from kafkeep.settings import RepositorySettings, S3Settings

    for variable in SECRET_VARIABLES:
        if value := run.env.get(variable):
            run.redact.add(Secret(value))
    key = f"repository.{name}"
    given = RepositorySettings(url=url) if settings is None else settings
    default = StoreOptions()
    return StoreOptions(
        s3=_s3(run, f"{key}.s3", S3Settings() if given.s3 is None else given.s3) if scheme == "s3" else default.s3,
        gcs=default.gcs if given.gcs is None else _gcs(run, f"{key}.gcs", given.gcs),
        azure=default.azure if given.azure is None else _azure(run, f"{key}.azure", given.azure),
        ca_pem=None if given.ca_file is None else _pem(given.ca_file, f"{key}.ca_file"),
        timeout_seconds=default.timeout_seconds if given.timeout_seconds is None else given.timeout_seconds,
        connections=default.connections if given.connections is None else given.connections,
        storage_class=given.storage_class,
        spool_folder=given.spool_folder,
    )


def _s3(run: Run, key: str, given: S3Settings) -> S3Options:
    source = None
    if given.credentials is not None:
        source = functools.partial(_from_process, run, f"{key}.credentials", given.credentials)
    elif given.access_key_id is not None:
        source = functools.partial(_from_sources, run, key, given)
    if source is not None:
        source()  # one that fails is told before any work
    if run.env.get("AWS_CHECKSUM_ALGORITHM"):
        raise SettingsError(
            "AWS_CHECKSUM_ALGORITHM is set, and decides over what the settings say of checksums",
            hint=f"Take it out of the environment, and choose with {key}.checksum.",
        )
    return S3Options(
        endpoint=_endpoint(run.env) if given.endpoint is None else given.endpoint,
        region=run.env.get("AWS_REGION", run.env.get("AWS_DEFAULT_REGION")) if given.region is None else given.region,
        path_style=given.path_style,
        access_key=source,
        checksum=given.checksum,
        object_lock=None
        if given.object_lock is None
        else ObjectLock(mode=given.object_lock.mode, days=given.object_lock.days, now=run.now),
    )


def _endpoint(env: Mapping[str, str]) -> str | None:
    """The address in the variables that other tools know, checked as the setting is."""
    variable = next((name for name in _ENDPOINTS if env.get(name)), None)
    if variable is None:
        return None
    from kafkeep.settings import check_endpoint

    try:
        return check_endpoint(env[variable])
    except ValueError as error:
        raise SettingsError(
            f"{variable} is not the address of a store", hint="Write it as https://host; http is for this host only."
        ) from error


def _from_sources(run: Run, key: str, given: S3Settings) -> AccessKey:
    """Read anew each time a login is needed, so that a file may be renewed while kafkeep runs."""
    identity = _secret(run, f"{key}.access_key_id", given.access_key_id)
    secret = _secret(run, f"{key}.secret_access_key", given.secret_access_key)
    if identity is None or secret is None:
        raise SettingsError(f"{key} has no access key")
    return AccessKey(id=identity, secret=secret, token=_secret(run, f"{key}.session_token", given.session_token))


def _from_process(run: Run, key: str, source: SecretSource) -> AccessKey:
    """An access key as AWS's credential_process prints it. The text is never repeated: it is the secret."""
    said = read_secret(source, key, run.env)
    wrong = SettingsError(f"{key}: {source} does not give an access key in the form of credential_process")
    try:
        found = json.loads(said.reveal())
        fields = [found[name] for name in ("AccessKeyId", "SecretAccessKey")]
        token, ends = found.get("SessionToken"), found.get("Expiration")
        if found.get("Version") != 1 or not all(isinstance(text, str) and text for text in fields):
            raise wrong
        return AccessKey(
            id=Secret(fields[0]),
            secret=run.redact.add(Secret(fields[1])),
            token=None if token is None else run.redact.add(Secret(str(token))),
            expires=None if ends is None else datetime.fromisoformat(ends),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wrong from None


def _gcs(run: Run, key: str, given: GcsSettings) -> GcsOptions:
    secret = _secret(run, f"{key}.service_account_key", given.service_account_key)
    return GcsOptions(endpoint=given.endpoint, service_account_key=secret)


def _azure(run: Run, key: str, given: AzureSettings) -> AzureOptions:
    return AzureOptions(
        account=given.account,
        endpoint=given.endpoint,
        account_key=_secret(run, f"{key}.account_key", given.account_key),
        sas_token=_secret(run, f"{key}.sas_token", given.sas_token),
    )


def _pem(path: str, key: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{key}: {path} cannot be read: {error.strerror}") from error


def _secret(run: Run, key: str, source: SecretSource | None) -> Secret | None:
    return None if source is None else run.redact.add(read_secret(source, key, run.env))
