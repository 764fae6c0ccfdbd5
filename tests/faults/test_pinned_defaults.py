"""E10: what libraries do by default may change; what matters is said by kafkeep itself."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.faults_proxy import Headers, OddProxy
from tests.support.operations import now, without_pauses
from tests.support.s3_proxy import Answer, serving
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server

from kafkeep import tls_context
from kafkeep.errors import KafkeepError, ObjectExists, StoreError, StoreUnavailable
from kafkeep.repository.probing import probe_store
from kafkeep.repository.stores import object_connect
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.options import S3Options, StoreOptions
from kafkeep.tls import TlsConfig

OTHER_DEFAULTS = {
    "AWS_CONDITIONAL_PUT": "disabled",
    "AWS_UNSIGNED_PAYLOAD": "true",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    "AWS_DISABLE_BULK_DELETE": "false",
    "AWS_MAX_ATTEMPTS": "10",
    "AWS_RETRY_MODE": "adaptive",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_S3_EXPRESS": "true",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_BUCKET_NAME": "another",
    "AWS_ALLOW_HTTP": "false",
    "AWS_PROXY_URL": "http://127.0.0.1:9",
    "AWS_TIMEOUT": "1ms",
    "AWS_DEFAULT_HEADERS": "x-other: 1",
}


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    with without_pauses():
        yield


@pytest.mark.fault("E10")
def test_e10_what_the_client_of_buckets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    def client(bucket: str, **options: Any) -> object:
        told.update(options)
        return object()

    monkeypatch.setattr(object_connect, "S3Store", client)
    own = S3Options(endpoint="http://127.0.0.1:9")
    open_object_store("s3://bucket/path", StoreOptions(s3=own, timeout_seconds=7.0))
    assert told["retry_config"] == {"max_retries": 0, "retry_timeout": timedelta(0)}, "tries are counted in one place"
    assert told["client_options"]["timeout"] == timedelta(seconds=7)
    assert told["client_options"]["connect_timeout"] == timedelta(seconds=7)
    config = told["config"]
    assert config["conditional_put"] == "etag"
    assert config["virtual_hosted_style_request"] is False
    assert config["disable_bulk_delete"] is True
    assert config["region"]


@pytest.mark.fault("E10")
@pytest.mark.parametrize("variable", OTHER_DEFAULTS)
def test_e10_other_defaults_of_the_client(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Changed through the environment, as far as the client listens to it: the store does what it promises all the same."""
    monkeypatch.setenv(variable, OTHER_DEFAULTS[variable])
    with serving(OddProxy(s3_server)) as proxy:
        store = open_object_store(f"s3://{s3_server.new_bucket()}/x", s3_server.options(endpoint=proxy.endpoint))
        store.put_new("log/000000000000", b"first")
        with pytest.raises(ObjectExists):
            store.put_new("log/000000000000", b"second")
        assert probe_store(store, now=now, rng=random.Random(1)).fit
        assert not [name for _, headers in proxy.headers for name in headers if name.startswith("x-amz-checksum-")]
        assert all("authorization" in headers for _, headers in proxy.headers)
        bodies = [headers["x-amz-content-sha256"] for method, headers in proxy.headers if method == "PUT"]
        assert bodies and "UNSIGNED-PAYLOAD" not in bodies


@pytest.mark.fault("E10")
def test_e10_no_variable_lets_a_certificate_pass(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ALLOW_INVALID_CERTIFICATES", "true")
    issued = Authority(tmp_path, "authority").issue("server")
    proxy = OddProxy(s3_server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert_file, issued.key_file)
    proxy.http.socket = context.wrap_socket(proxy.http.socket, server_side=True, do_handshake_on_connect=False)
    with serving(proxy):
        options = s3_server.options(endpoint=proxy.endpoint.replace("http://", "https://"))
        with pytest.raises(StoreError, match="certificate is not trusted"):
            open_object_store("s3://bucket/x", options).head("log/000000000000")
        assert not proxy.headers


@pytest.mark.fault("E10")
def test_e10_no_variable_leads_into_the_open(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain requests are for an endpoint that was checked; one that only the client has heard of gets none."""
    with serving(OddProxy(s3_server)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        own = S3Options(region="us-east-1", access_key=s3_server.login)
        with pytest.raises(KafkeepError):
            open_object_store("s3://bucket/x", StoreOptions(s3=own, timeout_seconds=2.0)).head("log/000000000000")
        assert not proxy.headers


@pytest.mark.fault("E10")
@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_e10_what_the_other_clients_are_told(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    told: dict[str, Any] = {}
    name = {"gs": "GCSStore", "az": "AzureStore"}[scheme]
    monkeypatch.setattr(object_connect, name, lambda bucket, **options: told.update(options))
    open_object_store(f"{scheme}://bucket/path", StoreOptions())
    assert told["config"]["skip_signature"] is False
    assert told["config"].get("use_emulator", False) is False
    assert told["client_options"]["allow_http"] is False


@pytest.mark.fault("E10")
def test_e10_a_variable_that_nothing_goes_before_is_refused(s3_server: S3Server, tmp_path: Path) -> None:
    kafkeep = Kafkeep(tmp_path, s3_server.environment() | {"AWS_CHECKSUM_ALGORITHM": "SHA256"}, inside=True)
    said = kafkeep("points", "--repo", f"s3://{s3_server.new_bucket()}/x").refused(2, "settings")
    assert "AWS_CHECKSUM_ALGORITHM" in said and "checksum" in said


def test_a_proxy_of_the_environment_is_taken(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by every program; NO_PROXY names what is reached without."""
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("HTTP_PROXY", nobody)
    store = s3_server.store(timeout_seconds=2.0)
    with pytest.raises(StoreUnavailable, match="no connection"):
        store.put_new("log/000000000000", b"x")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    s3_server.store(timeout_seconds=30.0).put_new("log/000000000000", b"x")


@pytest.mark.fault("E10")
def test_e10_the_client_of_buckets_tries_nothing_again(s3_server: S3Server) -> None:
    def busy(method: str, headers: Headers) -> Answer | None:
        return Answer(503, "SlowDown")

    with serving(OddProxy(s3_server, refuse=busy)) as proxy:
        store = open_object_store(f"s3://{s3_server.new_bucket()}/x", s3_server.options(endpoint=proxy.endpoint))
        for attempt in (
            lambda: store.put_new("log/000000000000", b"x"),
            lambda: store.get("log/000000000000"),
            lambda: store.head("log/000000000000"),
            lambda: list(store.list("log/")),
            lambda: store.delete("log/000000000000"),
        ):
            before = len(proxy.headers)
            with pytest.raises(StoreUnavailable):
                attempt()
            assert len(proxy.headers) == before + 1


@pytest.mark.fault("E10")
def test_e10_tls_does_not_rest_on_the_defaults_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a new context would be like: certificates and names are checked, and nothing below TLS 1.2 is spoken."""

    def lax(protocol: int) -> ssl.SSLContext:
        made = ssl.SSLContext(protocol)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        made.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        return made

    monkeypatch.setattr(tls_context, "ssl", SimpleNamespace(**{**vars(ssl), "SSLContext": lax}))
    context = tls_context.ssl_context(TlsConfig())
    assert context.check_hostname is True
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
