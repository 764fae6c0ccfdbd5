"""S7, S9, S10, S14, S16, S17: lengths that are wrong, bytes that trickle, credentials that end, services that keep no
condition or refuse headers: a real S3 service behind a proxy.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.faults_archive import back_up, grow, judge, new_source, open_repository, refusal
from tests.support.faults_proxy import Headers, Odd, Oddity, OddProxy, Silence, Trickle
from tests.support.operations import now, without_pauses
from tests.support.s3_proxy import Answer, Served, serving
from tests.support.versitygw import S3Server

from kafkeep.errors import ObjectExists, StoreAccessDenied, StoreError, StoreNotCreateOnly
from kafkeep.repository.probing import probe_store
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.object import RANGE_BYTES, ObjectStore
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.options import AccessKey
from kafkeep.repository.stores.wrappers import RetryingStore
from kafkeep.secret import Secret

NAME = "log/000000000000"
LENGTHS = [Odd(announced, part / 16) for part in range(16) for announced in (1.0, part / 16)]
LENGTHS += [Odd(1.0625, 1.0), Odd(2.0, 1.0), Odd(0.0, 1.0), Odd(0.5, 1.0)]


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    with without_pauses():
        yield


def patient(store: ObjectStore) -> RetryingStore:
    return RetryingStore(store, tries=20, pause=lambda seconds: None)


@contextmanager
def behind(server: S3Server, *oddities: Oddity, only: str = "GET", **options: object) -> Iterator[ObjectStore]:
    """A store in an empty bucket; the first requests of the method `only` meet these, in this order."""
    left = list(oddities)

    def next_one(method: str) -> Oddity | None:
        return left.pop(0) if left and method == only else None

    with serving(OddProxy(server, oddity=next_one)) as proxy:
        chosen = server.options(endpoint=proxy.endpoint, **options)
        yield open_object_store(f"s3://{server.new_bucket()}/odd", chosen)
        assert not left, "all of them were met"


@pytest.mark.fault("S7")
@pytest.mark.parametrize("large", [False, True])
def test_s7_lengths_that_are_wrong(s3_server: S3Server, large: bool, fault: Figures) -> None:
    """Announced whole and cut, announced as short as it comes, announced too long: read again, never taken as the object."""
    data = bytes(range(256)) * (2 * RANGE_BYTES // 256 if large else 40)
    odd = LENGTHS[:: fault.count(quick=9, full=1)] if large else LENGTHS
    for each in odd:
        with behind(s3_server, each) as store:
            store.put_new(NAME, data)
            assert patient(store).get(NAME) == data, each
    fault.figures(wrong_lengths=len(odd))


@pytest.mark.fault("S9")
@pytest.mark.parametrize(
    ("oddity", "method"),
    [
        (Silence(60), "GET"),
        (Trickle(upwards=False), "GET"),
        (Trickle(upwards=True), "PUT"),
    ],
    ids=["nothing comes", "a byte at a time comes", "a byte at a time is taken"],
)
def test_s9_bytes_that_trickle(s3_server: S3Server, oddity: Oddity, method: str) -> None:
    """Given up in its time although it moves, and made again."""
    began = time.monotonic()
    with behind(s3_server, oddity, only=method, timeout_seconds=1.5) as store:
        store = patient(store)  # type: ignore[assignment]
        try:
            store.put_new(NAME, b"x" * 2000)
        except ObjectExists:
            assert method == "PUT"
        assert store.get(NAME, 0, 2000) == b"x" * 2000
    assert 1.5 < time.monotonic() - began < 25, "the client's own limit would be 30"


def repository_in(store: RetryingStore, *, seed: int = 1) -> Repository:
    return Repository.init(store, now=now, rng=random.Random(seed), chunk_bytes=300)


@pytest.mark.fault("S10")
def test_s10_nothing_is_uploaded_in_parts(s3_server: S3Server, fault: Figures) -> None:
    """A backup, an object above every threshold of the client, a removal: no request begins, fills or ends such an upload."""
    with serving(OddProxy(s3_server)) as proxy:
        url = f"s3://{s3_server.new_bucket()}/parts"
        inner = open_object_store(url, s3_server.options(endpoint=proxy.endpoint))
        store = patient(inner)
        repository_in(store)
        source = new_source()
        assert back_up(source, store, seed=2).point is not None
        with store.open_new() as upload:
            for _ in range(40):
                upload.write(b"x" * (1 << 20))
            upload.publish("pack/00/0-01m7w6c380kt95pyd66gqt1cmm-0b72c5a95268a9db")
        store.delete("pack/00/0-01m7w6c380kt95pyd66gqt1cmm-0b72c5a95268a9db")
        requests = list(proxy.seen)
        assert max(int(headers.get("content-length", 0)) for _, headers in proxy.headers) == 40 << 20
    queries = [path.partition("?")[2] for _, path in requests]
    assert not any(word in query for query in queries for word in ("uploads", "uploadId", "partNumber"))
    assert {method for method, _ in requests} <= {"GET", "HEAD", "PUT", "DELETE"}, "no POST"
    fault.figures(requests=len(requests))


class Login:
    """Hands out keys of two users in turn, each for a while; says which one counts. A refresh may fail."""

    def __init__(self, users: list[S3Server], dice: random.Random, *, fails_after: int | None) -> None:
        self._users = users
        self._dice = dice
        self._fails_after = fails_after
        self.handed_out = 0

    def __call__(self) -> AccessKey:
        if self._fails_after is not None and self.handed_out >= self._fails_after:
            raise StoreAccessDenied("the source of access keys has none")
        self.handed_out += 1
        user = self._users[self.handed_out % 2]
        seconds = self._dice.choice([0, 0, 1, 3600])
        return AccessKey(
            id=Secret(user.access_key),
            secret=Secret(user.secret_key),
            expires=datetime.now(UTC) + timedelta(seconds=seconds),
        )


@pytest.fixture(scope="module")
def users(s3_server: S3Server) -> list[S3Server]:
    return [s3_server.new_user(), s3_server.new_user()]


def open_to(server: S3Server, users: list[S3Server]) -> str:
    bucket = server.new_bucket()
    policy = {
        "Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
        ]
    }
    server.set_policy(bucket, {user.access_key: policy for user in users})
    return f"s3://{bucket}/login"


@pytest.mark.fault("S14")
def test_s14_credentials_end_and_are_renewed(s3_server: S3Server, users: list[S3Server], fault: Figures) -> None:
    """At any request another key is due: the backup does not notice."""
    handed = 0
    for seed in range(fault.count(quick=2, full=20)):
        login = Login(users, random.Random(seed), fails_after=None)
        url = open_to(s3_server, users)
        store = patient(open_object_store(url, s3_server.options(s3={"access_key": login})))
        repository_in(store)
        source = new_source()
        assert back_up(source, store, seed=2).point is not None
        judge(store, source)
        handed += login.handed_out
    fault.figures(renewed_keys=handed)


@pytest.mark.fault("S14")
def test_s14_credentials_end_and_cannot_be_renewed(s3_server: S3Server, users: list[S3Server], fault: Figures) -> None:
    """The backup ends with the reason, a status for scripts, and a repository as whole as it was."""
    ended = 0
    for seed in range(fault.count(quick=3, full=20)):
        url = open_to(s3_server, users)
        plain = patient(open_object_store(url, s3_server.options()))
        repository_in(plain)
        source = new_source()
        back_up(source, plain, seed=2)
        grow(source, 3)
        login = Login(users, random.Random(0), fails_after=1 + seed)
        store = patient(
            open_object_store(url, s3_server.options(s3={"access_key": functools.partial(_at_once, login)}))
        )
        try:
            back_up(source, store, seed=3)
        except StoreAccessDenied as error:
            assert error.exit_code == 13 and not error.retryable
            assert "source of access keys" in error.message
            ended += 1
        judge(plain, source)
    fault.figures(ended_without_keys=ended)


def _at_once(login: Login) -> AccessKey:
    key = login()
    return AccessKey(id=key.id, secret=key.secret, expires=datetime.now(UTC))


@pytest.mark.fault("S14")
def test_s14_service_calls_the_key_expired(s3_server: S3Server, fault: Figures) -> None:
    """From some request on: the same end, and the next backup with a good key does the rest."""
    ended = 0
    for after in range(0, 40, fault.count(quick=12, full=2)):
        url = f"s3://{s3_server.new_bucket()}/expired"
        plain = patient(open_object_store(url, s3_server.options()))
        repository_in(plain)
        source = new_source()
        count = iter(range(10_000))

        def expired(method: str, headers: Headers, after: int = after, count: Iterator[int] = count) -> Answer | None:
            return Answer(400, "ExpiredToken") if next(count) >= after else None

        with serving(OddProxy(s3_server, refuse=expired)) as proxy:
            store = patient(open_object_store(url, s3_server.options(endpoint=proxy.endpoint)))
            try:
                back_up(source, store, seed=2)
            except StoreError as error:  # of a HEAD, whose answer has no body, nothing but the status is known
                assert error.exit_code == 13 and not error.retryable
                ended += 1
        judge(plain, source)
    fault.figures(ended_by_the_service=ended)


class Replacing(OddProxy):
    """The service behind it finds no object in the way of a creation."""

    folder: Path

    def in_its_words(self, request: BaseHTTPRequestHandler) -> tuple[str, str]:
        if request.command == "PUT":
            (self.folder / request.path.partition("?")[0].lstrip("/")).unlink(missing_ok=True)
        return super().in_its_words(request)


class Generous(OddProxy):
    """Every second creation that the service refused is told that it won."""

    refusals = 0

    def in_our_words(self, request: BaseHTTPRequestHandler, answer: Served) -> Served:
        status, headers, data = super().in_our_words(request, answer)
        if request.command != "PUT" or status != 412:
            return status, headers, data
        self.refusals += 1
        return (412, headers, data) if self.refusals % 2 else (200, [("ETag", '"1"'), ("Content-Length", "0")], b"")


@pytest.mark.fault("S16")
@pytest.mark.parametrize(("service", "fails"), [(Replacing, "create-only"), (Generous, "one-winner")])
def test_s16_service_that_ignores_the_condition(s3_server: S3Server, service: type[OddProxy], fails: str) -> None:
    """It replaces what is there, or lets several creators win: no repository is made, and the check of stores says why."""
    proxy = service(s3_server)
    if isinstance(proxy, Replacing):
        proxy.folder = s3_server.folder
    with serving(proxy):
        url = f"s3://{s3_server.new_bucket()}/deaf"
        store = open_object_store(url, s3_server.options(endpoint=proxy.endpoint))
        with pytest.raises(StoreNotCreateOnly) as caught:
            repository_in(patient(store))
        assert caught.value.exit_code == 13
        assert not [info for info in store.list("") if not info.name.startswith("hint/")]
        report = probe_store(store, now=now, rng=random.Random(1))
        assert not report.fit
        assert fails in {probe.name for probe in report.probes if probe.needed and not probe.passed}


PROFILES = {
    "no checksum headers": ("x-amz-checksum-", "x-amz-sdk-checksum-algorithm"),
    "no trailers": ("x-amz-trailer", "x-amz-decoded-content-length", "content-encoding"),
    "no digests": ("content-md5", "x-amz-checksum-"),
}


@pytest.mark.fault("S17")
@pytest.mark.parametrize("profile", PROFILES)
def test_s17_service_that_refuses_checksum_headers(s3_server: S3Server, profile: str) -> None:
    """With an endpoint of one's own none is sent; where they are asked for all the same, the error says so at once."""
    unwanted = PROFILES[profile]

    def refuse(method: str, headers: Headers) -> Answer | None:
        sent = [name for name in headers if name.startswith(unwanted)]
        return Answer(501, "NotImplemented") if sent and method == "PUT" else None

    with serving(OddProxy(s3_server, refuse=refuse)) as proxy:
        url = f"s3://{s3_server.new_bucket()}/profile"
        store = patient(open_object_store(url, s3_server.options(endpoint=proxy.endpoint)))
        repository_in(store)
        source = new_source()
        assert back_up(source, store, seed=2).point is not None
        error, _ = refusal(store)
        assert error is None
        judge(store, source)
        assert all(
            len(headers["x-amz-content-sha256"]) == 64 for method, headers in proxy.headers if method == "PUT"
        ), "the signature covers each body"
        asked = s3_server.options(endpoint=proxy.endpoint, s3={"checksum": "crc64nvme"})
        if "x-amz-checksum-" in unwanted:
            with pytest.raises(StoreError, match="NotImplemented") as caught:
                open_object_store(url, asked).put_new("log/000000000099", b"x")
            assert not caught.value.retryable
    assert open_repository(store_of(s3_server, url)).state.head > 0


def store_of(server: S3Server, url: str) -> RetryingStore:
    return patient(open_object_store(url, server.options()))
