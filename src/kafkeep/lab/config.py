"""What a lab is asked for, and the broker settings that follow from it.  (pure)"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Final

from kafkeep.errors import UsageError
from kafkeep.records import dataclass

PLAINTEXT, TLS, SASL = "plaintext", "tls", "sasl"
SECURITY = (PLAINTEXT, TLS, SASL)
BROKER_COUNTS = (1, 3)
HOST = "127.0.0.1"
CONTROLLER = "CONTROLLER"
INTERNAL = "INTERNAL"

LISTENERS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    PLAINTEXT: (("PLAINTEXT", "PLAINTEXT"),),
    TLS: (("TLS", "SSL"), ("MTLS", "SSL"), (INTERNAL, "PLAINTEXT")),
    SASL: (("SASLTLS", "SASL_SSL"), ("SASLPLAIN", "SASL_PLAINTEXT"), ("MTLS", "SSL"), (INTERNAL, "PLAINTEXT")),
}
"""(name, protocol) of each listener; the first is the one a lab's bootstrap address points to. INTERNAL is for the
brokers among themselves and for the lab's own probe: whoever comes over it is anonymous and may do everything."""

MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER")
ADMIN = "admin"
AWKWARD = "comma,equals=name"
"""A user whose name must be escaped in SCRAM messages (RFC 5802 section 5.1)."""
PLAIN_USERS = (ADMIN, "alice", "bob")
USERS = (*PLAIN_USERS, AWKWARD)

OAUTH_ISSUER, OAUTH_AUDIENCE = "kafkeep-lab", "kafka"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabOptions:
    """What `Lab.start` builds. Raises UsageError for what no lab can be."""

    brokers: int = 1
    """1: one node is broker and controller. 3: node 1 is broker and the only controller, 2 and 3 are brokers."""
    kafka: str | None = None
    """Kafka version; None takes KAFKA_HOME's, else the default."""
    security: str = PLAINTEXT
    properties: Mapping[str, str] = field(default_factory=dict)
    """Broker settings of every node; they win over the lab's own."""
    node_properties: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Broker settings of single nodes by node id; they win over `properties`."""
    heap_mb: int = 384
    jvm_options: tuple[str, ...] = ()
    """Of the brokers; those of `FOR_EVERY_JVM` are given to Kafka's tools as well."""
    quick_start: bool = True
    """Only the quick compiler: starts sooner, runs slower under load. False for benchmarks."""
    log_dirs: int = 1
    """Log directories per node."""

    def __post_init__(self) -> None:
        if self.brokers not in BROKER_COUNTS:
            raise UsageError(f"a lab has 1 or 3 brokers, not {self.brokers}")
        if self.security not in SECURITY:
            raise UsageError(f"a lab's security is {', '.join(SECURITY)}, not {self.security}")
        if self.heap_mb < 128 or self.log_dirs < 1:
            raise UsageError("a lab's node needs at least 128 MB of heap and one log directory")


FOR_EVERY_JVM: Final = ("-XX:SharedArchiveFile=", "-Xlog:disable")
"""How options begin that depend on the runtime and the class path alone, not on what runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLayout:
    """Where a node lives: its folder and the port of each listener by name."""

    node_id: int
    folder: Path
    ports: Mapping[str, int]
    controller: bool

    @property
    def properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def log_file(self) -> Path:
        return self.folder / "server.log"

    def log_dirs(self, count: int) -> tuple[Path, ...]:
        return tuple(self.folder / f"data-{number}" for number in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityFiles:
    """What the broker settings of a secured lab refer to."""

    server_store: Path
    ca: Path
    jwks_url: str
    passwords: Mapping[str, str]
    """Of `PLAIN_USERS`; written into server.properties, which only the owner can read."""
    client_principal: str


def listener_names(security: str, *, controller: bool) -> tuple[str, ...]:
    """The listeners a node needs ports for."""
    names = tuple(name for name, _ in LISTENERS[security])
    return (*names, CONTROLLER) if controller else names


def main_listener(security: str) -> str:
    """The listener a lab's bootstrap address points to."""
    return LISTENERS[security][0][0]


def probe_listener(security: str) -> str:
    """The plaintext listener over which the lab asks its own brokers."""
    return LISTENERS[security][-1][0]


def server_properties(
    node: NodeLayout,
    options: LabOptions,
    *,
    kafka_major: int,
    controller_port: int,
    security: SecurityFiles | None,
) -> dict[str, str]:
    """The server.properties of a node; `security` is needed unless the lab is plaintext."""
    names = listener_names(options.security, controller=node.controller)
    client_names = [name for name in names if name != CONTROLLER]
    protocols = {**dict(LISTENERS[options.security]), CONTROLLER: "PLAINTEXT"}
    settings = {
        "process.roles": "broker,controller" if node.controller else "broker",
        "node.id": str(node.node_id),
        # A fixed quorum of one is enough for a lab and needs no flags when formatting, on 3.9 and 4.x alike.
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": CONTROLLER,
        "listeners": ",".join(f"{name}://{HOST}:{node.ports[name]}" for name in names),
        "advertised.listeners": ",".join(f"{name}://{HOST}:{node.ports[name]}" for name in client_names),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "inter.broker.listener.name": client_names[-1],
        "log.dirs": ",".join(str(path) for path in node.log_dirs(options.log_dirs)),
        **_small(options.brokers),
    }
    if kafka_major >= 4:
        settings |= _share_groups(options.brokers)
    if security is not None:
        settings |= _tls(security)
    if security is not None and options.security == SASL:
        settings |= _sasl(security)
    return settings | dict(options.properties) | dict(options.node_properties.get(node.node_id, {}))


def _small(brokers: int) -> dict[str, str]:
    """Sizes for a laptop, and nothing that makes a test wait."""
    copies, in_sync = str(brokers), str(min(2, brokers))
    return {
        "auto.create.topics.enable": "false",
        # A killed node may register again once its session is over: 9 s by default.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "4000",
        "default.replication.factor": copies,
        "group.initial.rebalance.delay.ms": "0",
        "log.cleaner.dedupe.buffer.size": "16777216",
        "min.insync.replicas": "1",
        "num.io.threads": "4",
        "num.network.threads": "2",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": copies,
    }


def _share_groups(brokers: int) -> dict[str, str]:
    """All rebalance protocols, and a small state topic for share groups (KIP-932)."""
    return {
        "group.coordinator.rebalance.protocols": "classic,consumer,share,streams",
        "share.coordinator.state.topic.min.isr": str(min(2, brokers)),
        "share.coordinator.state.topic.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": str(brokers),
    }


def _tls(security: SecurityFiles) -> dict[str, str]:
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(security.server_store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(security.ca),
        "ssl.client.auth": "requested",
        "listener.name.mtls.ssl.client.auth": "required",
    }


def _sasl(security: SecurityFiles) -> dict[str, str]:
    package = "org.apache.kafka.common.security"
    plain = " ".join(f"user_{name}={jaas_quote(security.passwords[name])}" for name in PLAIN_USERS)
    settings = {
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "sasl.oauthbearer.jwks.endpoint.url": security.jwks_url,
        "sasl.oauthbearer.expected.audience": OAUTH_AUDIENCE,
        "sasl.oauthbearer.expected.issuer": OAUTH_ISSUER,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN};User:ANONYMOUS;{security.client_principal}",
    }
    for listener in ("sasltls", "saslplain"):
        prefix = f"listener.name.{listener}"
        settings |= {
            f"{prefix}.scram-sha-256.sasl.jaas.config": f"{package}.scram.ScramLoginModule required;",
            f"{prefix}.scram-sha-512.sasl.jaas.config": f"{package}.scram.ScramLoginModule required;",
            f"{prefix}.plain.sasl.jaas.config": f"{package}.plain.PlainLoginModule required {plain};",
            f"{prefix}.oauthbearer.sasl.jaas.config": f"{package}.oauthbearer.OAuthBearerLoginModule required;",
            f"{prefix}.oauthbearer.sasl.server.callback.handler.class": (
                f"{package}.oauthbearer.OAuthBearerValidatorCallbackHandler"
            ),
        }
    return settings


def client_properties(
    options_security: str, *, ca: Path | None = None, user: str = ADMIN, password: str = ""
) -> dict[str, str]:
    """What Kafka's own Java tools need in --command-config to use a lab's first listener."""
    if options_security == PLAINTEXT:
        return {"security.protocol": "PLAINTEXT"}
    tls = {"security.protocol": "SSL", "ssl.truststore.type": "PEM", "ssl.truststore.location": str(ca)}
    if options_security == TLS:
        return tls
    login = f"username={jaas_quote(user)} password={jaas_quote(password)}"
    return {
        **tls,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": f"org.apache.kafka.common.security.scram.ScramLoginModule required {login};",
    }


def kafkeep_toml(security: str, addresses: Sequence[str], tls_folder: Path, login_folder: Path) -> str:
    """kafkeep's own settings for the lab: `[cluster.lab]`, as the admin where there are logins."""
    text = "[cluster.lab]\n" + _toml("bootstrap", ",".join(addresses))
    if security == PLAINTEXT:
        return text
    text += _toml("security", "tls" if security == TLS else "sasl_tls")
    text += "\n[cluster.lab.tls]\n" + _toml("ca_file", str(tls_folder / "ca.pem"))
    if security == SASL:
        text += "\n[cluster.lab.sasl]\n" + _toml("mechanism", "SCRAM-SHA-512") + _toml("username", ADMIN)
        text += "\n[cluster.lab.sasl.password]\n" + _toml("file", str(login_folder / ADMIN))
    return text


def _toml(key: str, value: str) -> str:
    return f"{key} = {json.dumps(value)}\n"


def jaas_quote(text: str) -> str:
    """A value in a JAAS configuration (Java's StreamTokenizer: backslash escapes inside double quotes)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def properties_text(settings: Mapping[str, str]) -> str:
    """A Java .properties file (backslashes doubled, everything outside ASCII as \\uXXXX), keys sorted."""
    lines = []
    for key, value in sorted(settings.items()):
        escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
        units = escaped.encode("utf-16-be")
        ascii_only = "".join(
            chr(unit) if 0x20 <= unit < 0x7F else f"\\u{unit:04x}"
            for unit in (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
        )
        lines.append(f"{key}={ascii_only}\n")
    return "".join(lines)


def log_properties(kafka_major: int) -> str:
    """Log configuration: log4j 2 for Kafka 4 and later, reload4j before. One line per event, to standard output."""
    if kafka_major < 4:
        return (
            "log4j.rootLogger=INFO, out\n"
            "log4j.appender.out=org.apache.log4j.ConsoleAppender\n"
            "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n"
            "log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n\n"
        )
    return (
        "status = error\n"
        "appender.out.type = Console\n"
        "appender.out.name = out\n"
        "appender.out.layout.type = PatternLayout\n"
        "appender.out.layout.pattern = [%d] %p %m (%c)%n\n"
        "rootLogger.level = info\n"
        "rootLogger.appenderRef.out.ref = out\n"
    )


def jvm_options(options: LabOptions, *, kafka_major: int, log_config: Path, jwks_url: str) -> tuple[str, ...]:
    """Options of a broker's JVM, the runtime's own quietening left out."""
    logging = "log4j2.configurationFile" if kafka_major >= 4 else "log4j.configuration"
    given = [
        f"-Xmx{options.heap_mb}m",
        "-XX:+UseSerialGC",
        f"-D{logging}=file:{log_config}",
        "-Djava.awt.headless=true",
    ]
    if options.quick_start:
        given.append("-XX:TieredStopAtLevel=1")
    if options.security == SASL:
        # From 3.9.1 on a broker reads keys only from URLs it was allowed by a system property (KAFKA-18946).
        given.append(f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks_url}")
    return (*given, *options.jvm_options)
