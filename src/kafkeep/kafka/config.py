"""How to reach and log in to a cluster: frozen values, checked when they are made. Nothing here does I/O."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from kafkeep.errors import SettingsError
from kafkeep.records import dataclass
from kafkeep.secret import Secret
from kafkeep.tls import TlsConfig

SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM")
DEFAULT_PORT: Final = 9092


@dataclass(frozen=True, slots=True)
class TokenFile:
    """An OAuth token read from a file at every login, so that another process may renew it."""

    path: str


@dataclass(frozen=True, slots=True)
class TokenCommand:
    """An OAuth token taken from the standard output of a program run at every login (no shell)."""

    argv: tuple[str, ...]
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.argv:
            raise SettingsError("the token command is empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """An OAuth token from a token endpoint by the client credentials grant (RFC 6749 section 4.4)."""

    token_url: str
    client_id: str
    client_secret: Secret
    scope: str | None = None
    ca_file: str | None = None
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.token_url.startswith(("https://", "http://")):
            raise SettingsError(f"token_url must begin with https:// or http://, not {self.token_url!r}")


TokenSource = TokenFile | TokenCommand | ClientCredentials


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslConfig:
    mechanism: str
    """One of `SASL_MECHANISMS`."""
    username: str | None = None
    password: Secret | None = None
    token: TokenSource | None = None
    """For OAUTHBEARER."""
    service_name: str = "kafka"
    """For GSSAPI: the first part of the brokers' principals."""
    region: str | None = None
    """For AWS_MSK_IAM; None asks botocore's own configuration."""

    def __post_init__(self) -> None:
        if self.mechanism not in SASL_MECHANISMS:
            raise SettingsError(f"unknown sasl mechanism {self.mechanism!r}; known are {', '.join(SASL_MECHANISMS)}")
        if self.mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512") and (
            self.username is None or self.password is None
        ):
            raise SettingsError(f"sasl mechanism {self.mechanism} needs username and password")
        if self.mechanism == "OAUTHBEARER" and self.token is None:
            raise SettingsError("sasl mechanism OAUTHBEARER needs a token source")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    name: str
    """For people: the name in kafkeep.toml or the bootstrap list itself."""
    bootstrap: tuple[str, ...]
    """`host:port` or `host` each; IPv6 addresses in brackets."""
    security_protocol: str = "PLAINTEXT"
    tls: TlsConfig = field(default_factory=TlsConfig)
    sasl: SaslConfig | None = None
    client_id: str = "kafkeep"
    connect_timeout_seconds: float = 10.0
    """For one connection until it may carry requests: TCP, TLS and login."""
    request_timeout_seconds: float = 30.0
    """How long a broker may stay silent on a request, its own waiting time (max_wait, acks timeout) not counted."""
    controllers: ClusterConfig | None = None
    """How to reach the controllers at the listener of their own; None where nobody has said."""

    def __post_init__(self) -> None:
        if self.security_protocol not in SECURITY_PROTOCOLS:
            known = ", ".join(SECURITY_PROTOCOLS)
            raise SettingsError(f"unknown security protocol {self.security_protocol!r}; known are {known}")
        if self.uses_sasl and self.sasl is None:
            raise SettingsError(f"security protocol {self.security_protocol} needs sasl settings")
        if self.sasl is not None and not self.uses_sasl:
            raise SettingsError(f"sasl settings are given but the security protocol is {self.security_protocol}")
        if self.sasl is not None and self.sasl.mechanism == "AWS_MSK_IAM" and not self.uses_tls:
            raise SettingsError("sasl mechanism AWS_MSK_IAM needs the security protocol SASL_SSL")
        if self.connect_timeout_seconds <= 0 or self.request_timeout_seconds <= 0:
            raise SettingsError("timeouts must be greater than 0")
        if not self.bootstrap:
            raise SettingsError(f"cluster {self.name} has no bootstrap address")
        for address in self.bootstrap:
            parse_address(address)

    @property
    def uses_tls(self) -> bool:
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def uses_sasl(self) -> bool:
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """The bootstrap list as (host, port)."""
        return tuple(parse_address(address) for address in self.bootstrap)


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `host`, `[v6]:port` or `[v6]`.

    Raises:
        SettingsError: when the text is none of these or the port is not 1 to 65535.
    """
    host, port = text, str(DEFAULT_PORT)
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise SettingsError(f"not a broker address: {text!r}")
        port = rest[1:] if rest else port
    elif ":" in text:
        host, _, port = text.rpartition(":")
        if ":" in host:
            raise SettingsError(f"not a broker address: {text!r} (write IPv6 addresses in brackets)")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise SettingsError(f"not a broker address: {text!r}")
    return host, int(port)
