"""Every way to log in to real brokers, and every way to be refused; secrets show nowhere."""

from __future__ import annotations

import sys
import time
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.kafka import STEADY, Clusters, KafkaCluster, create_topic, unique
from tests.support.told import lines_told

from kafkeep.errors import KafkaError, KafkaLoginError, KafkaProtocolError, KafkaUnreachable
from kafkeep.kafka.config import ClusterConfig, SaslConfig, TokenCommand, TokenFile
from kafkeep.kafka.connection import Connection
from kafkeep.kafka.fetch import BrokerFetcher, FetchPosition
from kafkeep.lab.config import ADMIN, AWKWARD
from kafkeep.model import NO_TOPIC_ID, TopicPartition
from kafkeep.secret import Secret
from kafkeep.tls import TlsConfig

pytestmark = pytest.mark.integration

CANARY = "canary-c0ffee"


@pytest.fixture(params=["431", "392"])
def secured(request: pytest.FixtureRequest) -> KafkaCluster:
    cluster: KafkaCluster = request.getfixturevalue(f"kafka_{request.param}_scram")
    return cluster


def error_of_a_fetch(config: ClusterConfig) -> int:
    """Kafka's error code for reading a topic that does not exist: 3 shows that the login was taken."""
    with BrokerFetcher(config, *config.addresses[0], max_wait_ms=0) as hot:
        (answer,) = hot.fetch([FetchPosition(TopicPartition("no-such-topic", 0), NO_TOPIC_ID, 0, -1)])
        return answer.error


def opened(config: ClusterConfig) -> None:
    Connection.open(config, *config.addresses[0]).close()


@pytest.mark.parametrize("listener", ["SASLTLS", "SASLPLAIN"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_passwords(secured: KafkaCluster, mechanism: str, listener: str) -> None:
    assert error_of_a_fetch(secured.cluster_config(mechanism=mechanism, listener=listener)) == 3


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_name_and_a_password_with_comma_and_equals(secured: KafkaCluster, mechanism: str) -> None:
    assert "," in AWKWARD
    assert "=" in AWKWARD
    assert secured.lab.logins.password(AWKWARD).reveal().startswith(",=")
    # 29: logged in as that user, who has no rights on the topic.
    assert error_of_a_fetch(secured.cluster_config(user=AWKWARD, mechanism=mechanism)) == 29


@pytest.mark.parametrize("password", ["ªbc", "ﬁrst Ⅸ", "a\u00adb c"])
def test_passwords_that_saslprep_would_change(kafka_431_scram: KafkaCluster, password: str, tmp_path: Path) -> None:
    """Kafka derives keys from the plain UTF-8 bytes; so must its clients. The password is set by Kafka's own tool."""
    cluster, user = kafka_431_scram, unique("unicode")
    escaped = "".join(letter if letter.isascii() else f"\\u{ord(letter):04x}" for letter in password)
    file = tmp_path / "scram.properties"
    file.write_text(f"SCRAM-SHA-256=iterations=4096,password={escaped}\n", encoding="ascii")
    address = ("--bootstrap-server", cluster.lab.bootstrap_of("INTERNAL"), "--alter", "--entity-type", "users")
    cluster.lab.tool("configs", *address, "--entity-name", user, "--add-config-file", str(file))
    sasl = SaslConfig(mechanism="SCRAM-SHA-256", username=user, password=Secret(password))
    opened(cluster.cluster_config(sasl=sasl))
    prepared = Secret(unicodedata.normalize("NFKC", password.replace("\u00ad", "")))
    with pytest.raises(KafkaLoginError):
        opened(cluster.cluster_config(sasl=SaslConfig(mechanism="SCRAM-SHA-256", username=user, password=prepared)))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("user", [ADMIN, "nobody"])
def test_wrong_passwords(secured: KafkaCluster, mechanism: str, user: str, capsys: pytest.CaptureFixture[str]) -> None:
    sasl = SaslConfig(mechanism=mechanism, username=user, password=Secret(CANARY))
    config = secured.cluster_config(sasl=sasl)
    with lines_told() as logs, pytest.raises(KafkaLoginError) as caught:
        opened(config)
    told = str(caught.value)
    assert user in told
    assert mechanism in told
    assert f"{config.addresses[0][0]}:{config.addresses[0][1]}" in told
    assert not caught.value.retryable
    assert CANARY not in f"{told} {caught.value.hint} {caught.value.__cause__!r} {logs} {capsys.readouterr()}"


@pytest.fixture
def strict(clusters: Clusters) -> KafkaCluster:
    """One mechanism only, and sessions of four seconds (KIP-368)."""
    properties = {**STEADY, "sasl.enabled.mechanisms": "SCRAM-SHA-512", "connections.max.reauth.ms": "4000"}
    return clusters.get("431-strict", kafka="4.3.1", security="sasl", properties=properties)


def test_a_mechanism_the_broker_lacks(strict: KafkaCluster) -> None:
    with pytest.raises(KafkaLoginError, match="it offers SCRAM-SHA-512"):
        opened(strict.cluster_config(mechanism="PLAIN", listener="SASLPLAIN"))


def token_config(cluster: KafkaCluster, source: Any) -> ClusterConfig:
    return cluster.cluster_config(sasl=SaslConfig(mechanism="OAUTHBEARER", token=source))


def test_tokens_from_a_file_and_from_a_command(secured: KafkaCluster, tmp_path: Path) -> None:
    token = secured.lab.logins.token(ADMIN, now=datetime.now(UTC))
    file = tmp_path / "token"
    file.write_text(token.reveal() + "\n")
    assert error_of_a_fetch(token_config(secured, TokenFile(str(file)))) == 3
    command = (sys.executable, "-c", "import sys; print(open(sys.argv[1]).read())", str(file))
    assert error_of_a_fetch(token_config(secured, TokenCommand(command))) == 3


def test_tokens_that_are_refused(secured: KafkaCluster, tmp_path: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    expired = secured.lab.logins.token(ADMIN, now=past).reveal()
    good = secured.lab.logins.token(ADMIN, now=datetime.now(UTC)).reveal()
    file = tmp_path / "token"
    for token in (expired, good[:-8] + "AAAAAAAA", "not.a.jwt"):
        file.write_text(token)
        with lines_told() as logs, pytest.raises(KafkaLoginError) as caught:
            opened(token_config(secured, TokenFile(str(file))))
        assert str(file) in str(caught.value)
        assert token not in f"{caught.value} {caught.value.hint} {logs}"


def test_a_session_that_ends_is_renewed(strict: KafkaCluster) -> None:
    """The broker would close the connection after four seconds without a new login."""
    topic = unique("sessions")
    create_topic(strict.client_properties, topic)
    config = strict.cluster_config()
    position = FetchPosition(TopicPartition(topic, 0), NO_TOPIC_ID, 0, -1)
    with lines_told() as logs, BrokerFetcher(config, *config.addresses[0], max_wait_ms=300) as hot:
        hot.send([position])
        for _ in range(20):  # six seconds or more with a fetch under way all the time
            hot.send([position])
            assert hot.receive()[0].error in (0, 6)  # 6: the topic is that new
        assert hot.receive()[0].error == 0
        time.sleep(4.5)  # past the session's end
        assert hot.fetch([position])[0].error == 0
    logins = [entry for entry in logs if entry["message"] == "logged in"]
    assert [entry["message"] for entry in logs].count("broker connection opened") == 1
    assert len(logins) >= 4
    assert {entry["lifetime_ms"] for entry in logins} == {4000}


def test_tls(kafka_431_tls: KafkaCluster) -> None:
    assert error_of_a_fetch(kafka_431_tls.cluster_config()) == 3


def test_mutual_tls(kafka_431_tls: KafkaCluster, tmp_path: Path) -> None:
    cluster = kafka_431_tls
    assert error_of_a_fetch(cluster.cluster_config(listener="MTLS")) == 3
    ours = cluster.cluster_config(listener="MTLS")
    with pytest.raises(KafkaLoginError, match="ended TLS with") as caught:
        opened(cluster.cluster_config(listener="MTLS", tls=TlsConfig(ca_file=ours.tls.ca_file)))
    assert "cert_file" in caught.value.hint
    stranger = Authority(tmp_path, "stranger").issue("me")
    tls = TlsConfig(ca_file=ours.tls.ca_file, cert_file=str(stranger.cert_file), key_file=str(stranger.key_file))
    with pytest.raises(KafkaLoginError, match="ended TLS with"):
        opened(cluster.cluster_config(listener="MTLS", tls=tls))


def test_a_wrong_authority(kafka_431_tls: KafkaCluster, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    for tls in (TlsConfig(ca_file=str(stranger.ca_file)), TlsConfig()):
        with pytest.raises(KafkaLoginError, match=r"the certificate of 127\.0\.0\.1:\d+ is not accepted") as caught:
            opened(kafka_431_tls.cluster_config(tls=tls))
        assert "ca_file" in caught.value.hint
        assert not caught.value.retryable
    opened(kafka_431_tls.cluster_config(tls=TlsConfig(verify=False)))


def as_protocol(config: ClusterConfig, **fields: Any) -> ClusterConfig:
    return ClusterConfig(name="x", bootstrap=config.bootstrap, request_timeout_seconds=5.0, **fields)


def test_the_wrong_protocol_for_a_listener(kafka_431_scram: KafkaCluster) -> None:
    """Each way round: an error that says what to check, never a wait without end."""
    cluster = kafka_431_scram
    secure, clear = cluster.cluster_config(), cluster.cluster_config(listener="SASLPLAIN")
    with pytest.raises((KafkaProtocolError, KafkaUnreachable)) as plain_to_tls:
        opened(as_protocol(secure))
    assert "security protocol" in plain_to_tls.value.hint
    with pytest.raises(KafkaUnreachable) as tls_to_plain:
        opened(as_protocol(clear, security_protocol="SSL", tls=secure.tls))
    assert "security protocol" in tls_to_plain.value.hint
    with pytest.raises(KafkaUnreachable) as no_login:
        error_of_a_fetch(as_protocol(clear))
    assert "a login" in no_login.value.hint
    with pytest.raises(KafkaError):
        opened(
            as_protocol(
                cluster.cluster_config(listener="INTERNAL"), security_protocol="SASL_PLAINTEXT", sasl=clear.sasl
            )
        )
