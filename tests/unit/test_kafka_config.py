from __future__ import annotations

from typing import Any

import pytest

from kafkeep.errors import (
    KafkaAccessDenied,
    KafkaLoginError,
    KafkaRequestError,
    SettingsError,
)
from kafkeep.kafka import codes
from kafkeep.kafka.config import ClientCredentials, ClusterConfig, SaslConfig, TokenCommand, parse_address
from kafkeep.secret import Secret
from kafkeep.tls import TlsConfig

CANARY = "canary-7f3a"


def cluster(**options: Any) -> ClusterConfig:
    return ClusterConfig(name="c", bootstrap=("b:1",), **options)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("broker", "broker", 9092),
        ("broker:19092", "broker", 19092),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("[::1]:9093", "::1", 9093),
        ("[fe80::1]", "fe80::1", 9092),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize("text", ["", ":9092", "b:", "b:0", "b:65536", "b:x", "::1", "[::1", "[::1]x", "b:-1", "b:²"])
def test_refused_addresses(text: str) -> None:
    with pytest.raises(SettingsError, match="not a broker address"):
        parse_address(text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"security_protocol": "TLS"}, "unknown security protocol 'TLS'"),
        ({"security_protocol": "SASL_SSL"}, "needs sasl settings"),
        ({"sasl": SaslConfig(mechanism="GSSAPI")}, "security protocol is PLAINTEXT"),
        ({"connect_timeout_seconds": 0}, "greater than 0"),
        ({"security_protocol": "SASL_PLAINTEXT", "sasl": SaslConfig(mechanism="AWS_MSK_IAM")}, "needs the security"),
    ],
)
def test_clusters_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        cluster(**options)


def test_a_cluster_needs_an_address() -> None:
    with pytest.raises(SettingsError, match="no bootstrap address"):
        ClusterConfig(name="c", bootstrap=())
    assert ClusterConfig(name="c", bootstrap=("a", "b:2")).addresses == (("a", 9092), ("b", 2))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SaslConfig(mechanism="SCRAM"), "unknown sasl mechanism"),
        (lambda: SaslConfig(mechanism="PLAIN", username="u"), "needs username and password"),
        (lambda: SaslConfig(mechanism="SCRAM-SHA-256", password=Secret("p")), "needs username and password"),
        (lambda: SaslConfig(mechanism="OAUTHBEARER"), "needs a token source"),
        (lambda: TokenCommand(()), "empty"),
        (lambda: TlsConfig(key_file="k"), "without cert_file"),
        (
            lambda: ClientCredentials(token_url="file:///etc/passwd", client_id="c", client_secret=Secret("s")),
            "must begin with https",
        ),
    ],
)
def test_logins_that_cannot_be(make: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        make()


def test_secrets_do_not_show_in_settings() -> None:
    sasl = SaslConfig(mechanism="PLAIN", username="u", password=Secret(CANARY))
    source = ClientCredentials(token_url="https://x", client_id="c", client_secret=Secret(CANARY))
    tls = TlsConfig(cert_file="c", key_password=Secret(CANARY))
    config = cluster(security_protocol="SASL_SSL", sasl=sasl, tls=tls)
    assert CANARY not in f"{config} {config!r} {source!r}"


def test_codes_as_kafka_numbers_them() -> None:
    assert codes.ErrorCode.NOT_LEADER_OR_FOLLOWER == 6
    assert codes.ErrorCode.FENCED_LEADER_EPOCH == 74
    assert codes.ErrorCode.UNKNOWN_TOPIC_ID == 100
    assert codes.code_name(87) == "INVALID_RECORD"
    assert codes.code_name(9999) == "ERROR_9999"
    assert len(codes.ErrorCode) == 135
    assert codes.retriable(6)
    assert codes.stale_metadata(6)
    assert codes.retriable(7)
    assert not codes.stale_metadata(7)
    assert not codes.retriable(1)
    assert not codes.retriable(9999)


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        (29, KafkaAccessDenied, False),
        (30, KafkaAccessDenied, False),
        (31, KafkaAccessDenied, False),
        (58, KafkaLoginError, False),
        (33, KafkaLoginError, False),
        (6, KafkaRequestError, True),
        (87, KafkaRequestError, False),
        (4711, KafkaRequestError, False),
    ],
)
def test_the_error_for_a_code(code: int, kind: type[Exception], retryable: bool) -> None:
    error = codes.request_error(code, "fetch from b:9092")
    assert type(error) is kind
    assert error.retryable is retryable
    assert str(error) == f"fetch from b:9092: {codes.code_name(code)} ({code})"
