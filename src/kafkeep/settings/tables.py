"""The tables of kafkeep.toml as strict, frozen models."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from kafkeep.settings.words import ALLOW_INSECURE, MECHANISMS, SECURITY_NAMES, check_url, split_bootstrap

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def _bootstrap(value: object) -> object:
    if isinstance(value, str):
        return split_bootstrap(value)
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return split_bootstrap(",".join(value))
    raise ValueError("should be a list of host:port, or one string with commas between them")


def _security(value: object) -> object:
    name = SECURITY_NAMES.get(value.lower().replace("-", "_")) if isinstance(value, str) else None
    if name is None:
        raise ValueError("should be plaintext, tls, sasl_plaintext or sasl_tls")
    return name


def _mechanism(value: object) -> object:
    if isinstance(value, str) and value.upper() in MECHANISMS:
        return value.upper()
    raise ValueError(f"should be one of {', '.join(MECHANISMS)}")


def _command(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _token_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in ("localhost", "127.0.0.1", "::1")):
        raise ValueError("should begin with https://")
    return check_url(value)


Security = Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_security)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """Frozen, and a key it does not know is an error; values never show up in error texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SecretSource(Strict):
    """Where a secret is found: exactly one of the three."""

    file: Text | None = Field(None, description="file with the secret; refused when others may read it")
    env: Text | None = Field(None, description="environment variable with the secret")
    command: Annotated[tuple[str, ...], BeforeValidator(_command)] | None = Field(
        None, description="program and arguments that print the secret; no shell is involved"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_literal(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("a secret is not written into the settings")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(source is not None for source in (self.file, self.env, self.command)) != 1 or self.command == ():
            raise ValueError("should have exactly one of file, env, command")
        return self

    def __str__(self) -> str:
        """The source without the arguments of a command, which may hold secrets themselves."""
        if self.file is not None:
            return f"file {self.file}"
        if self.env is not None:
            return f"environment variable {self.env}"
        return f"command {self.command[0]}" if self.command else "command"


class ClientCredentials(Strict):
    """OAuth 2.0 client credentials: the token is asked for where it is needed and renewed in time."""

    token_url: Annotated[Text, AfterValidator(_token_url)] = Field(description="token endpoint, https")
    client_id: Text = Field(description="client id")
    client_secret: SecretSource = Field(description="client secret")
    scope: Text | None = Field(None, description="scope to ask for")
    ca_file: Text | None = Field(None, description="certificates that the token endpoint is checked against")


class TlsSettings(Strict):
    """How TLS connections are made; verification is on unless two places say otherwise."""

    ca_file: Text | None = Field(
        None, description="PEM file of the certificates brokers are checked against; default: the system's"
    )
    cert_file: Text | None = Field(None, description="PEM file of the client certificate (mTLS)")
    key_file: Text | None = Field(
        None,
        description="PEM file of the client's key; default: cert_file holds it too; refused when others may read it",
    )
    key_password: SecretSource | None = Field(None, description="secret that opens the client's key")
    verify: bool = Field(True, description=f"false trusts any broker; needs {ALLOW_INSECURE}=1 too and warns each time")
    check_hostname: bool = Field(True, description="false accepts a certificate of another host name, with a warning")

    @model_validator(mode="after")
    def _no_idle_options(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is set without cert_file")
        if self.key_password is not None and self.cert_file is None:
            raise ValueError("key_password is set without cert_file")
        if not self.verify and self.ca_file is not None:
            raise ValueError("ca_file has no effect when verify is false")
        return self


class SaslSettings(Strict):
    """The login at a broker. Each mechanism takes its own keys; others are refused."""

    mechanism: Annotated[str, BeforeValidator(_mechanism)] = Field(description=", ".join(MECHANISMS))
    username: Text | None = Field(None, description="PLAIN and SCRAM: user name; GSSAPI: principal")
    password: SecretSource | None = Field(None, description="PLAIN and SCRAM: password")
    token: SecretSource | None = Field(None, description="OAUTHBEARER: a token, read again before each login")
    client_credentials: ClientCredentials | None = Field(None, description="OAUTHBEARER: where to get tokens")
    service_name: Text | None = Field(None, description="GSSAPI: Kerberos service name of the brokers; default kafka")
    region: Text | None = Field(None, description="AWS_MSK_IAM: region of the cluster; default: botocore's own")

    @model_validator(mode="after")
    def _fits_mechanism(self) -> Self:
        allowed, needed = _MECHANISM_KEYS[self.mechanism]
        given = {name for name in type(self).model_fields if name != "mechanism" and getattr(self, name) is not None}
        for name in sorted(given - allowed):
            raise ValueError(f"{name} has no effect with {self.mechanism}")
        for name in sorted(needed - given):
            raise ValueError(f"{name} is missing; {self.mechanism} needs it")
        if self.mechanism == "OAUTHBEARER" and len(given) != 1:
            raise ValueError("OAUTHBEARER needs exactly one of token, client_credentials")
        if self.token is not None and self.token.env is not None:
            raise ValueError("a token ends and is read again: give its file or its command, not a variable")
        return self


_MECHANISM_KEYS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    **{
        name: (frozenset({"username", "password"}), frozenset({"username", "password"}))
        for name in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    },
    "OAUTHBEARER": (frozenset({"token", "client_credentials"}), frozenset()),
    "GSSAPI": (frozenset({"username", "service_name"}), frozenset()),
    "AWS_MSK_IAM": (frozenset({"region"}), frozenset()),
}


def _service_url(value: str) -> str:
    parts = urlsplit(check_url(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("should begin with https:// or http:// and name a host")
    if parts.query or parts.fragment:
        raise ValueError("holds a query or fragment; secrets do not belong into a URL")
    return value.rstrip("/")


class ServiceSettings(Strict):
    """`[cluster.NAME.registry]` and `[cluster.NAME.connect]`: a server beside the cluster, spoken to over HTTP."""

    url: Annotated[Text, AfterValidator(_service_url)] = Field(
        description="where its REST interface begins, https:// or http://, with the path if there is one"
    )
    username: Text | None = Field(None, description="user name for basic authentication")
    password: SecretSource | None = Field(None, description="password of that user")
    bearer: SecretSource | None = Field(None, description="token that is sent as it is, instead of user and password")
    tls: TlsSettings | None = Field(None, description="TLS details; only with https")
    request_timeout_seconds: Seconds = Field(30.0, description="longest wait for one answer")

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.bearer is not None and self.username is not None:
            raise ValueError("has a bearer token beside username and password: give one login")
        if self.tls is not None and not self.url.startswith("https:"):
            raise ValueError("a tls table has no effect with http://")
        return self


class ClusterSettings(Strict):
    """`[cluster.NAME]`: a Kafka cluster and how to log in."""

    bootstrap: Annotated[tuple[str, ...], BeforeValidator(_bootstrap)] = Field(
        description="host:port of some brokers, as a list or with commas between them"
    )
    security: Security = Field(
        "PLAINTEXT", description="plaintext, tls, sasl_plaintext or sasl_tls; Kafka's own names are understood"
    )
    tls: TlsSettings | None = Field(None, description="TLS details; only with tls and sasl_tls")
    sasl: SaslSettings | None = Field(
        None, description="login; needed with sasl_plaintext and sasl_tls, refused otherwise"
    )
    controllers: Annotated[tuple[str, ...], BeforeValidator(_bootstrap)] | None = Field(
        None, description="host:port of every controller's own listener; for --metadata-route controller"
    )
    controller_security: Security | None = Field(
        None, description="as security, for the controllers' listener; default: the same. tls and sasl serve both"
    )
    client_id: Text = Field("kafkeep", description="client id that brokers see, for their logs and quotas")
    read_bytes_per_second: Annotated[int, Field(gt=0)] | None = Field(
        None, description="most that backups read from the brokers; --max-rate goes before it"
    )
    connect_timeout_seconds: Seconds = Field(
        10.0, description="longest wait for one connection, up to its first answer"
    )
    request_timeout_seconds: Seconds = Field(30.0, description="longest wait for one answer")
    registry: ServiceSettings | None = Field(
        None, description="registry with the schemas of the cluster's records; Confluent's REST interface"
    )
    connect: ServiceSettings | None = Field(None, description="Kafka Connect's REST interface, of any of its workers")

    @model_validator(mode="after")
    def _no_idle_tables(self) -> Self:
        listeners = {"security": self.security}
        if self.controller_security is not None:
            if self.controllers is None:
                raise ValueError("controller_security has no effect without controllers")
            listeners["controller_security"] = self.controller_security
        if self.tls is not None and not {"SSL", "SASL_SSL"} & set(listeners.values()):
            raise ValueError(f"a tls table has no effect with {_words(listeners)}")
        if self.sasl is not None and not any(security.startswith("SASL_") for security in listeners.values()):
            raise ValueError(f"a sasl table has no effect with {_words(listeners)}")
        for key, security in listeners.items():
            if self.sasl is None and security.startswith("SASL_"):
                raise ValueError(f"{key} {security} needs a sasl table")
            if self.sasl is not None and self.sasl.mechanism == "AWS_MSK_IAM" and security == "SASL_PLAINTEXT":
                raise ValueError(f"AWS_MSK_IAM needs {key} sasl_tls")
        return self


def _words(listeners: Mapping[str, str]) -> str:
    return " and ".join(f"{key} {security}" for key, security in listeners.items())


class ObjectLockSettings(Strict):
    """`[repository.NAME.s3.object_lock]`: what new packs, commits and documents are locked with. The bucket must have been
    made with object lock."""

    mode: Literal["governance", "compliance"] = Field(
        description="governance: who has a special right may lift it; compliance: nobody may, not even the account's owner"
    )
    days: Annotated[int, Field(ge=1, le=36500)] = Field(
        description="how long each object is locked from when it is made"
    )


class S3Settings(Strict):
    """`[repository.NAME.s3]`: how a bucket behind `s3://` is reached. Without a login here, the variables AWS_* count, then
    web identity, the container's and the host's role."""

    endpoint: Annotated[Text, AfterValidator(_token_url)] | None = Field(
        None, description="the service's address, https; http on this host only; default: Amazon's own for the region"
    )
    region: Text | None = Field(None, description="region of the bucket; default: AWS_REGION, else us-east-1")
    path_style: bool | None = Field(
        None,
        description="whether the bucket stands in the path rather than in the host name; default: with an endpoint",
    )
    access_key_id: SecretSource | None = Field(None, description="id of the access key")
    secret_access_key: SecretSource | None = Field(None, description="the access key's secret")
    session_token: SecretSource | None = Field(None, description="token of a temporary access key")
    credentials: SecretSource | None = Field(
        None,
        description="an access key as AWS's credential_process prints it, instead of the three; read again before it ends",
    )
    checksum: Literal["sha256", "crc64nvme"] | None = Field(
        None,
        description="what the service checks bodies by: sha256 in the signature, understood everywhere, or crc64nvme, "
        "which costs less; default: crc64nvme at Amazon's own endpoints, else sha256",
    )
    object_lock: ObjectLockSettings | None = Field(
        None, description="lock what is written against deletion; default: no lock but the bucket's own"
    )

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token is set without access_key_id")
        if self.credentials is not None and self.access_key_id is not None:
            raise ValueError("should have one of access_key_id and credentials")
        return self


class GcsSettings(Strict):
    """`[repository.NAME.gcs]`: how a bucket behind `gs://` is reached. Without a key here, the application default
    credentials count."""

    endpoint: Annotated[Text, AfterValidator(_token_url)] | None = Field(
        None, description="the service's address, https; http on this host only; default: Google's own"
    )
    service_account_key: SecretSource | None = Field(None, description="key of a service account, JSON")


class AzureSettings(Strict):
    """`[repository.NAME.azure]`: how a container behind `az://` is reached. Without a login here, the variables AZURE_*
    count, then workload and managed identity."""

    account: Text | None = Field(None, description="storage account; default: AZURE_STORAGE_ACCOUNT_NAME")
    endpoint: Annotated[Text, AfterValidator(_token_url)] | None = Field(
        None, description="the service's address, https; http on this host only; default: Azure's own for the account"
    )
    account_key: SecretSource | None = Field(None, description="key of the storage account")
    sas_token: SecretSource | None = Field(None, description="shared access signature")

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.account_key is not None and self.sas_token is not None:
            raise ValueError("should have one of account_key and sas_token")
        return self


_BUCKET_KEYS: Final = ("ca_file", "timeout_seconds", "connections", "storage_class", "spool_folder")
_BUCKET_TABLES: Final = {"s3": "s3", "gcs": "gs", "azure": "az"}


class WorkersSettings(Strict):
    """`[repository.NAME.workers]`: who does the work of backups and restores; options go before it."""

    executor: Literal["threads", "processes", "dask"] = Field(description="threads, processes or dask")
    count: Annotated[int, Field(ge=1, le=1024)] | None = Field(None, description="workers; default: one per core")
    scheduler: Text | None = Field(None, description="dask: tcp:// or tls:// address; default: workers on this host")
    worker_key: SecretSource | None = Field(
        None, description="dask: the key that seals what travels; workers have it too"
    )

    @model_validator(mode="after")
    def _no_idle_keys(self) -> Self:
        if self.executor == "threads" and self.count is not None:
            raise ValueError("count has no effect with threads")
        if self.executor != "dask" and (self.scheduler is not None or self.worker_key is not None):
            raise ValueError(f"scheduler and worker_key have no effect with {self.executor}")
        return self


class RepositorySettings(Strict):
    """`[repository.NAME]`: a place for backups."""

    url: Annotated[Text, AfterValidator(check_url)] = Field(
        description="a folder's path or a URL: file:///backups/prod, s3://bucket/path, gs://bucket/path, az://container/path"
    )
    compression: Literal["zstd", "none"] = Field(
        "zstd", description="what `init` sets for chunks of uncompressed batches: zstd or none"
    )
    identity: SecretSource | None = Field(
        None, description="identity that opens an encrypted repository; a program may have a KMS decrypt it"
    )
    passphrase: SecretSource | None = Field(None, description="passphrase that opens an encrypted repository")
    writer_key: SecretSource | None = Field(
        None,
        description="key with which an encrypted repository is written, pruned and copied; it opens no records",
    )
    signing_key: SecretSource | None = Field(
        None, description="key with which commits are signed, where the repository wants them signed"
    )
    admins: tuple[Text, ...] = Field(
        (), description="signers who alone may have begun the repository; any other repository is refused"
    )
    s3: S3Settings | None = Field(None, description="how the bucket is reached; only with s3://")
    gcs: GcsSettings | None = Field(None, description="how the bucket is reached; only with gs://")
    azure: AzureSettings | None = Field(None, description="how the container is reached; only with az://")
    ca_file: Text | None = Field(
        None, description="buckets: PEM file of certificates that are trusted besides the system's"
    )
    timeout_seconds: Seconds | None = Field(
        None, description="buckets: longest wait for a request, the time for its bytes not counted; default 60"
    )
    connections: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None, description="buckets: requests at once, fewer while the service asks for less; default 16"
    )
    storage_class: Text | None = Field(
        None, description="buckets: class of packs in the service's own words; default: the bucket's"
    )
    spool_folder: Text | None = Field(
        None,
        description="buckets: folder where packs wait until they are whole; default: the system's for temporary files",
    )
    upload_bytes_per_second: Annotated[int, Field(gt=0)] | None = Field(
        None, description="most that is written to the store; --limit-upload goes before it"
    )
    download_bytes_per_second: Annotated[int, Field(gt=0)] | None = Field(
        None, description="most that is read from the store; --limit-download goes before it"
    )
    workers: WorkersSettings | None = Field(None, description="who does the work; default: threads")

    @model_validator(mode="after")
    def _no_idle_keys(self) -> Self:
        scheme = self.url.split("://", 1)[0].lower() if "://" in self.url else ""
        for table, wanted in _BUCKET_TABLES.items():
            if getattr(self, table) is not None and scheme != wanted:
                raise ValueError(f"a table {table} has no effect with this url")
        for key in _BUCKET_KEYS:
            if getattr(self, key) is not None and scheme not in _BUCKET_TABLES.values():
                raise ValueError(f"{key} has no effect with this url")
        return self


class Settings(Strict):
    """The whole of kafkeep.toml."""

    cluster: dict[str, ClusterSettings] = Field(default_factory=dict, description="clusters by name")
    repository: dict[str, RepositorySettings] = Field(default_factory=dict, description="repositories by name")

    @field_validator("cluster", "repository", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        for name in value if isinstance(value, dict) else ():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name: letters, digits and . _ - only, at most 64 of them")
        return value


def models(model: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    """Every settings model that is reachable, outermost first: what docs/settings.md lists."""
    yield model
    for field in model.model_fields.values():
        inner = model_of(field.annotation)
        if inner is not None:
            yield from models(inner)


def model_of(annotation: object) -> type[BaseModel] | None:
    """The settings model inside an annotation such as `X | None` or `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for part in getattr(annotation, "__args__", ()) if (m := model_of(part)) is not None), None)


SECRET_KEYS: Final = frozenset(
    name
    for model in models()
    for name, field in model.model_fields.items()
    if model_of(field.annotation) is SecretSource
)
