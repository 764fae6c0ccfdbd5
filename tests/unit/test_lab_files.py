"""A lab's folder, its state, its certificates and logins, and the processes it may and may not end."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from kafkeep.errors import LabError
from kafkeep.lab import config, files, logins, process, state, tls
from kafkeep.lab.process import ProcessId
from kafkeep.lab.state import LabState, NodeState

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


# --- state -----------------------------------------------------------------------------------------------------------


def some_state() -> LabState:
    node = NodeState(
        node_id=1,
        controller=True,
        ports={"PLAINTEXT": 20000, "CONTROLLER": 20001},
        command=("java", "-Xmx1m", "/lab/node-1/server.properties"),
        log_dirs=("/lab/node-1/data-0",),
        process=ProcessId(123, 4.5, "/lab/node-1/server.properties"),
    )
    return LabState(
        kafka="4.3.1", cluster_id="abc", security="plaintext", java="java", class_path="/libs/*", nodes=(node,)
    )


def test_state_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert state.read(tmp_path) is None
    state.write(tmp_path, some_state())
    assert state.read(tmp_path) == some_state()
    stopped = some_state().with_process(1, None)
    state.write(tmp_path, stopped)
    assert state.read(tmp_path) == stopped != some_state()
    assert [path.name for path in tmp_path.iterdir()] == [state.FILE]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "nodes": []}', '{"format": 1, "x": 1}']
)
def test_a_state_file_that_is_none_is_an_error_and_not_an_absent_lab(tmp_path: Path, text: str) -> None:
    (tmp_path / state.FILE).write_text(text)
    with pytest.raises(LabError, match="not a lab's state file"):
        state.read(tmp_path)


# --- folder ----------------------------------------------------------------------------------------------------------


def test_only_a_new_empty_or_own_folder_is_claimed(tmp_path: Path) -> None:
    files.claim(tmp_path / "new" / "lab")
    files.claim(tmp_path / "new" / "lab")
    assert stat.S_IMODE((tmp_path / "new" / "lab").stat().st_mode) == 0o700
    state.write(tmp_path / "new" / "lab", some_state())
    (tmp_path / "new" / "lab" / "node-1").mkdir()
    files.claim(tmp_path / "new" / "lab")
    (tmp_path / "new" / "lab" / "thesis.tex").touch()
    with pytest.raises(LabError, match=r"is not a lab's folder, it holds thesis\.tex"):
        files.claim(tmp_path / "new" / "lab")
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="cannot use"):
        files.claim(tmp_path / "file")


def test_clearing_removes_only_what_labs_make(tmp_path: Path) -> None:
    state.write(tmp_path, some_state())
    (tmp_path / "node-1" / "data-0").mkdir(parents=True)
    (tmp_path / "node-1" / "data-0" / "x.log").touch()
    (tmp_path / "node-x").mkdir()
    (tmp_path / "mine.txt").touch()
    outside = tmp_path.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "tls").symlink_to(outside)
    files.clear(tmp_path)
    files.remove_if_empty(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "node-x"]
    assert (outside / "kept").exists()


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with files.locked(tmp_path), pytest.raises(LabError, match="another process"), files.locked(tmp_path):
        pass
    with files.locked(tmp_path):
        pass
    with pytest.raises(LabError, match="cannot open"), files.locked(tmp_path / "absent"):
        pass


def test_free_ports_are_free_different_and_outside_the_outgoing_range() -> None:
    ports = files.free_ports(20)
    assert len(set(ports)) == 20
    assert all(15000 <= port < 32000 for port in ports)
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_the_default_folder_is_the_users(tmp_path: Path) -> None:
    assert files.default_folder({"KAFKEEP_LAB_DIR": "/d"}, home=tmp_path) == Path("/d")
    assert files.default_folder({"XDG_STATE_HOME": "/s"}, home=tmp_path) == Path("/s/kafkeep/lab")
    assert files.default_folder({}, home=tmp_path) == tmp_path / ".local" / "state" / "kafkeep" / "lab"


def test_errors_in_a_log_come_first(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    assert files.log_tail(log) == ""
    log.write_text("".join(f"INFO {number}\n" for number in range(50)))
    assert files.log_tail(log, lines=2) == "INFO 48\nINFO 49"
    log.write_text("INFO 1\nERROR it broke\nINFO 2\n")
    assert files.log_tail(log) == "ERROR it broke"


# --- processes -------------------------------------------------------------------------------------------------------

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
MEEK = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def spawned(tmp_path: Path) -> Iterator[list[ProcessId]]:
    started: list[ProcessId] = []
    yield started
    for identity in started:
        process.kill(identity)


def spawn(tmp_path: Path, spawned: list[ProcessId], program: str = MEEK) -> ProcessId:
    log = tmp_path / f"log-{len(spawned)}"
    mark = str(tmp_path / "server.properties")
    identity = process.spawn([sys.executable, "-c", program, mark], log=log, env=os.environ)
    spawned.append(identity)
    deadline = time.monotonic() + 90
    while log.read_text() != "up\n" and time.monotonic() < deadline:
        time.sleep(0.01)
    return identity


def test_a_process_is_found_only_with_its_own_start_time_and_mark(tmp_path: Path, spawned: list[ProcessId]) -> None:
    identity = spawn(tmp_path, spawned)
    found = process.find(identity)
    assert found is not None
    assert os.getsid(identity.pid) == identity.pid
    assert process.find(ProcessId(identity.pid, identity.created - 60, identity.mark)) is None
    assert process.find(ProcessId(identity.pid, identity.created, "/elsewhere/server.properties")) is None
    assert process.find(None) is None


def test_a_stranger_with_a_recycled_pid_is_never_ended(tmp_path: Path, spawned: list[ProcessId]) -> None:
    identity = spawn(tmp_path, spawned)
    stranger = ProcessId(identity.pid, identity.created - 60, identity.mark)
    process.end([stranger], grace_seconds=0.1)
    process.kill(stranger)
    assert process.find(identity) is not None


def test_a_meek_process_ends_by_sigterm_and_leaves_no_zombie(tmp_path: Path, spawned: list[ProcessId]) -> None:
    identity = spawn(tmp_path, spawned)
    process.end([identity], grace_seconds=30)
    assert process.find(identity) is None
    assert not psutil.pid_exists(identity.pid)


def test_a_stubborn_process_ends_by_sigkill(tmp_path: Path, spawned: list[ProcessId]) -> None:
    identity = spawn(tmp_path, spawned, STUBBORN)
    process.end([identity], grace_seconds=0.2)
    assert not psutil.pid_exists(identity.pid)


def test_a_paused_process_is_ended_too(tmp_path: Path, spawned: list[ProcessId]) -> None:
    identity = spawn(tmp_path, spawned)
    process.pause(identity)
    assert process.is_paused(identity)
    process.end([identity], grace_seconds=30)
    assert not psutil.pid_exists(identity.pid)
    assert not process.is_paused(identity)
    with pytest.raises(LabError, match="cannot be paused"):
        process.pause(identity)


def test_a_resumed_process_runs_on(tmp_path: Path, spawned: list[ProcessId]) -> None:
    identity = spawn(tmp_path, spawned)
    process.pause(identity)
    process.resume(identity)
    assert not process.is_paused(identity)
    assert process.find(identity) is not None


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot start /absent/java"):
        process.spawn(["/absent/java", "x"], log=tmp_path / "log", env={})


# --- certificates and logins -----------------------------------------------------------------------------------------


def test_certificates_are_signed_by_their_authority_and_keys_are_private(tmp_path: Path) -> None:
    made = tls.make(tmp_path / "tls", now=NOW)
    authority = x509.load_pem_x509_certificate(made.ca.read_bytes())
    stranger = x509.load_pem_x509_certificate(made.stranger_ca.read_bytes())
    for path, signer in ((made.server, authority), (made.client_cert, authority), (made.stranger_cert, stranger)):
        leaf = x509.load_pem_x509_certificate(path.read_bytes()[path.read_bytes().index(b"-----BEGIN CERT") :])
        leaf.verify_directly_issued_by(signer)
        assert leaf.not_valid_before_utc < NOW < leaf.not_valid_after_utc
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["localhost"]
        assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert isinstance(authority.public_key(), ec.EllipticCurvePublicKey)
    for path in (made.server, made.client_key, made.client_store, made.stranger_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_tokens_are_signed_with_the_published_key(tmp_path: Path) -> None:
    made = logins.make(tmp_path)
    head, body, signature = made.token("carol", now=NOW, lifetime=timedelta(minutes=5)).reveal().split(".")
    (key,) = json.loads(Path(made.jwks_url.removeprefix("file://")).read_text())["keys"]
    numbers = rsa.RSAPublicNumbers(int.from_bytes(decoded(key["e"])), int.from_bytes(decoded(key["n"])))
    numbers.public_key().verify(decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    claims = json.loads(decoded(body))
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("carol", 300)
    assert json.loads(decoded(head))["kid"] == key["kid"]


def test_every_user_has_a_private_password_of_its_own(tmp_path: Path) -> None:
    made = logins.make(tmp_path)
    passwords = [made.password(user).reveal() for user in config.USERS]
    assert len(set(passwords)) == len(config.USERS)
    assert all(stat.S_IMODE(made.password_file(user).stat().st_mode) == 0o600 for user in config.USERS)
    assert passwords[0] not in repr(made.password("admin"))
    assert {(user.name, user.mechanism) for user in made.scram_users()} == {
        (name, mechanism) for name in config.USERS for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
    }
    with pytest.raises(LabError, match="no user mallory"):
        made.password("mallory")


def test_a_lab_never_shows_its_files_to_others(tmp_path: Path) -> None:
    path = tmp_path / "server.properties"
    files.write_private(path, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert subprocess.run(["cat", path], capture_output=True, text=True, check=True).stdout == "secret"
