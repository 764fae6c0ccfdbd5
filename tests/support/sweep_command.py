"""The real `kafkeep` command: run to its end, or started to be killed."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from kafkeep import logger
from kafkeep.cli.main import main

if TYPE_CHECKING:
    from tests.support.versitygw import S3Server

COMMAND: Final = (sys.executable, "-m", "kafkeep")
HELD_BACK: Final = (sys.executable, "-P", str(Path(__file__).with_name("held_back.py")))
PATIENCE_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of a command that was given --json."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        """Its summary or its error."""
        lines = self.lines
        assert lines, f"status {self.status}, nothing on stdout, stderr: {self.err}"
        return lines[-1]

    def expect(self, *statuses: int) -> dict[str, Any]:
        """Its last line, after a look at its status."""
        assert self.status in statuses, f"status {self.status}, not {statuses}: {self.out[-2000:]}\n{self.err[-4000:]}"
        assert self.last["exit_code"] == self.status
        return self.last

    def refused(self, status: int, slug: str) -> str:
        """The message and hint of the error it must have ended with; both must be there."""
        last = self.expect(status)
        assert (last["type"], last["slug"]) == ("error", slug), last
        assert last["message"]
        assert last["hint"]
        assert last["message"] in self.err
        assert "Traceback" not in self.err
        return f"{last['message']} {last['hint']}"


@dataclass
class Kafkeep:
    """Runs `kafkeep` with a home, a cache and a working folder of its own."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    inside: bool = False
    """Whether `kafkeep --json …` runs in this process, through the same entry: a start costs half a second otherwise."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        known = {name: value for name, value in os.environ.items() if not name.startswith("KAFKEEP_")}
        return known | {"HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache")} | dict(self.variables)

    def settings(self, text: str) -> None:
        """Writes kafkeep.toml into the working folder."""
        (self.folder / "kafkeep.toml").write_text(text)

    def secret(self, name: str, text: str) -> None:
        """Writes a file that its owner alone may read into the working folder."""
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o600)

    def knows_bucket(
        self, name: str, url: str, server: S3Server, *, endpoint: str | None = None, more: str = "", s3: str = ""
    ) -> None:
        """Writes settings that know the place as `name`, with its login in files; `more` are further lines of its table,
        `s3` of the table below."""
        self.secret("id", server.access_key)
        self.secret("secret", server.secret_key)
        self.settings(
            f'[repository.{name}]\nurl = "{url}"\n{more}\n'
            f'[repository.{name}.s3]\nendpoint = "{server.endpoint if endpoint is None else endpoint}"\n'
            f'access_key_id = {{ file = "id" }}\nsecret_access_key = {{ file = "secret" }}\n{s3}\n'
        )

    def __call__(self, *arguments: str) -> Ended:
        """`kafkeep --json ARGUMENTS`, to its end."""
        return self._inside("--json", *arguments) if self.inside else self.plain("--json", *arguments)

    def _inside(self, *arguments: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        handlers, level = logging.getLogger().handlers, logging.getLogger().level
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            patch.setattr(os, "environ", self.environment)
            try:
                status = main(arguments)
            finally:
                logger.send_to(None)
                logging.getLogger().handlers = handlers
                logging.getLogger().setLevel(level)
        return Ended(status, out.getvalue(), err.getvalue())

    def plain(self, *arguments: str, seconds: float = PATIENCE_SECONDS, **options: Any) -> Ended:
        """`kafkeep ARGUMENTS`, to its end."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            text=True,
            errors="replace",
            check=False,
            **options,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: str, most_bytes: int | None = None) -> Iterator[Running]:
        """`kafkeep --json ARGUMENTS`, running; killed at the end of the block if it still is. stderr is not kept.

        `most_bytes`: it stands still before brokers have more than so many bytes of record batches from it.
        """
        command = COMMAND if most_bytes is None else (*HELD_BACK, str(most_bytes))
        with subprocess.Popen(
            [*command, "--json", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield Running(process)
            finally:
                if process.poll() is None:
                    process.kill()


class Running:
    """A command at work, and the JSON lines it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    def until(self, kind: str, count: int = 1) -> None:
        """Reads until `count` more lines of a type have come, or until the command's end."""
        out = self.process.stdout
        assert out is not None
        while count and (line := out.readline()):
            self.lines.append(json.loads(line))
            count -= self.lines[-1]["type"] == kind

    def end(self, *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Waits for the command's end; its last line, which tells the status it ended with."""
        out, _ = self.process.communicate(timeout=seconds)
        self.lines += map(json.loads, out.splitlines())
        assert self.lines, f"status {self.process.returncode} and nothing on stdout"
        last = self.lines[-1]
        assert last.get("exit_code") == self.process.returncode, (self.process.returncode, last)
        return last


def kill(
    kafkeep: Kafkeep, arguments: Sequence[str], when: Callable[[], bool], *, most_bytes: int | None = None
) -> None:
    """Starts a command and ends it by SIGKILL as soon as the condition holds. It must not have ended by itself."""
    with kafkeep.started(*arguments, most_bytes=most_bytes) as running:
        ends = time.monotonic() + PATIENCE_SECONDS
        while running.process.poll() is None and not when():
            assert time.monotonic() < ends, "the moment to kill it does not come"
            time.sleep(0.002)
        assert running.process.poll() is None, running.end()
        running.process.kill()


def after(seconds: float) -> Callable[[], bool]:
    """A condition that holds from then on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def cluster_table(
    name: str,
    bootstrap: str,
    security: str,
    *,
    ca: Path | None = None,
    mechanism: str = "",
    user: str = "",
    password: str = "",
    more: str = "",
) -> str:
    """A `[cluster.NAME]` of kafkeep.toml with its tables. `password` is the source of the secret as it stands there."""
    lines = [f"[cluster.{name}]", f'bootstrap = "{bootstrap}"', f'security = "{security}"', more]
    if ca is not None:
        lines += [f"[cluster.{name}.tls]", f'ca_file = "{ca}"']
    if mechanism:
        lines += [f"[cluster.{name}.sasl]", f'mechanism = "{mechanism}"', f'username = "{user}"']
        lines += [f"password = {password}"]
    return "\n".join(lines) + "\n"
