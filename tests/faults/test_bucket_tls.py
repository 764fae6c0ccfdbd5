"""E7: an S3 service that is not who it says."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.certificates import Authority, Issued
from tests.support.s3_proxy import Proxy, serving
from tests.support.versitygw import S3Server

from kafkeep.errors import ObjectNotFound, StoreError
from kafkeep.repository.stores.object import ObjectStore
from kafkeep.repository.stores.object_connect import open_object_store

NAME = "log/000000000000"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@contextmanager
def over_tls(server: S3Server, shown: Issued, trusted: Path | None, *, most: ssl.TLSVersion) -> Iterator[ObjectStore]:
    """A store behind a proxy that shows this certificate."""
    proxy = Proxy(server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert_file, shown.key_file)
    context.maximum_version = most
    if most < ssl.TLSVersion.TLSv1_2:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("ALL:@SECLEVEL=0")
    proxy.http.socket = context.wrap_socket(proxy.http.socket, server_side=True, do_handshake_on_connect=False)
    with serving(proxy):
        options = server.options(
            endpoint=proxy.endpoint.replace("http://", "https://"),
            ca_pem=None if trusted is None else trusted.read_bytes(),
        )
        yield open_object_store(f"s3://{server.new_bucket()}/tls", options)
        assert not proxy.seen, "nothing was said to it"


def test_a_service_with_the_right_certificate_is_believed(s3_server: S3Server, authority: Authority) -> None:
    issued = authority.issue("server")
    with (
        pytest.raises(AssertionError, match="nothing was said"),
        over_tls(s3_server, issued, authority.ca_file, most=ssl.TLSVersion.TLSv1_3) as store,
        pytest.raises(ObjectNotFound),
    ):
        store.get(NAME)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.fault("E7")
@pytest.mark.parametrize("what", ["another authority", "no authority of ours", "another host", "expired", "TLS 1.1"])
def test_e7_service_that_is_not_who_it_says(
    s3_server: S3Server, authority: Authority, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is asked, whatever the environment says."""
    monkeypatch.setenv("AWS_ALLOW_INVALID_CERTIFICATES", "true")
    stranger = Authority(tmp_path, "stranger")
    issued = (stranger if what == "another authority" else authority).issue(
        "server",
        host=None if what == "another host" else "localhost",
        valid_for=timedelta(hours=-1) if what == "expired" else timedelta(days=1),
    )
    trusted = None if what == "no authority of ours" else authority.ca_file
    most = ssl.TLSVersion.TLSv1_1 if what == "TLS 1.1" else ssl.TLSVersion.TLSv1_3
    with over_tls(s3_server, issued, trusted, most=most) as store:
        for attempt in (lambda: store.get(NAME), lambda: store.put_new(NAME, b"x"), lambda: list(store.list(""))):
            with pytest.raises(StoreError) as caught:
                attempt()
            assert not isinstance(caught.value, ObjectNotFound)
            if what != "TLS 1.1":
                assert "certificate" in caught.value.message and not caught.value.retryable
