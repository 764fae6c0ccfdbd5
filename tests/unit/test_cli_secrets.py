"""Secrets come from a private file, the environment or a command, and from nowhere else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from kafkeep.cli.common import Run
from kafkeep.cli.connect import cluster_config
from kafkeep.cli.secrets import read_secret
from kafkeep.errors import SettingsError
from kafkeep.settings import SecretSource

CANARY = "canary-4711-hunter2"


def private(path: Path, text: str = CANARY + "\n", mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_private_file(tmp_path: Path) -> None:
    assert read_secret(SecretSource(file=private(tmp_path / "s")), "k", {}).reveal() == CANARY


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o622])
@pytest.mark.fault("E6")
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SettingsError, match=rf"may be read or written by others \(mode 0{mode:o}\)") as caught:
        read_secret(SecretSource(file=private(tmp_path / "s", mode=mode)), "k", {})
    assert "chmod 600" in caught.value.hint


@pytest.mark.fault("E6")
def test_a_link_to_a_shared_file_is_refused(tmp_path: Path) -> None:
    private(tmp_path / "shared", mode=0o644)
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    with pytest.raises(SettingsError, match="others"):
        read_secret(SecretSource(file=str(tmp_path / "link")), "k", {})


def test_a_pipe_has_no_mode_to_refuse(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, CANARY.encode())
    os.close(writer)
    try:
        assert read_secret(SecretSource(file=f"/dev/fd/{reader}"), "k", {}).reveal() == CANARY
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    ("text", "message"), [("", "is empty"), ("\n", "is empty"), ("x" * 70_000, "which is no secret")]
)
def test_what_is_no_secret(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_secret(SecretSource(file=private(tmp_path / "s", text)), "k", {})


def test_only_the_line_end_is_taken_off(tmp_path: Path) -> None:
    assert read_secret(SecretSource(file=private(tmp_path / "s", " a b \r\n")), "k", {}).reveal() == " a b "
    assert read_secret(SecretSource(file=private(tmp_path / "s", "a\n\n")), "k", {}).reveal() == "a\n"


def test_the_environment() -> None:
    assert read_secret(SecretSource(env="X"), "k", {"X": CANARY}).reveal() == CANARY
    with pytest.raises(SettingsError, match="k: environment variable Y is not set"):
        read_secret(SecretSource(env="Y"), "k", {})


def test_a_command() -> None:
    source = SecretSource(command=(sys.executable, "-c", f"print('{CANARY}')"))
    assert read_secret(source, "k", {}).reveal() == CANARY


@pytest.mark.parametrize("program", ["import sys; sys.exit('" + CANARY + "')", "print('" + CANARY + "'); exit(3)"])
def test_a_failing_command_gives_nothing_away(program: str) -> None:
    with pytest.raises(SettingsError, match="ended with status") as caught:
        read_secret(SecretSource(command=(sys.executable, "-c", program)), "k", {})
    assert CANARY not in str(caught.value)


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="cannot be run"):
        read_secret(SecretSource(command=("/no/such/program", CANARY)), "k", {})


class TestCluster:
    def run(self, tmp_path: Path, text: str, **env: str) -> Run:
        (tmp_path / "kafkeep.toml").write_text(text)
        return Run(env=env, cwd=tmp_path, home=tmp_path)

    def test_a_bootstrap_list_is_plaintext(self, tmp_path: Path) -> None:
        found = cluster_config(self.run(tmp_path, ""), "a:1,b:2")
        assert (found.bootstrap, found.security_protocol) == (("a:1", "b:2"), "PLAINTEXT")

    @pytest.mark.parametrize(
        ("spec", "message", "hint"),
        [
            ("prud", "no cluster is named 'prud'", "'prod'"),
            ("a:0", "--cluster 'a:0' is not host:port", "host:port"),
            (f"u:{CANARY}@a:1", "holds a user or secret", "host:port"),
        ],
    )
    def test_a_bad_name_is_told(self, tmp_path: Path, spec: str, message: str, hint: str) -> None:
        with pytest.raises(SettingsError) as caught:
            cluster_config(self.run(tmp_path, '[cluster.prod]\nbootstrap = "k:1"\n'), spec)
        assert message in caught.value.message
        assert hint in caught.value.hint
        assert CANARY not in str(caught.value)

    def test_a_login_is_fetched_and_known_to_the_redactor(self, tmp_path: Path) -> None:
        text = (
            '[cluster.p]\nbootstrap = "k:1"\nsecurity = "sasl_tls"\n'
            'sasl = {mechanism = "SCRAM-SHA-256", username = "u", password = {env = "PASSWORD"}}\n'
        )
        run = self.run(tmp_path, text, PASSWORD=CANARY)
        found = cluster_config(run, "p")
        assert found.sasl is not None
        assert found.sasl.password is not None
        assert found.sasl.password.reveal() == CANARY
        assert CANARY not in repr(found)
        assert run.redact(f"x{CANARY}y") == "x***y"

    @pytest.mark.fault("E7")
    def test_no_verification_needs_a_second_place(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = '[cluster.p]\nbootstrap = "k:1"\nsecurity = "tls"\ntls = {verify = false}\n'
        with pytest.raises(SettingsError, match="KAFKEEP_ALLOW_INSECURE=1 is not in the environment"):
            cluster_config(self.run(tmp_path, text), "p")
        found = cluster_config(self.run(tmp_path, text, KAFKEEP_ALLOW_INSECURE="1"), "p")
        assert found.tls.verify is False
        assert "warning: cluster.p.tls.verify is false" in capsys.readouterr().err

    @pytest.mark.fault("E6")
    def test_a_shared_key_file_is_refused(self, tmp_path: Path) -> None:
        private(tmp_path / "key.pem", mode=0o644)
        private(tmp_path / "cert.pem", mode=0o644)
        text = (
            '[cluster.p]\nbootstrap = "k:1"\nsecurity = "tls"\ntls = {cert_file = "cert.pem", key_file = "key.pem"}\n'
        )
        with pytest.raises(SettingsError, match=r"tls\.key_file: .*key\.pem may be read or written by others"):
            cluster_config(self.run(tmp_path, text), "p")
        (tmp_path / "key.pem").chmod(0o600)
        assert cluster_config(self.run(tmp_path, text), "p").tls.key_file == str(tmp_path / "key.pem")
