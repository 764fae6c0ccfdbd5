"""A real S3 service for tests: versitygw (Apache-2.0), objects as plain files in a folder, on loopback.

`python -m tests.support.versitygw` builds it once into the cache (`tests.support.programs`): about a minute.

    s3_server            fixture: one service per session, ended with it by its own process id
      .endpoint .access_key .secret_key .folder
      .new_bucket()      name of an empty bucket
      .options(…)        kafkeep's `StoreOptions` for it
      .store(…)          an `ObjectStore` in an empty bucket

versitygw looks whether an object exists before it takes the bytes and then puts it over what came in between, so of
several creators at once more than one can win. With one action at a time (`concurrency=1`) the look and the creation are one
step and the service keeps kafkeep's contract; `start(concurrency=…)` gives a service that does not.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import obstore
from tests.support.programs import go_program, run

from kafkeep.errors import StoreError
from kafkeep.repository.stores.object import ObjectStore
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.options import AccessKey, S3Options, StoreOptions
from kafkeep.secret import Secret

MODULE: Final = "github.com/versity/versitygw/cmd/versitygw"
VERSION: Final = "v1.7.0"
START_SECONDS: Final = 90
PR_SET_PDEATHSIG: Final = 1


def program() -> Path:
    """The built program; builds it when it is missing."""
    return go_program("versitygw", MODULE, VERSION)


@dataclass(frozen=True)
class S3Server:
    """A running service."""

    endpoint: str
    access_key: str
    secret_key: str
    folder: Path

    def new_bucket(self) -> str:
        """A folder is a bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        (self.folder / name).mkdir()
        return name

    def login(self) -> AccessKey:
        return AccessKey(id=Secret(self.access_key), secret=Secret(self.secret_key))

    def options(
        self, *, endpoint: str | None = None, s3: Mapping[str, Any] | None = None, **options: Any
    ) -> StoreOptions:
        given = S3Options(endpoint=endpoint or self.endpoint, access_key=self.login)
        return StoreOptions(s3=replace(given, **(s3 or {})), **options)

    def store(self, path: str = "some/place", **options: Any) -> ObjectStore:
        return open_object_store(f"s3://{self.new_bucket()}/{path}", self.options(**options))

    def new_user(self) -> S3Server:
        """The same service to somebody who may do nothing until a policy of a bucket says so."""
        user = replace(self, access_key=f"user-{uuid.uuid4().hex[:12]}", secret_key=secrets.token_hex(16))
        admin = ["--access", self.access_key, "--secret", self.secret_key, "--endpoint-url", self.endpoint]
        given = ["--access", user.access_key, "--secret", user.secret_key, "--role", "user"]
        run([str(program()), "admin", *admin, "create-user", *given], os.environ)
        return user

    def set_policy(self, bucket: str, policies: Mapping[str, Any]) -> None:
        """Gives users, by their access keys, what policies in the form of docs/policies allow them in the bucket.

        The service keeps a bucket's policy in an attribute of its folder. It knows no conditions: they are left out.
        """
        statements = [
            {
                "Effect": item["Effect"],
                "Action": item["Action"],
                "Resource": item["Resource"],
                "Principal": {"AWS": user},
            }
            for user, policy in policies.items()
            for item in policy["Statement"]
        ]
        text = json.dumps({"Version": "2012-10-17", "Statement": statements})
        os.setxattr(self.folder / bucket, "user.policy", text.encode())

    def environment(self) -> dict[str, str]:
        """How a command finds its login."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


@contextmanager
def start(folder: Path, *, concurrency: int = 1, versioning: bool = False) -> Iterator[S3Server]:
    """A service over an empty folder, ended on the way out. `versioning`: buckets may keep old versions."""
    server = S3Server(f"http://127.0.0.1:{free_port()}", "tester", secrets.token_hex(16), folder / "objects")
    server.folder.mkdir(parents=True)
    (folder / "users").mkdir()
    versions = []
    if versioning:
        (folder / "versions").mkdir()
        versions = ["--versioning-dir", str(folder / "versions")]
    command = [
        str(program()),
        "--quiet",
        "--port",
        server.endpoint.removeprefix("http://"),
        "--iam-dir",
        str(folder / "users"),
        "posix",
        "--concurrency",
        str(concurrency),
        *versions,
        str(server.folder),
    ]
    keys = {"ROOT_ACCESS_KEY": server.access_key, "ROOT_SECRET_KEY": server.secret_key}
    libc = ctypes.CDLL(None)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | keys,
            stdout=log,
            stderr=log,
            preexec_fn=functools.partial(libc.prctl, PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    try:
        _await(server, process, folder / "log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    store = server.store(timeout_seconds=10.0)
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            list(store.list(""))
            return
        except StoreError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"versitygw did not start: {log.read_text()[-2000:]}") from error
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    print(program(), obstore.__version__)
