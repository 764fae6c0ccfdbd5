"""The folder of a lab: claimed, locked, filled with configuration, removed; and free ports."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

from kafkeep.errors import LabError
from kafkeep.lab import state
from kafkeep.lab.config import HOST

LOG_CONFIG = "log4j.properties"
CLIENT_PROPERTIES = "client.properties"
SETTINGS = "kafkeep.toml"
TLS_FOLDER = "tls"
LOGIN_FOLDER = "logins"
_OURS = (state.FILE, f".{state.FILE}.new", LOG_CONFIG, CLIENT_PROPERTIES, SETTINGS, TLS_FOLDER, LOGIN_FOLDER)

_PORTS = range(15000, 32000)
"""Below what kernels hand out for outgoing connections: a stopped broker finds its port free when it comes back."""


def default_folder(env: Mapping[str, str], *, home: Path) -> Path:
    """`KAFKEEP_LAB_DIR`, else `kafkeep/lab` in the XDG state folder."""
    if given := env.get("KAFKEEP_LAB_DIR"):
        return Path(given).expanduser().absolute()
    base = env.get("XDG_STATE_HOME")
    return (Path(base) if base else home / ".local" / "state") / "kafkeep" / "lab"


def node_folder(folder: Path, node_id: int) -> Path:
    return folder / f"node-{node_id}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder against other kafkeep processes; LabError when one holds it already or it is not there."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise LabError(f"cannot open the lab's folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise LabError(
            f"another process starts or stops the lab in {folder}", hint="Wait for it, or use --dir for another lab."
        ) from error
    finally:
        os.close(handle)


def claim(folder: Path) -> None:
    """Makes sure a folder exists that holds nothing or only a lab; LabError otherwise."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        foreign = sorted(entry.name for entry in folder.iterdir() if not _is_ours(entry))
    except OSError as error:
        raise LabError(f"cannot use {folder} for a lab: {error.strerror}") from error
    if foreign:
        raise LabError(
            f"{folder} is not a lab's folder, it holds {foreign[0]}", hint="Give an empty or new folder with --dir."
        )


def clear(folder: Path) -> None:
    """Removes what a lab put there, the state file last, and the folder itself when that leaves it empty."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == state.FILE):
        if not _is_ours(entry):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _is_ours(entry: Path) -> bool:
    return entry.name in _OURS or (entry.name.startswith("node-") and entry.name[5:].isdigit())


def write_private(path: Path, text: str) -> None:
    """A file that only its owner may read, from its first byte on."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def free_ports(count: int) -> list[int]:
    """Different ports that nothing listens on right now; another process may still take one before a broker does."""
    rng, held = SystemRandom(), []
    try:
        for port in rng.sample(_PORTS, 500):
            listener = socket.socket()
            try:
                listener.bind((HOST, port))
            except OSError:
                listener.close()
                continue
            held.append(listener)
            if len(held) == count:
                return [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()
    raise LabError(f"found no {count} free ports from {_PORTS.start} to {_PORTS.stop - 1}")


def log_tail(log: Path, *, lines: int = 12) -> str:
    """The end of a broker's log, its errors preferred."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    failures = [line for line in text if "ERROR" in line or "FATAL" in line or "Exception" in line]
    return "\n".join((failures or text)[-lines:])
