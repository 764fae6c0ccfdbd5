"""What a command loads before and around its work: libraries that it does not need would be most of a short command's time.

Each command runs in a process of its own, and its modules are looked at afterwards. `make bench-startup` tells the times.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

PROGRAM: Final = (
    "import sys; from kafkeep.__main__ import main; sys.argv[0] = 'kafkeep'; status = main();"
    "print('MODULES', sorted(sys.modules), file=sys.stderr); sys.exit(status)"
)
NOWHERE: Final = "127.0.0.1:1"
"""A cluster that refuses at once, when all that a backup or restore imports has been imported."""

NEVER: Final = {
    *(
        "asyncio",
        "boto3",
        "botocore",
        "cryptography",
        "dask",
        "difflib",
        "distributed",
        "email",
        "http",
        "importlib.metadata",
    ),
    *("hashlib", "msgspec", "multiprocessing", "obstore", "rich", "ssl", "structlog", "tomllib", "yaml"),
}
"""Where nothing is configured, nothing is encrypted, no bucket is used and no terminal is written to."""
NO_CLUSTER: Final = {
    *("cramjam", "kafka", "kafkeep.capture", "kafkeep.kafka", "kafkeep.restore", "socket", "ssl", "subprocess"),
}
NO_REPOSITORY: Final = {
    *("blake3", "fastcrc", "kafkeep.repository", "kafkeep.settings", "logging", "sqlite3", "tempfile", "zstandard"),
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("KAFKEEP", "XDG", "FORCE", "TTY"))
    }
    return kept | {"HOME": str(tmp_path), "KAFKEEP_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def repository(tmp_path: Path, environment: dict[str, str]) -> Path:
    place = tmp_path / "repository"
    loaded(environment, tmp_path, "init", "--repo", str(place))
    return place


def loaded(environment: dict[str, str], folder: Path, *arguments: str, status: int = 0) -> frozenset[str]:
    """The modules that `kafkeep ARGUMENTS` has loaded when it ends with this status."""
    done = subprocess.run(
        (sys.executable, "-c", PROGRAM, *arguments),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("MODULES "))
    return frozenset(ast.literal_eval(line.removeprefix("MODULES ")))


def test_the_version_loads_the_command_line_alone(environment: dict[str, str], tmp_path: Path) -> None:
    assert not loaded(environment, tmp_path, "--version") & (NEVER | NO_CLUSTER | NO_REPOSITORY)


@pytest.mark.parametrize("verb", ["", "points", "backup", "restore", "config"])
def test_a_help_text_loads_no_work(environment: dict[str, str], tmp_path: Path, verb: str) -> None:
    found = loaded(environment, tmp_path, *([verb] if verb else []), "--help")
    assert not found & (NEVER | {"kafka", "kafkeep.kafka.control", "kafkeep.repository.repository", "sqlite3", "ssl"})


def test_the_help_of_one_verb_loads_no_other(environment: dict[str, str], tmp_path: Path) -> None:
    found = loaded(environment, tmp_path, "--help")
    assert not {name for name in found if name.startswith("kafkeep.cli.")} & {
        f"kafkeep.cli.{verb}" for verb in ("backup", "restore", "points", "metadata", "lab", "prune")
    }


def test_points_of_a_folder(environment: dict[str, str], tmp_path: Path, repository: Path) -> None:
    assert not loaded(environment, tmp_path, "points", "--repo", str(repository)) & (NEVER | NO_CLUSTER)


@pytest.mark.parametrize("verb", [("backup",), ("restore", "latest")])
def test_a_backup_and_a_restore(
    environment: dict[str, str], tmp_path: Path, repository: Path, verb: tuple[str, ...]
) -> None:
    arguments = ("--repo", str(repository), "--cluster", NOWHERE)
    found = loaded(environment, tmp_path, *verb, *arguments, status=14)
    assert "kafkeep.kafka.connection" in found
    assert not found & (NEVER | {"kafka.admin", "kafka.consumer", "kafka.net", "kafka.producer"})


def test_settings_bring_what_checks_them(environment: dict[str, str], tmp_path: Path, repository: Path) -> None:
    """The other side: these tests would see it."""
    (tmp_path / "kafkeep.toml").write_text(f'[repository.main]\nurl = "{repository}"\n')
    found = loaded(environment, tmp_path, "points", "--repo", "main")
    assert {"msgspec", "tomllib"} <= found
    assert not found & (NEVER | NO_CLUSTER) - {"msgspec", "tomllib"}
