"""From the command line to the exit status: every way a call can end, and what it says."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from kafkeep import __version__, errors, logger
from kafkeep.cli import main as cli_main
from kafkeep.cli.common import Run, Terminated, pass_run
from kafkeep.cli.main import VERBS, main

CANARY = "canary-4711-hunter2"
KAFKEEP = (sys.executable, "-m", "kafkeep")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own as home and current folder; logging is put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in [name for name in os.environ if name.startswith(("KAFKEEP", "XDG_"))]:
        monkeypatch.delenv(variable)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logger.send_to(None)


class Ended:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Ended:
        status = main(arguments)
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return run


def verb(monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    """A verb `boom` that does what the test wants."""

    @click.command()
    @pass_run
    def boom(run: Run) -> int:
        return int(body(run) or 0)

    monkeypatch.setattr(cli_main, "boom", boom, raising=False)
    monkeypatch.setitem(VERBS, "boom", ("kafkeep.cli.main", "Fall over."))


class Babbler:
    """A server that reads a little and answers the same nonsense to everybody."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.received = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Babbler:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    self.received.extend(connection.recv(65536))
                    connection.sendall(self.answer)
                except OSError:
                    continue


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "message", "hint"),
        [
            (("bakup",), "no verb is named 'bakup'", "Did you mean 'backup'?"),
            ((), "missing command", "kafkeep --help"),
            (("points",), "missing option '--repo'", "kafkeep points --help"),
            (("points", "--rep", "x"), "no such option", "kafkeep points --help"),
            (("points", "--repo", "x", "--json"), "--json stands behind the verb", "before the verb"),
            (("points", "--repo", "prod"), "no repository is named 'prod'", "./prod"),
            (("points", "--repo", f"s3://me:{CANARY}@b/x"), "holds a user or secret", "credentials"),
            (("backup", "--repo", "./r", "--cluster", "k:1", "--interval", "5x"), "'5x' is not a duration", "30s"),
            (("backup", "--repo", "./r", "--cluster", "k:1", "--fetch-size", "1"), "--fetch-size is 1 bytes", "65536"),
            (("backup", "--repo", "./r", "--cluster", "k:1", "--tag", "x"), "'x' is not key=value", "--tag"),
            (("backup", "--repo", "./r", "--cluster", "k:1", "--connections", "0"), "--connections", "--help"),
            (("restore", "1", "--repo", "./r", "--cluster", "k:1", "--until", "noon"), "is not a time", "2026-11"),
            (("restore", "1", "--repo", "./r", "--cluster", "k:1", "--rename", "x"), "rename 'x'", ""),
            (("restore", "1", "--repo", "./r", "--cluster", "k:1", "--route", "magic"), "'magic'", "--help"),
            (("restore", "--repo", "./r", "--cluster", "k:1"), "missing argument 'POINT'", "--help"),
            (("verify", "--repo", "./r", "--level", "deep"), "'deep'", "--help"),
            (("--config", "absent.toml", "config", "show"), "absent.toml cannot be read", "--config"),
        ],
    )
    def test_ends_with_2_and_says_what_to_do(
        self, call: Any, arguments: tuple[str, ...], message: str, hint: str
    ) -> None:
        for prefix in ((), ("--json",)):
            ended = call(*prefix, *arguments)
            assert ended.status == 2
            assert message in ended.err
            assert hint in ended.err
            assert CANARY not in ended.err + ended.out
            assert "Traceback" not in ended.err
            if prefix:
                (line,) = ended.lines
                assert (line["type"], line["exit_code"]) == ("error", 2)
                assert message in line["message"]
            else:
                assert ended.out == ""

    def test_an_unknown_key_names_the_nearest(self, call: Any, tmp_path: Path) -> None:
        (tmp_path / "kafkeep.toml").write_text('[cluster.p]\nbootstap = "k:1"\n')
        ended = call("config", "check")
        assert ended.status == 2
        assert f"unknown key 'bootstap' in [cluster.p] of {tmp_path}/kafkeep.toml" in ended.err
        assert "Did you mean 'bootstrap'?" in ended.err

    def test_help_and_version(self, call: Any) -> None:
        for arguments in (("--help",), ("-h",), ("backup", "--help")):
            ended = call(*arguments)
            assert ended.status == 0
            assert "Usage: kafkeep" in ended.out
        assert call("--version").out == f"kafkeep {__version__}\n"
        assert call("--json", "version").lines[0]["version"] == __version__

    def test_help_lists_every_verb(self, call: Any) -> None:
        shown = call("--help").out
        assert all(f"\n  {name} " in shown for name in VERBS)


class TestRepository:
    def test_none_there(self, call: Any) -> None:
        for arguments in (
            ("points", "--repo", "./r"),
            ("show", "1", "--repo", "./r"),
            ("verify", "--repo", "./r"),
            ("backup", "--repo", "./r", "--cluster", "127.0.0.1:1"),
        ):
            ended = call("--json", *arguments)
            assert (ended.status, ended.lines[-1]["slug"]) == (10, "no-repository")
            assert "kafkeep init" in ended.err
        assert not Path("r").exists()

    def test_made_once(self, call: Any) -> None:
        made = call("--json", "init", "--repo", "./r", "--compression", "none")
        assert made.status == 0
        assert made.lines[-1]["compression"] == "none"
        again = call("--json", "init", "--repo", "./r")
        assert (again.status, again.lines[-1]["slug"]) == (2, "repository-exists")
        empty = call("--json", "points", "--repo", "./r")
        assert (empty.status, empty.lines[-1]["points"]) == (0, 0)
        absent = call("--json", "show", "latest", "--repo", "./r")
        assert (absent.status, absent.lines[-1]["slug"]) == (2, "point-not-found")
        checked = call("--json", "verify", "--repo", "./r", "--level", "data")
        assert (checked.status, checked.lines[-1]["findings"]) == (0, [])

    def test_damage_ends_with_22(self, call: Any) -> None:
        assert call("init", "--repo", "./r").status == 0
        (first,) = (path for path in Path("r").rglob("*") if path.is_file() and "log" in path.parts)
        raw = bytearray(first.read_bytes())
        raw[len(raw) // 2] ^= 1
        first.chmod(0o600)
        first.write_bytes(raw)
        ended = call("--json", "verify", "--repo", "./r", "--level", "chain")
        assert ended.status == 22
        assert ended.lines[-1]["findings"]

    def test_a_name_and_its_compression(self, call: Any, tmp_path: Path) -> None:
        (tmp_path / "kafkeep.toml").write_text('[repository.main]\nurl = "r"\ncompression = "none"\n')
        assert call("--json", "init", "--repo", "main").lines[-1]["compression"] == "none"
        assert call("points", "--repo", "main").status == 0


class TestCluster:
    def test_a_wrong_address_ends_soon(self, call: Any) -> None:
        call("init", "--repo", "./r")
        began = time.monotonic()
        ended = call("--json", "backup", "--repo", "./r", "--cluster", "127.0.0.1:1")
        assert (ended.status, ended.lines[-1]["slug"]) == (14, "kafka-unreachable")
        assert "127.0.0.1:1" in ended.err
        assert time.monotonic() - began < 25

    def test_what_is_no_broker(self, call: Any) -> None:
        call("init", "--repo", "./r")
        with Babbler(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
            began = time.monotonic()
            ended = call("--json", "backup", "--repo", "./r", "--cluster", f"127.0.0.1:{server.port}")
        assert ended.status == 14
        assert f"127.0.0.1:{server.port}" in ended.err
        assert time.monotonic() - began < 25


class TestErrors:
    @pytest.mark.parametrize("error", errors.all_errors(), ids=lambda error: error.slug)
    def test_every_class_has_its_status(
        self, call: Any, monkeypatch: pytest.MonkeyPatch, error: type[errors.KafkeepError]
    ) -> None:
        def body(run: Run) -> None:
            if issubclass(error, errors.KafkaRequestError):
                raise error("what failed", code=3, name="UNKNOWN_TOPIC_OR_PARTITION")
            if issubclass(error, errors.ServiceRequestError):
                raise error("what failed", status=409)
            raise error("what failed")

        verb(monkeypatch, body)
        ended = call("--json", "boom")
        assert ended.status == error.exit_code
        (line,) = ended.lines
        assert (line["slug"], line["message"], line["hint"]) == (error.slug, "what failed", error.default_hint)
        assert ended.err == f"kafkeep: what failed\n  hint: {error.default_hint}\n"

    def test_anything_else_is_1_with_a_traceback_only_by_v(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def body(run: Run) -> None:
            raise RuntimeError("wheels came off")

        verb(monkeypatch, body)
        quiet = call("--json", "boom")
        assert quiet.status == 1
        assert quiet.lines[-1]["slug"] == "unexpected"
        assert "unexpected RuntimeError: wheels came off" in quiet.err
        assert "Traceback" not in quiet.err
        loud = call("-v", "boom")
        assert loud.status == 1
        assert "Traceback" in loud.err

    @pytest.mark.fault("E5", "P7")
    def test_secrets_and_escapes_never_show(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def body(run: Run) -> None:
            secret = run.redact.add(errors_secret())
            run.start_logs()
            logger.get_logger("x").debug("noted", password=secret, text=f"\x1b[2J{CANARY}")
            logging.getLogger("kafka.conn").info("sent %s", CANARY)
            logging.getLogger("other").debug("sent \x1b[2J%s", CANARY.encode())
            try:
                raise ValueError(f"inner {CANARY}")
            except ValueError as error:
                raise RuntimeError(f"outer \x1b[2J {CANARY}") from error

        verb(monkeypatch, body)
        for arguments in (("boom",), ("-vv", "boom"), ("--json", "-vv", "boom")):
            ended = call(*arguments)
            assert ended.status == 1
            assert CANARY not in ended.err + ended.out
            assert "\x1b" not in ended.err + ended.out
        assert "noted" in ended.err
        assert "inner ***" in ended.err

    def test_kafka_s_own_loggers_never_go_below_info(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def body(run: Run) -> None:
            run.start_logs()
            logging.getLogger("kafka.conn").debug("frame with a password")

        verb(monkeypatch, body)
        assert "frame" not in call("-vv", "boom").err

    @pytest.mark.parametrize(
        ("raised", "status"), [(KeyboardInterrupt(), 130), (Terminated(), 143), (click.Abort(), 130)]
    )
    def test_signals(self, call: Any, monkeypatch: pytest.MonkeyPatch, raised: BaseException, status: int) -> None:
        def body(run: Run) -> None:
            raise raised

        verb(monkeypatch, body)
        ended = call("--json", "boom")
        assert ended.status == status
        assert (ended.lines[-1]["slug"], ended.lines[-1]["exit_code"]) == ("interrupted", status)

    @pytest.mark.parametrize(("arrived", "status"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
    def test_a_signal_that_another_error_hides(
        self, call: Any, monkeypatch: pytest.MonkeyPatch, arrived: BaseException, status: int
    ) -> None:
        lock = threading.Lock()

        def body(run: Run) -> None:
            with lock:
                lock.release()  # as a wait of `threading` does, and a signal arrives before it has the lock again
                raise arrived

        verb(monkeypatch, body)
        ended = call("--json", "boom")
        assert ended.status == status
        assert (ended.lines[-1]["slug"], ended.lines[-1]["exit_code"]) == ("interrupted", status)


def errors_secret() -> Any:
    from kafkeep.secret import Secret

    return Secret(CANARY)


SCRIPT = """
import sys, time
from kafkeep.cli import main as m
import click
from kafkeep.cli.common import pass_run, stop_on_signals

@click.command()
@click.option("--gentle", is_flag=True)
@pass_run
def boom(run, gentle):
    if gentle:
        with stop_on_signals(run.output.note) as stop:
            print("ready", flush=True)
            while not (stop.event.wait(0.05) and gentle == "never"):
                if stop.number is not None and {once}:
                    return 128 + stop.number
    print("ready", flush=True)
    time.sleep(60)

m.boom = boom
m.VERBS["boom"] = ("__main__", "Fall over.")
sys.exit(m.main())
"""


class TestProcess:
    def start(self, tmp_path: Path, *arguments: str, once: bool = True) -> subprocess.Popen[str]:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.replace("{once}", str(once)))
        process = subprocess.Popen(
            (sys.executable, script, "boom", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell starts what it puts in the background with SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_ends_the_run(self, tmp_path: Path, number: signal.Signals, status: int) -> None:
        process = self.start(tmp_path)
        process.send_signal(number)
        _, err = process.communicate(timeout=50)
        assert process.returncode == status
        assert f"ended by {number.name}" in err
        assert "Traceback" not in err

    def test_the_first_signal_is_a_request(self, tmp_path: Path) -> None:
        process = self.start(tmp_path, "--gentle")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=50)
        assert process.returncode == 143
        assert "Traceback" not in err

    def test_the_second_signal_is_an_order(self, tmp_path: Path) -> None:
        process = self.start(tmp_path, "--gentle", once=False)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert "ending after what is being written" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=50)
        assert process.returncode == 143, err

    def test_a_lost_reader_is_no_traceback(self, tmp_path: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run((*KAFKEEP, "--json", "version"), stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, b"")

    def test_files_are_private_whatever_the_umask(self, tmp_path: Path) -> None:
        done = subprocess.run((*KAFKEEP, "init", "--repo", "./r"), umask=0, check=True, capture_output=True)
        assert done.returncode == 0
        for path in (tmp_path / "r").rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path

    def test_help_is_quick_and_loads_nothing_heavy(self) -> None:
        program = (
            "import sys; from kafkeep.cli.main import main; main(['--help']);"
            "heavy = {'structlog', 'rich.console', 'msgspec', 'kafka', 'kafkeep.kafka', 'kafkeep.repository', 'asyncio'};"
            "sys.exit(','.join(heavy & set(sys.modules)) or 0)"
        )
        done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run((*KAFKEEP, "--help"), check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0, "seconds of processor time"


SETTINGS = """
[cluster.env]
bootstrap = "127.0.0.1:{port}"
security = "sasl_plaintext"
request_timeout_seconds = 2
connect_timeout_seconds = 2
sasl = {{ mechanism = "PLAIN", username = "u", password = {{ env = "SECRET" }} }}
[cluster.file]
bootstrap = "127.0.0.1:{port}"
security = "sasl_plaintext"
sasl = {{ mechanism = "SCRAM-SHA-512", username = "u", password = {{ file = "secret" }} }}
connect_timeout_seconds = 2
[cluster.command]
bootstrap = "127.0.0.1:{port}"
security = "sasl_tls"
connect_timeout_seconds = 2
[cluster.command.sasl]
mechanism = "OAUTHBEARER"
[cluster.command.sasl.client_credentials]
token_url = "http://127.0.0.1:{port}/"
client_id = "c"
client_secret = {{ command = ["sh", "-c", "echo $SECRET"] }}
[repository.r]
url = "r"
"""


@pytest.mark.parametrize("cluster", ["env", "file", "command"])
def test_a_canary_shows_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str) -> None:
    """Every verb, loud and as JSON, against an address that answers nonsense: no output and no file holds the secret."""
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    monkeypatch.setenv("SECRET", CANARY)
    shown = b""
    with Babbler(b"\x00\x00\x00\x04nope") as server:
        (tmp_path / "kafkeep.toml").write_text(SETTINGS.format(port=server.port))
        for arguments in (
            ("-vv", "init", "--repo", "r"),
            ("-vv", "config", "show"),
            ("--json", "-vv", "config", "check"),
            ("-vv", "backup", "--repo", "r", "--cluster", cluster),
            ("--json", "-vv", "backup", "--repo", "r", "--cluster", cluster),
        ):
            done = subprocess.run((*KAFKEEP, *arguments), capture_output=True, timeout=60, check=False)
            assert done.returncode == (14 if "backup" in arguments else 0), done.stderr.decode()
            shown += done.stdout + done.stderr
    assert server.received
    assert CANARY.encode() not in shown
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert holders == [secret]
