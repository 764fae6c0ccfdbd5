"""Fetches secrets from where the settings say they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from kafkeep.errors import SettingsError
from kafkeep.secret import Secret

if TYPE_CHECKING:
    from kafkeep.settings import SecretSource

LONGEST_SECRET: Final = 64 * 1024
COMMAND_SECONDS: Final = 30.0


def read_secret(source: SecretSource, key: str, env: Mapping[str, str]) -> Secret:
    """The secret of the settings key `key`. SettingsError says why it cannot be had, never what it is."""
    if source.file is not None:
        text = _from_file(source.file, key)
    elif source.env is not None:
        text = _from_environment(source.env, key, env)
    else:
        text = _from_command(source.command or (), key)
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SettingsError(f"the secret {key} from {source} is empty")
    return Secret(text)


def check_private_file(path: str, key: str) -> None:
    """SettingsError unless the file exists and only its owner may read it."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - the plain call follows links, which is what is meant
    except OSError as error:
        raise SettingsError(f"{key}: {path} cannot be read: {error.strerror}") from error
    _refuse_shared(mode, path, key)


def _refuse_shared(mode: int, path: str, key: str) -> None:
    if stat.S_ISREG(mode) and mode & 0o077:
        raise SettingsError(
            f"{key}: {path} may be read or written by others (mode {stat.S_IMODE(mode):04o})",
            hint=f"Run `chmod 600 {path}`, and change the secret if others may have read it.",
        )


def _from_file(path: str, key: str) -> str:
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - the mode is checked on the open file, not on a name
            _refuse_shared(os.fstat(stream.fileno()).st_mode, path, key)
            raw = stream.read(LONGEST_SECRET + 1)
    except OSError as error:
        raise SettingsError(f"{key}: {path} cannot be read: {error.strerror}") from error
    return _decoded(raw, f"{key}: {path}")


def _from_environment(variable: str, key: str, env: Mapping[str, str]) -> str:
    value = env.get(variable)
    if value is None:
        raise SettingsError(f"{key}: environment variable {variable} is not set")
    return value


def _from_command(command: tuple[str, ...], key: str) -> str:
    """Runs the program without a shell. Its own error output is not repeated: it may hold the secret."""
    import subprocess

    program = command[0]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SettingsError(f"{key}: command {program} did not end within {COMMAND_SECONDS:.0f} s") from error
    except OSError as error:
        raise SettingsError(f"{key}: command {program} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise SettingsError(f"{key}: command {program} ended with status {done.returncode}")
    return _decoded(done.stdout, f"{key}: command {program}")


def _decoded(raw: bytes, what: str) -> str:
    if len(raw) > LONGEST_SECRET:
        raise SettingsError(f"{what} gives more than {LONGEST_SECRET} bytes, which is no secret")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{what} gives bytes that are not UTF-8 text") from error
