"""Other real object services for tests, each on loopback over an empty folder, ended by its own process id.

    azurite(folder)    Azure Blob Storage's emulator, MIT, from npm       az://
    fake_gcs(folder)   fake-gcs-server, BSD-2-Clause, by `go install`     gs://
    minio(folder)      MinIO, AGPL-3.0 (run only), by `go install`        s3://

`python -m tests.support.object_servers` brings all three into the cache, says which could not be brought and why, and ends
with 1 then. `make test-stores` needs them; `make test` does not.
"""

from __future__ import annotations

import base64
import ctypes
import functools
import hmac
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from tests.support.programs import go_program, npm_program
from tests.support.s3_proxy import Proxy, Served, serving
from tests.support.signed import s3_call
from tests.support.versitygw import PR_SET_PDEATHSIG, S3Server, free_port

from kafkeep.repository.stores.object import ObjectStore
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.options import AzureOptions, GcsOptions, StoreOptions
from kafkeep.secret import Secret

AZURITE: Final = "3.37.0"
FAKE_GCS: Final = ("github.com/fsouza/fake-gcs-server", "v1.56.1")
MINIO: Final = ("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
START_SECONDS: Final = 60
AZURITE_ACCOUNT: Final = "devstoreaccount1"
AZURITE_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Published in the emulator's documentation: the same everywhere."""


@dataclass(frozen=True)
class ObjectServer:
    """A running service."""

    scheme: str
    endpoint: str
    given: StoreOptions
    """How kafkeep reaches it."""
    table: str
    """The same as the table below `[repository.NAME]` in kafkeep.toml."""
    secrets: Mapping[str, str]
    """Files that the table names, by name."""
    make_bucket: Callable[[str], None]

    def new_bucket(self) -> str:
        """Name of an empty bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.make_bucket(name)
        return name

    def store(self, path: str = "some/place") -> ObjectStore:
        """A store in an empty bucket."""
        return open_object_store(f"{self.scheme}://{self.new_bucket()}/{path}", self.given)


def azurite_program() -> list[str]:
    return [str(npm_program("azurite", AZURITE) / ".bin" / "azurite-blob")]


def fake_gcs_program() -> list[str]:
    return [str(go_program("fake-gcs-server", *FAKE_GCS))]


def minio_program() -> list[str]:
    return [str(go_program("minio", *MINIO))]


@contextmanager
def azurite(folder: Path) -> Iterator[ObjectServer]:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}"
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", str(folder / "objects")]
    given = AzureOptions(account=AZURITE_ACCOUNT, endpoint=endpoint, account_key=Secret(AZURITE_KEY))
    server = ObjectServer(
        scheme="az",
        endpoint=endpoint,
        given=StoreOptions(azure=given),
        table=f'[repository.backups.azure]\naccount = "{AZURITE_ACCOUNT}"\nendpoint = "{endpoint}"\n'
        'account_key = { file = "key" }\n',
        secrets={"key": AZURITE_KEY},
        make_bucket=functools.partial(_azure_container, port),
    )
    with _running([*azurite_program(), *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)], folder, port):
        yield server


@dataclass(frozen=True)
class Behind:
    """What a proxy stands in front of."""

    endpoint: str


class GcsWords(Proxy):
    """Creations and deletions as obstore asks for them, in Google's XML interface, in the words of the JSON interface.

    fake-gcs-server reads and lists in both and creates and deletes in the latter alone. Whether a condition holds is
    still its own decision: nothing is looked up here.
    """

    def in_its_words(self, request: BaseHTTPRequestHandler) -> tuple[str, str]:
        bucket, slash, name = request.path.removeprefix("/").partition("/")
        if request.command == "PUT" and slash:
            condition = request.headers.get("x-goog-if-generation-match")
            wanted = "" if condition is None else f"&ifGenerationMatch={quote(condition)}"
            return "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}{wanted}"
        if request.command == "DELETE" and slash:
            return "DELETE", f"/storage/v1/b/{bucket}/o/{quote(unquote(name), safe='')}"
        return request.command, unquote(request.path)

    def in_our_words(self, request: BaseHTTPRequestHandler, answer: Served) -> Served:
        """The ETag of what was created stands in a header."""
        status, _, data = answer
        if request.command == "PUT" and status == 200:
            return status, [("ETag", f'"{json.loads(data)["etag"]}"'), ("Content-Length", "0")], b""
        return answer


@contextmanager
def fake_gcs(folder: Path) -> Iterator[ObjectServer]:
    port = free_port()
    with serving(GcsWords(Behind(f"http://127.0.0.1:{port}"))) as proxy, ExitStack() as stack:
        # it goes by the name that it is asked under
        host = ["-public-host", proxy.endpoint.removeprefix("http://")]
        address = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), *host]
        command = [*fake_gcs_program(), *address, "-backend", "memory", "-log-level", "error"]
        stack.enter_context(_running(command, folder, port))
        # the form of a service account's key that obstore takes as "ask for no token"
        nothing = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        key = json.dumps({"gcs_base_url": proxy.endpoint, "disable_oauth": True, **nothing})
        yield ObjectServer(
            scheme="gs",
            endpoint=proxy.endpoint,
            given=StoreOptions(gcs=GcsOptions(endpoint=proxy.endpoint, service_account_key=Secret(key))),
            table=f'[repository.backups.gcs]\nendpoint = "{proxy.endpoint}"\nservice_account_key = {{ file = "key" }}\n',
            secrets={"key": key},
            make_bucket=functools.partial(_gcs_bucket, port),
        )


@contextmanager
def minio(folder: Path) -> Iterator[S3Server]:
    """The same values as versitygw's, so that what is written for one runs on the other."""
    port = free_port()
    server = MinioServer(f"http://127.0.0.1:{port}", "tester", secrets.token_hex(16), folder / "objects")
    keys = {"MINIO_ROOT_USER": server.access_key, "MINIO_ROOT_PASSWORD": server.secret_key, "MINIO_UPDATE": "off"}
    command = [*minio_program(), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(server.folder)]
    with _running(command, folder, port, keys):
        _until(lambda: s3_call(server, "GET", "/"), "MinIO")
        yield server


@dataclass(frozen=True)
class MinioServer(S3Server):
    """Its buckets are made by requests."""

    def new_bucket(self, *, locked: bool = False) -> str:
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        s3_call(self, "PUT", f"/{name}", headers={"x-amz-bucket-object-lock-enabled": "true"} if locked else {})
        return name


@contextmanager
def _running(
    command: Sequence[str], folder: Path, port: int, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The service, from when it takes connections; ended with the block."""
    (folder / "objects").mkdir(parents=True)
    libc = ctypes.CDLL(None)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | {"HOME": str(folder)} | dict(env or {}),
            stdout=log,
            stderr=log,
            preexec_fn=functools.partial(libc.prctl, PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    try:
        _until(lambda: _answers(port, process), command[0], folder / "log")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"ended with {process.returncode}")
    _request(port, "GET", "/")


def _until(attempt: Callable[[], object], what: str, log: Path | None = None) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            attempt()
            return
        except Exception as error:
            if isinstance(error, RuntimeError) or time.monotonic() > until:
                said = "" if log is None else log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{what} did not start: {error} {said}") from error
            time.sleep(0.1)


def _request(
    port: int, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _gcs_bucket(port: int, name: str) -> None:
    status, said = _request(
        port,
        "POST",
        "/storage/v1/b?project=tests",
        {"Content-Type": "application/json"},
        b'{"name":"%s"}' % name.encode(),
    )
    if status != 200:
        raise RuntimeError(f"no bucket: {status} {said[:300]!r}")


def _azure_container(port: int, name: str) -> None:
    """A request signed as Azure documents it (Authorize with Shared Key)."""
    path = f"/{AZURITE_ACCOUNT}/{name}"
    sent = {"x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": "2021-12-02"}
    lines = ["PUT", *[""] * 11, *(f"{key}:{value}" for key, value in sorted(sent.items()))]
    text = "\n".join([*lines, f"/{AZURITE_ACCOUNT}{path}", "restype:container"])
    signature = base64.b64encode(hmac.digest(base64.b64decode(AZURITE_KEY), text.encode(), "sha256")).decode()
    sent |= {"Authorization": f"SharedKey {AZURITE_ACCOUNT}:{signature}", "Content-Length": "0"}
    status, said = _request(port, "PUT", f"{path}?restype=container", sent)
    if status != 201:
        raise RuntimeError(f"no container: {status} {said[:300]!r}")


PROGRAMS: Final = {"azurite": azurite_program, "fake-gcs-server": fake_gcs_program, "minio": minio_program}


def bring(names: Sequence[str]) -> int:
    """How many of them could not be brought; each is told."""
    missing = 0
    for name in names:
        try:
            print(f"{name}: {PROGRAMS[name]()[0]}")
        except RuntimeError as error:
            missing += 1
            print(f"{name} could not be brought: {error}", file=sys.stderr)
    return missing


if __name__ == "__main__":
    sys.exit(1 if bring(sys.argv[1:] or tuple(PROGRAMS)) else 0)
