"""Passwords asked for at a terminal: a real one, as the operating system makes it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest
from tests.support.sweep_command import Kafkeep

ASKING = """
from kafkeep.cli.users import ASK, ask_passwords, read_passwords
assert read_passwords(ASK) == {}
found = ask_passwords(["bob", "alice", "bob", "carol"])
print({name: secret.reveal() for name, secret in found.items()})
"""


def test_each_user_is_asked_for_once_and_nothing_is_shown() -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ASKING], stdin=follower, stdout=subprocess.PIPE, stderr=follower, start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(follower), os.O_RDWR)),
    ) as child:  # fmt: skip
        os.close(follower)
        shown = b""
        for name, answer in (("alice", b"canary one"), ("bob", b""), ("carol", b"canary three")):
            deadline = time.monotonic() + 30
            while f"password of '{name}'".encode() not in shown and time.monotonic() < deadline:
                shown += os.read(leader, 1000)
            os.write(leader, answer + b"\n")
        assert child.stdout is not None
        told = child.stdout.read().decode()
    assert told.strip() == "{'alice': 'canary one', 'carol': 'canary three'}"
    assert b"canary" not in shown
    os.close(leader)


def test_without_a_terminal_a_file_is_needed(tmp_path_factory: pytest.TempPathFactory) -> None:
    kafkeep = Kafkeep(tmp_path_factory.mktemp("users"))
    ended = kafkeep(
        "restore", "1", "--repo", "./none", "--cluster", "127.0.0.1:1", "--with", "all", "--users-file", "-"
    )
    assert "asks at a terminal" in ended.refused(2, "usage")
