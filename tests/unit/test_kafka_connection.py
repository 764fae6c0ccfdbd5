"""Opening connections: versions, TLS, logins, sessions that end; and what is said when it fails."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.batches import built
from tests.support.broker import API_VERSIONS, FETCH, SASL_AUTHENTICATE, SASL_HANDSHAKE, FakeBroker, HangUp
from tests.support.certificates import Authority, Issued
from tests.support.sasl_server import SaslServer

from kafkeep.errors import KafkaError, KafkaLoginError, KafkaProtocolError, KafkaUnreachable, SettingsError
from kafkeep.kafka.config import ClusterConfig, SaslConfig, TokenFile
from kafkeep.kafka.connection import Connection, FrameBuffer, renewed_after
from kafkeep.kafka.fetch import BrokerFetcher, FetchPosition
from kafkeep.kafka.wire.records import Record
from kafkeep.model import TopicPartition
from kafkeep.secret import Secret
from kafkeep.tls import TlsConfig

CANARY = "canary-5e1f"
ODD_USER = "comma,equals=both,=3D"


def opened(broker: FakeBroker, **options: Any) -> Connection:
    return Connection.open(broker.config(**options), "127.0.0.1", broker.port)


def plain(password: str = CANARY, user: str = "ann", mechanism: str = "PLAIN") -> dict[str, Any]:
    sasl = SaslConfig(mechanism=mechanism, username=user, password=Secret(password))
    return {"security_protocol": "SASL_PLAINTEXT", "sasl": sasl}


def test_versions_are_learned() -> None:
    with FakeBroker(versions={FETCH: (4, 11)}) as broker, opened(broker) as connection:
        assert connection.api_versions[FETCH] == (4, 11)
        assert connection.version(FETCH, 4, 18) == 11
        assert connection.version(FETCH, 1, 7) == 7


def test_a_refused_negotiation() -> None:
    with FakeBroker() as broker:
        broker.edits[API_VERSIONS].append(lambda answer: setattr(answer, "error_code", 35))
        with pytest.raises(KafkaError, match=r"version negotiation with .*: UNSUPPORTED_VERSION \(35\)"):
            opened(broker)


def test_receiving_without_asking() -> None:
    with FakeBroker() as broker, opened(broker) as connection:
        assert connection.in_flight == 0
        with pytest.raises(ValueError, match="no answer"):
            connection.receive(FrameBuffer())
        connection.close()
        connection.close()
        with pytest.raises(KafkaUnreachable, match="is closed"):
            connection.send(API_VERSIONS, 0, [])


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = ClusterConfig(name="c", bootstrap=("127.0.0.1",))
    with pytest.raises(KafkaUnreachable, match=f"127.0.0.1:{port} cannot be reached: connection refused") as caught:
        Connection.open(config, "127.0.0.1", port)
    assert caught.value.retryable


def test_a_name_nobody_has() -> None:
    config = ClusterConfig(name="c", bootstrap=("nowhere.invalid",))
    with pytest.raises(KafkaUnreachable, match=r"the name of nowhere.invalid:9092 cannot be resolved"):
        Connection.open(config, "nowhere.invalid", 9092)


def test_a_listener_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        config = ClusterConfig(name="c", bootstrap=("x",), request_timeout_seconds=0.2)
        with pytest.raises(KafkaUnreachable, match=rf"127.0.0.1:{port}: no answer within 0\.2 s"):
            Connection.open(config, "127.0.0.1", port)


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
@pytest.mark.parametrize("dribbles", [False, True])
def test_a_mute_peer_is_given_up_within_the_connect_timeout(protocol: str, dribbles: bool) -> None:
    """It takes the connection and says nothing, or a byte now and then that never becomes an answer."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            peer, _ = server.accept()
            with peer, contextlib.suppress(OSError):
                said = iter(b"\x16\x03\x03\x40\x00" + bytes(100) if protocol == "SSL" else bytes(100))
                while not ended.wait(0.05):
                    if dribbles:
                        peer.sendall(bytes([next(said)]))

        thread = threading.Thread(target=serve)
        thread.start()
        config = ClusterConfig(
            name="c",
            bootstrap=("x",),
            security_protocol=protocol,
            connect_timeout_seconds=0.4,
            request_timeout_seconds=600,
        )
        began = time.monotonic()
        try:
            with pytest.raises(KafkaError, match=rf"127.0.0.1:{port}"):
                Connection.open(config, "127.0.0.1", port)
            assert time.monotonic() - began < 60, "the time for opening counts, not that of a request"
        finally:
            ended.set()
            thread.join()


def test_a_slow_answer_after_the_opening_has_the_request_timeout() -> None:
    with (
        FakeBroker() as broker,
        opened(broker, connect_timeout_seconds=2.0, request_timeout_seconds=120.0) as connection,
    ):
        broker.wires[API_VERSIONS].append(lambda frame: time.sleep(2.5) or frame)
        connection.send(API_VERSIONS, 0, [])
        assert len(connection.receive(FrameBuffer())[1]) > 0


def test_a_failed_opening_leaves_no_socket_behind(recwarn: pytest.WarningsRecorder) -> None:
    with FakeBroker(sasl=SaslServer()) as broker:
        for _ in range(3):
            with pytest.raises(KafkaLoginError):
                opened(broker, **plain())
    assert not [warning for warning in recwarn if warning.category is ResourceWarning]


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "house")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Issued:
    return authority.issue("broker")


def listening(
    issued: Issued, *, client_ca: Path | None = None, highest: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert_file, issued.key_file)
    if highest is not None:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = highest
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


@pytest.fixture
def tls_broker(server: Issued) -> Iterator[FakeBroker]:
    with FakeBroker(tls=listening(server)) as broker:
        yield broker


def tls(authority: Authority, **options: Any) -> dict[str, Any]:
    return {"security_protocol": "SSL", "tls": TlsConfig(ca_file=str(authority.ca_file), **options)}


def test_tls_carries_large_frames_both_ways(tls_broker: FakeBroker, authority: Authority) -> None:
    log = tls_broker.partition("t")
    log.log += built([Record(0, 1, None, bytes(range(256)) * 12_000, ())])
    config = tls_broker.config(**tls(authority))
    with BrokerFetcher(config, "localhost", tls_broker.port) as hot:
        for _ in range(3):
            (answer,) = hot.fetch([FetchPosition(TopicPartition("t", 0), log.id_text, 0, -1)])
            assert bytes(answer.records) == bytes(log.log)


@pytest.mark.fault("E7")
def test_tls_without_the_authority_is_refused(tls_broker: FakeBroker, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    for options in (tls(stranger), {"security_protocol": "SSL"}):
        with pytest.raises(
            KafkaLoginError, match=f"the certificate of 127.0.0.1:{tls_broker.port} is not accepted"
        ) as e:
            opened(tls_broker, **options)
        assert "ca_file" in e.value.hint
        assert not e.value.retryable


@pytest.mark.fault("E7")
def test_tls_for_another_host_is_refused(authority: Authority) -> None:
    with FakeBroker(tls=listening(authority.issue("other", host=None))) as broker:
        with pytest.raises(KafkaLoginError, match="ip address mismatch"):
            opened(broker, **tls(authority))
        opened(broker, **tls(authority, check_hostname=False)).close()


@pytest.mark.fault("E7")
def test_tls_with_an_expired_certificate_is_refused(authority: Authority) -> None:
    expired = authority.issue("expired", valid_for=datetime.timedelta(hours=-1))
    with FakeBroker(tls=listening(expired)) as broker:
        with pytest.raises(KafkaLoginError, match="certificate has expired"):
            opened(broker, **tls(authority))
        opened(broker, **tls(authority, verify=False)).close()


@pytest.mark.fault("E7")
def test_tls_1_1_is_refused(authority: Authority, server: Issued) -> None:
    with (
        pytest.warns(DeprecationWarning, match="TLSv1"),
        FakeBroker(tls=listening(server, highest=ssl.TLSVersion.TLSv1_1)) as broker,
        pytest.raises(KafkaError) as caught,
    ):
        opened(broker, **tls(authority))
    assert isinstance(caught.value, KafkaUnreachable | KafkaLoginError)


def test_a_client_certificate(authority: Authority, server: Issued) -> None:
    mine = authority.issue("client", password=CANARY)
    with FakeBroker(tls=listening(server, client_ca=authority.ca_file)) as broker:
        files = {"cert_file": str(mine.cert_file), "key_file": str(mine.key_file)}
        opened(broker, **tls(authority, **files, key_password=Secret(CANARY))).close()
        with pytest.raises(KafkaLoginError, match="ended TLS with") as caught:
            opened(broker, **tls(authority))
        assert "cert_file" in caught.value.hint
        for password in (None, Secret(f"not-{CANARY}")):
            with pytest.raises(SettingsError, match=r"client\.pem.* cannot be used") as refused:
                opened(broker, **tls(authority, **files, key_password=password))
            assert CANARY not in f"{refused.value} {refused.value.hint}"


def test_a_client_certificate_of_a_stranger(authority: Authority, server: Issued, tmp_path: Path) -> None:
    theirs = Authority(tmp_path, "stranger").issue("client")
    files = {"cert_file": str(theirs.cert_file), "key_file": str(theirs.key_file)}
    with FakeBroker(tls=listening(server, client_ca=authority.ca_file)) as broker, pytest.raises(KafkaLoginError):
        opened(broker, **tls(authority, **files))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "tls ca_file /nowhere/ca.pem cannot be used: No such file"),
        ({"cert_file": "/nowhere/me.pem"}, "tls cert_file /nowhere/me.pem cannot be used: No such file"),
        ({"ca_file": __file__}, "tls ca_file .* cannot be used"),
    ],
)
def test_tls_files_that_cannot_be_used(options: dict[str, Any], named: str) -> None:
    config = ClusterConfig(name="c", bootstrap=("x",), security_protocol="SSL", tls=TlsConfig(**options))
    with pytest.raises(SettingsError, match=named):
        Connection.open(config, "127.0.0.1", 1)


@pytest.mark.fault("E7")
def test_tls_to_a_plain_listener_and_the_other_way(tls_broker: FakeBroker, authority: Authority) -> None:
    with FakeBroker() as broker, pytest.raises(KafkaUnreachable) as caught:
        opened(broker, **tls(authority))
    assert "security protocol" in caught.value.hint
    with pytest.raises((KafkaUnreachable, KafkaProtocolError)) as other:
        opened(tls_broker)
    assert "security protocol" in other.value.hint


def test_tls_to_an_http_server(authority: Authority) -> None:
    def serve() -> None:
        sock, _ = server.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        config = ClusterConfig(name="c", bootstrap=("x",), **tls(authority))
        with pytest.raises(KafkaUnreachable, match=r"TLS with .* failed: "):
            Connection.open(config, "127.0.0.1", server.getsockname()[1])
        thread.join(5)


# Logins

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("handshake", [(0, 0), (0, 1)], ids=["raw", "framed"])
@pytest.mark.parametrize("user", ["ann", ODD_USER, "jürgen"])
def test_logins(mechanism: str, handshake: tuple[int, int], user: str) -> None:
    server = SaslServer(users={user: "pässword,=ª"})
    with FakeBroker(sasl=server, versions={SASL_HANDSHAKE: handshake}) as broker:
        with opened(broker, **plain("pässword,=ª", user, mechanism)) as connection:
            assert connection.in_flight == 0
        assert server.logins == 1
        config = broker.config(**plain("pässword,=ª", user, mechanism))
        with BrokerFetcher(config, "127.0.0.1", broker.port) as hot:
            position = FetchPosition(TopicPartition("t", 0), broker.partition("t").id_text, 0, -1)
            assert hot.fetch([position])[0].error == 0


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("handshake", [(0, 0), (0, 1)], ids=["raw", "framed"])
def test_wrong_passwords(mechanism: str, handshake: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    server = SaslServer(users={"ann": "right"}, refusal=f"no \x1b[31m{CANARY}\n for you")
    with (
        FakeBroker(sasl=server, versions={SASL_HANDSHAKE: handshake}) as broker,
        pytest.raises(KafkaLoginError) as caught,
    ):
        opened(broker, **plain(CANARY, "ann", mechanism))
    said = f"{caught.value} {caught.value.hint} {caught.value!r} {capsys.readouterr()}"
    assert "ann" in said
    assert mechanism in said
    assert f"127.0.0.1:{broker.port}" in said
    assert CANARY not in said
    assert "\x1b" not in str(caught.value)


def test_a_mechanism_the_broker_lacks() -> None:
    with (
        FakeBroker(sasl=SaslServer(mechanisms=("GSSAPI", "PLAIN"))) as broker,
        pytest.raises(KafkaLoginError, match="it offers GSSAPI, PLAIN"),
    ):
        opened(broker, **plain(mechanism="SCRAM-SHA-512"))


def test_a_broker_that_cannot_prove_itself() -> None:
    server = SaslServer(users={"ann": CANARY}, false_signature=True)
    with FakeBroker(sasl=server) as broker, pytest.raises(KafkaLoginError, match="could not prove"):
        opened(broker, **plain(mechanism="SCRAM-SHA-256"))


@pytest.mark.parametrize("iterations", [1, 4095, 1_000_001, 999_999_999])
@pytest.mark.fault("P2")
def test_a_broker_with_absurd_iterations(iterations: int) -> None:
    server = SaslServer(users={"ann": CANARY}, iterations=iterations)
    with FakeBroker(sasl=server) as broker, pytest.raises(KafkaLoginError, match=f"asks for {iterations} iterations"):
        opened(broker, **plain(mechanism="SCRAM-SHA-256"))


def test_a_broker_that_hangs_up_on_a_login() -> None:
    def hang_up(_: Any) -> None:
        raise HangUp

    with FakeBroker(sasl=SaslServer(users={"ann": CANARY})) as broker:
        broker.edits[SASL_AUTHENTICATE].append(hang_up)
        with pytest.raises(KafkaUnreachable, match="closed the connection"):
            opened(broker, **plain())


@pytest.mark.fault("P2")
def test_an_endless_login_is_ended() -> None:
    class Endless(SaslServer):
        def exchange(self, mechanism: str) -> Any:
            while True:
                yield b"{}"

    with FakeBroker(sasl=Endless()) as broker:
        sasl = SaslConfig(mechanism="OAUTHBEARER", token=TokenFile(__file__))
        with pytest.raises(KafkaLoginError):
            opened(broker, security_protocol="SASL_PLAINTEXT", sasl=sasl)
        with pytest.raises(KafkaLoginError):
            opened(broker, **plain(mechanism="SCRAM-SHA-256"))


def test_oauth_with_a_token_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{CANARY}.abc=\n")
    sasl = SaslConfig(mechanism="OAUTHBEARER", token=TokenFile(str(file)))
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl": sasl}
    server = SaslServer(tokens={f"{CANARY}.abc="})
    with FakeBroker(sasl=server) as broker:
        opened(broker, **options).close()
        file.write_text(f"{CANARY}.revoked")
        with pytest.raises(KafkaLoginError, match=f"the token in {file}") as caught:
            opened(broker, **options)
    assert CANARY not in str(caught.value)
    assert server.logins == 1


@pytest.mark.parametrize(
    ("lifetime", "seconds"),
    [(1.2, 1.1), (2.0, 1.1), (4.0, 2.0), (20.0, 10.0), (40.0, 30.0), (60.0, 50.0), (3600.0, 3060.0)],
)
def test_short_sessions_are_renewed_with_time_to_spare(lifetime: float, seconds: float) -> None:
    """A broker takes pipelined requests one by one, and closes the connection on one that it comes to too late."""
    assert renewed_after(lifetime) == seconds


class Ahead:
    """`time`, for broker and client alike, whose clock can be put on."""

    seconds = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@pytest.mark.parametrize("mechanism", MECHANISMS[:2])
def test_sessions_are_renewed_before_they_end(mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Ahead()
    for place in ("kafkeep.kafka.connection.time", "tests.support.broker.time"):
        monkeypatch.setattr(place, clock)
    server = SaslServer(users={"ann": CANARY}, session_lifetime_ms=60_000)
    with FakeBroker(sasl=server) as broker:
        log = broker.partition("t")
        for _ in range(20):
            log.append(built([Record(0, 1, None, bytes(100), ())]))
        config = broker.config(**plain(mechanism=mechanism))
        with BrokerFetcher(config, "127.0.0.1", broker.port, partition_bytes=10) as hot:
            offsets = []
            hot.send([FetchPosition(TopicPartition("t", 0), log.id_text, 0, -1)])
            for offset in range(1, 20):
                hot.send([FetchPosition(TopicPartition("t", 0), log.id_text, offset, -1)])
                offsets.append(int.from_bytes(hot.receive()[0].records[:8]))
                clock.seconds += 4.0
            offsets.append(int.from_bytes(hot.receive()[0].records[:8]))
        assert offsets == list(range(20))
        assert broker.connections == 1
        assert server.logins >= 2
