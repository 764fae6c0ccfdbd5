"""`kafkeep lab` without a cluster: what it takes, and what it says where there is no lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kafkeep.cli import lab as verbs
from kafkeep.cli.main import main
from kafkeep.errors import UsageError
from kafkeep.lab import config, run_command


def test_the_choices_are_the_labs_own() -> None:
    assert verbs.SECURITY == config.SECURITY
    assert tuple(int(count) for count in verbs.BROKERS) == config.BROKER_COUNTS


def test_down_where_nothing_runs_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "down", "--dir", str(tmp_path / "lab")]) == 0
    assert f"no lab in {tmp_path / 'lab'}" in capsys.readouterr().err


def test_status_where_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "lab", "status", "--dir", str(tmp_path)]) == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["type"], told["running"], told["directory"]) == ("summary", False, str(tmp_path))


def test_env_where_nothing_runs_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "env", "--dir", str(tmp_path)]) == 1
    assert "kafkeep lab up" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["up", "--brokers", "2"], ["up", "--security", "none"], ["run"], ["up", "--dir", __file__], ["sideways"]]
)
def test_wrong_use_is_refused(wrong: list[str]) -> None:
    assert main(["lab", *wrong]) == 2


def test_a_version_that_is_not_pinned_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "up", "--kafka", "2.8.0", "--dir", str(tmp_path / "lab")]) == 1
    assert "kafka 2.8.0 is not pinned" in capsys.readouterr().err
    assert not (tmp_path / "lab").exists()


def test_a_commands_exit_code_comes_back() -> None:
    assert run_command(["sh", "-c", "exit 7"], env=os.environ) == 7
    assert run_command(["sh", "-c", "kill -9 $$"], env=os.environ) == 128 + 9
    assert run_command(["sh", "-c", 'exit "$FROM_LAB"'], env={**os.environ, "FROM_LAB": "5"}) == 5
    with pytest.raises(UsageError, match="cannot run /absent/command"):
        run_command(["/absent/command"], env=os.environ)


def test_signals_go_to_the_command_and_handlers_are_put_back(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    run_command(["true"], env=os.environ)
    assert {number: signal.getsignal(number) for number in before} == before

    caught = tmp_path / "caught"
    script = f"trap 'echo term > {caught}; exit 3' TERM; echo ready > {tmp_path}/ready; while :; do sleep 0.1; done"
    call = f"run_command(['sh', '-c', {script!r}], env=os.environ)"
    code = f"import os, sys; from kafkeep.lab import run_command; sys.exit({call})"
    owner = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    owner.send_signal(signal.SIGTERM)
    assert owner.wait(120) == 3
    assert caught.read_text() == "term\n"
