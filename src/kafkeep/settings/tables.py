"""The tables of kafkeep.toml as strict, frozen models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, field

from kafkeep.settings.kinds import (
    Command,
    Mechanism,
    Rate,
    Seconds,
    SecureUrl,
    Security,
    Servers,
    ServiceUrl,
    StoreUrl,
    Strict,
    Text,
    keys,
)
from kafkeep.settings.words import ALLOW_INSECURE, MECHANISMS


class SecretSource(Strict, frozen=True):
    """Where a secret is found: exactly one of the three."""

    file: Annotated[Text | None, Meta(description="file with the secret; refused when others may read it")] = None
    env: Annotated[Text | None, Meta(description="environment variable with the secret")] = None
    command: Annotated[
        Command | None, Meta(description="program and arguments that print the secret; no shell is involved")
    ] = None

    def __post_init__(self) -> None:
        if sum(source is not None for source in (self.file, self.env, self.command)) != 1 or self.command == ():
            raise ValueError("should have exactly one of file, env, command")

    def __str__(self) -> str:
        """The source without the arguments of a command, which may hold secrets themselves."""
        if self.file is not None:
            return f"file {self.file}"
        if self.env is not None:
            return f"environment variable {self.env}"
        return f"command {self.command[0]}" if self.command else "command"

    def __repr__(self) -> str:
        return f"SecretSource({self})"


class ClientCredentials(Strict, frozen=True):
    """OAuth 2.0 client credentials: the token is asked for where it is needed and renewed in time."""

    token_url: Annotated[SecureUrl, Meta(description="token endpoint, https")]
    client_id: Annotated[Text, Meta(description="client id")]
    client_secret: Annotated[SecretSource, Meta(description="client secret")]
    scope: Annotated[Text | None, Meta(description="scope to ask for")] = None
    ca_file: Annotated[Text | None, Meta(description="certificates that the token endpoint is checked against")] = None


class TlsSettings(Strict, frozen=True):
    """How TLS connections are made; verification is on unless two places say otherwise."""

    ca_file: Annotated[
        Text | None, Meta(description="PEM file of the certificates brokers are checked against; default: the system's")
    ] = None
    cert_file: Annotated[Text | None, Meta(description="PEM file of the client certificate (mTLS)")] = None
    key_file: Annotated[
        Text | None,
        Meta(
            description="PEM file of the client's key; default: cert_file holds it too; refused when others may read it"
        ),
    ] = None
    key_password: Annotated[SecretSource | None, Meta(description="secret that opens the client's key")] = None
    verify: Annotated[
        bool, Meta(description=f"false trusts any broker; needs {ALLOW_INSECURE}=1 too and warns each time")
    ] = True
    check_hostname: Annotated[
        bool, Meta(description="false accepts a certificate of another host name, with a warning")
    ] = True

    def __post_init__(self) -> None:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is set without cert_file")
        if self.key_password is not None and self.cert_file is None:
            raise ValueError("key_password is set without cert_file")
        if not self.verify and self.ca_file is not None:
            raise ValueError("ca_file has no effect when verify is false")


class SaslSettings(Strict, frozen=True):
    """The login at a broker. Each mechanism takes its own keys; others are refused."""

    mechanism: Annotated[Mechanism, Meta(description=", ".join(MECHANISMS))]
    username: Annotated[Text | None, Meta(description="PLAIN and SCRAM: user name; GSSAPI: principal")] = None
    password: Annotated[SecretSource | None, Meta(description="PLAIN and SCRAM: password")] = None
    token: Annotated[SecretSource | None, Meta(description="OAUTHBEARER: a token, read again before each login")] = None
    client_credentials: Annotated[ClientCredentials | None, Meta(description="OAUTHBEARER: where to get tokens")] = None
    service_name: Annotated[
        Text | None, Meta(description="GSSAPI: Kerberos service name of the brokers; default kafka")
    ] = None
    region: Annotated[Text | None, Meta(description="AWS_MSK_IAM: region of the cluster; default: botocore's own")] = (
        None
    )

    def __post_init__(self) -> None:
        allowed, needed = _MECHANISM_KEYS[self.mechanism]
        given = {name for name in self.__struct_fields__ if name != "mechanism" and getattr(self, name) is not None}
        for name in sorted(given - allowed):
            raise ValueError(f"{name} has no effect with {self.mechanism}")
        for name in sorted(needed - given):
            raise ValueError(f"{name} is missing; {self.mechanism} needs it")
        if self.mechanism == "OAUTHBEARER" and len(given) != 1:
            raise ValueError("OAUTHBEARER needs exactly one of token, client_credentials")
        if self.token is not None and self.token.env is not None:
            raise ValueError("a token ends and is read again: give its file or its command, not a variable")


_MECHANISM_KEYS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    **{
        name: (frozenset({"username", "password"}), frozenset({"username", "password"}))
        for name in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    },
    "OAUTHBEARER": (frozenset({"token", "client_credentials"}), frozenset()),
    "GSSAPI": (frozenset({"username", "service_name"}), frozenset()),
    "AWS_MSK_IAM": (frozenset({"region"}), frozenset()),
}


class ServiceSettings(Strict, frozen=True):
    """`[cluster.NAME.registry]` and `[cluster.NAME.connect]`: a server beside the cluster, spoken to over HTTP."""

    url: Annotated[
        ServiceUrl,
        Meta(description="where its REST interface begins, https:// or http://, with the path if there is one"),
    ]
    username: Annotated[Text | None, Meta(description="user name for basic authentication")] = None
    password: Annotated[SecretSource | None, Meta(description="password of that user")] = None
    bearer: Annotated[
        SecretSource | None, Meta(description="token that is sent as it is, instead of user and password")
    ] = None
    tls: Annotated[TlsSettings | None, Meta(description="TLS details; only with https")] = None
    request_timeout_seconds: Annotated[Seconds, Meta(description="longest wait for one answer")] = 30.0

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.bearer is not None and self.username is not None:
            raise ValueError("has a bearer token beside username and password: give one login")
        if self.tls is not None and not self.url.startswith("https:"):
            raise ValueError("a tls table has no effect with http://")


class ClusterSettings(Strict, frozen=True):
    """`[cluster.NAME]`: a Kafka cluster and how to log in."""

    bootstrap: Annotated[Servers, Meta(description="host:port of some brokers, as a list or with commas between them")]
    security: Annotated[
        Security, Meta(description="plaintext, tls, sasl_plaintext or sasl_tls; Kafka's own names are understood")
    ] = "PLAINTEXT"
    tls: Annotated[TlsSettings | None, Meta(description="TLS details; only with tls and sasl_tls")] = None
    sasl: Annotated[
        SaslSettings | None, Meta(description="login; needed with sasl_plaintext and sasl_tls, refused otherwise")
    ] = None
    controllers: Annotated[
        Servers | None,
        Meta(description="host:port of every controller's own listener; for --metadata-route controller"),
    ] = None
    controller_security: Annotated[
        Security | None,
        Meta(description="as security, for the controllers' listener; default: the same. tls and sasl serve both"),
    ] = None
    client_id: Annotated[Text, Meta(description="client id that brokers see, for their logs and quotas")] = "kafkeep"
    read_bytes_per_second: Annotated[
        Rate | None, Meta(description="most that backups read from the brokers; --max-rate goes before it")
    ] = None
    connect_timeout_seconds: Annotated[
        Seconds, Meta(description="longest wait for one connection, up to its first answer")
    ] = 10.0
    request_timeout_seconds: Annotated[Seconds, Meta(description="longest wait for one answer")] = 30.0
    registry: Annotated[
        ServiceSettings | None,
        Meta(description="registry with the schemas of the cluster's records; Confluent's REST interface"),
    ] = None
    connect: Annotated[
        ServiceSettings | None, Meta(description="Kafka Connect's REST interface, of any of its workers")
    ] = None

    def __post_init__(self) -> None:
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


def _words(listeners: Mapping[str, str]) -> str:
    return " and ".join(f"{key} {security}" for key, security in listeners.items())


class ObjectLockSettings(Strict, frozen=True):
    """`[repository.NAME.s3.object_lock]`: what new packs, commits and documents are locked with. The bucket must have been
    made with object lock."""

    mode: Annotated[
        Literal["governance", "compliance"],
        Meta(
            description="governance: who has a special right may lift it; "
            "compliance: nobody may, not even the account's owner"
        ),
    ]
    days: Annotated[
        Annotated[int, Meta(ge=1, le=36500)], Meta(description="how long each object is locked from when it is made")
    ]


class S3Settings(Strict, frozen=True):
    """`[repository.NAME.s3]`: how a bucket behind `s3://` is reached. Without a login here, the variables AWS_* count, then
    web identity, the container's and the host's role."""

    endpoint: Annotated[
        SecureUrl | None,
        Meta(description="the service's address, https; http on this host only; default: Amazon's own for the region"),
    ] = None
    region: Annotated[Text | None, Meta(description="region of the bucket; default: AWS_REGION, else us-east-1")] = None
    path_style: Annotated[
        bool | None,
        Meta(
            description="whether the bucket stands in the path rather than in the host name; default: with an endpoint"
        ),
    ] = None
    access_key_id: Annotated[SecretSource | None, Meta(description="id of the access key")] = None
    secret_access_key: Annotated[SecretSource | None, Meta(description="the access key's secret")] = None
    session_token: Annotated[SecretSource | None, Meta(description="token of a temporary access key")] = None
    credentials: Annotated[
        SecretSource | None,
        Meta(
            description="an access key as AWS's credential_process prints it, instead of the three; "
            "read again before it ends"
        ),
    ] = None
    checksum: Annotated[
        Literal["sha256", "crc64nvme"] | None,
        Meta(
            description="what the service checks bodies by: sha256 in the signature, understood everywhere, "
            "or crc64nvme, which costs less; default: crc64nvme at Amazon's own endpoints, else sha256"
        ),
    ] = None
    object_lock: Annotated[
        ObjectLockSettings | None,
        Meta(description="lock what is written against deletion; default: no lock but the bucket's own"),
    ] = None

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token is set without access_key_id")
        if self.credentials is not None and self.access_key_id is not None:
            raise ValueError("should have one of access_key_id and credentials")


class GcsSettings(Strict, frozen=True):
    """`[repository.NAME.gcs]`: how a bucket behind `gs://` is reached. Without a key here, the application default
    credentials count."""

    endpoint: Annotated[
        SecureUrl | None,
        Meta(description="the service's address, https; http on this host only; default: Google's own"),
    ] = None
    service_account_key: Annotated[SecretSource | None, Meta(description="key of a service account, JSON")] = None


class AzureSettings(Strict, frozen=True):
    """`[repository.NAME.azure]`: how a container behind `az://` is reached. Without a login here, the variables AZURE_*
    count, then workload and managed identity."""

    account: Annotated[Text | None, Meta(description="storage account; default: AZURE_STORAGE_ACCOUNT_NAME")] = None
    endpoint: Annotated[
        SecureUrl | None,
        Meta(description="the service's address, https; http on this host only; default: Azure's own for the account"),
    ] = None
    account_key: Annotated[SecretSource | None, Meta(description="key of the storage account")] = None
    sas_token: Annotated[SecretSource | None, Meta(description="shared access signature")] = None

    def __post_init__(self) -> None:
        if self.account_key is not None and self.sas_token is not None:
            raise ValueError("should have one of account_key and sas_token")


_BUCKET_KEYS: Final = ("ca_file", "timeout_seconds", "connections", "storage_class", "spool_folder")
_BUCKET_TABLES: Final = {"s3": "s3", "gcs": "gs", "azure": "az"}


class WorkersSettings(Strict, frozen=True):
    """`[repository.NAME.workers]`: who does the work of backups and restores; options go before it."""

    executor: Annotated[Literal["threads", "processes", "dask"], Meta(description="threads, processes or dask")]
    count: Annotated[Annotated[int, Meta(ge=1, le=1024)] | None, Meta(description="workers; default: one per core")] = (
        None
    )
    scheduler: Annotated[
        Text | None, Meta(description="dask: tcp:// or tls:// address; default: workers on this host")
    ] = None
    worker_key: Annotated[
        SecretSource | None, Meta(description="dask: the key that seals what travels; workers have it too")
    ] = None

    def __post_init__(self) -> None:
        if self.executor == "threads" and self.count is not None:
            raise ValueError("count has no effect with threads")
        if self.executor != "dask" and (self.scheduler is not None or self.worker_key is not None):
            raise ValueError(f"scheduler and worker_key have no effect with {self.executor}")


class RepositorySettings(Strict, frozen=True):
    """`[repository.NAME]`: a place for backups."""

    url: Annotated[
        StoreUrl,
        Meta(
            description="a folder's path or a URL: file:///backups/prod, s3://bucket/path, "
            "gs://bucket/path, az://container/path"
        ),
    ]
    compression: Annotated[
        Literal["zstd", "none"], Meta(description="what `init` sets for chunks of uncompressed batches: zstd or none")
    ] = "zstd"
    identity: Annotated[
        SecretSource | None,
        Meta(description="identity that opens an encrypted repository; a program may have a KMS decrypt it"),
    ] = None
    passphrase: Annotated[SecretSource | None, Meta(description="passphrase that opens an encrypted repository")] = None
    writer_key: Annotated[
        SecretSource | None,
        Meta(description="key with which an encrypted repository is written, pruned and copied; it opens no records"),
    ] = None
    signing_key: Annotated[
        SecretSource | None,
        Meta(description="key with which commits are signed, where the repository wants them signed"),
    ] = None
    admins: Annotated[
        tuple[Text, ...],
        Meta(description="signers who alone may have begun the repository; any other repository is refused"),
    ] = ()
    s3: Annotated[S3Settings | None, Meta(description="how the bucket is reached; only with s3://")] = None
    gcs: Annotated[GcsSettings | None, Meta(description="how the bucket is reached; only with gs://")] = None
    azure: Annotated[AzureSettings | None, Meta(description="how the container is reached; only with az://")] = None
    ca_file: Annotated[
        Text | None, Meta(description="buckets: PEM file of certificates that are trusted besides the system's")
    ] = None
    timeout_seconds: Annotated[
        Seconds | None,
        Meta(description="buckets: longest wait for a request, the time for its bytes not counted; default 60"),
    ] = None
    connections: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | None,
        Meta(description="buckets: requests at once, fewer while the service asks for less; default 16"),
    ] = None
    storage_class: Annotated[
        Text | None, Meta(description="buckets: class of packs in the service's own words; default: the bucket's")
    ] = None
    spool_folder: Annotated[
        Text | None,
        Meta(
            description="buckets: folder where packs wait until they are whole; default: the system's for temporary files"
        ),
    ] = None
    upload_bytes_per_second: Annotated[
        Rate | None, Meta(description="most that is written to the store; --limit-upload goes before it")
    ] = None
    download_bytes_per_second: Annotated[
        Rate | None, Meta(description="most that is read from the store; --limit-download goes before it")
    ] = None
    workers: Annotated[WorkersSettings | None, Meta(description="who does the work; default: threads")] = None

    def __post_init__(self) -> None:
        scheme = self.url.split("://", 1)[0].lower() if "://" in self.url else ""
        for table, wanted in _BUCKET_TABLES.items():
            if getattr(self, table) is not None and scheme != wanted:
                raise ValueError(f"a table {table} has no effect with this url")
        for key in _BUCKET_KEYS:
            if getattr(self, key) is not None and scheme not in _BUCKET_TABLES.values():
                raise ValueError(f"{key} has no effect with this url")


class Settings(Strict, frozen=True):
    """The whole of kafkeep.toml."""

    cluster: Annotated[dict[str, ClusterSettings], Meta(description="clusters by name")] = field(default_factory=dict)
    repository: Annotated[dict[str, RepositorySettings], Meta(description="repositories by name")] = field(
        default_factory=dict
    )


def models(model: type[Strict] = Settings) -> Iterator[type[Strict]]:
    """Every table that is reachable, outermost first: what docs/settings.md lists."""
    yield model
    for key in keys(model).values():
        if key.table is not None:
            yield from models(key.table)
