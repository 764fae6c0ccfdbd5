"""Passwords of SCRAM users, which no cluster shows: from a file, or asked for at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from kafkeep.cli.secrets import check_private_file
from kafkeep.errors import UsageError
from kafkeep.secret import Secret

ASK: Final = Path("-")
"""As `--users-file`: ask for each."""


def read_passwords(file: Path | None) -> dict[str, Secret]:
    """Passwords by user name; none yet for `ASK`.

    `SettingsError` when others may read the file, `UsageError` for a line without a tab, and for `ASK` without a terminal.
    """
    if file is None:
        return {}
    if file == ASK:
        if not sys.stdin.isatty():
            raise UsageError("--users-file - asks at a terminal, and there is none", hint="Name a file instead.")
        return {}
    check_private_file(str(file), "--users-file")
    found: dict[str, Secret] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--users-file {file} cannot be read as UTF-8 text") from error
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        name, tab, password = line.partition("\t")
        if not (name and tab and password):
            raise UsageError(f"--users-file {file}: line {number} is not a name, a tab and a password")
        found[name] = Secret(password)
    return found


def ask_passwords(names: Iterable[str]) -> dict[str, Secret]:
    """Asks for the password of each name, once and unseen. A name without an answer is left out."""
    found = {}
    for name in sorted(set(names)):
        answer = click.prompt(
            f"password of {name!r}, empty to leave it out", default="", hide_input=True, show_default=False, err=True
        )
        if answer:
            found[name] = Secret(answer)
    return found
