"""Places for repositories that fail on purpose: full, read-only, and folders filled from a store in memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore

MOUNT_SECONDS = 20.0


def put_folder(store: MemoryStore, folder: Path) -> None:
    """The same objects as files."""
    local = LocalStore(folder)
    for name, data in store.objects.items():
        if name.startswith("hint/"):
            local.put_hint(name, data)
        else:
            local.put_new(name, data)
    local.close()


@contextmanager
def quick_folder(near: Path) -> Iterator[Path]:
    """A folder whose fsync costs nothing, where the system has one: for tests of dying processes, not of power cuts."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else near) as folder:
        yield Path(folder)


@contextmanager
def small_file_system(mount_point: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of its own that holds so many bytes; remount it with `read_only`.

    Needs the right to mount: that of root, or what a user name space gives. In the latter case the path leads through
    a helper process that holds the name space.
    """
    mount_point.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(mount_point)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0:
        try:
            yield mount_point
        finally:
            subprocess.run(["umount", "--lazy", str(mount_point)], check=True, timeout=MOUNT_SECONDS)
        return
    with _name_space(options) as root:
        yield root / str(mount_point).lstrip("/")


@contextmanager
def _name_space(options: list[str]) -> Iterator[Path]:
    """Mounts inside a user and mount name space; the root as its processes see it."""
    script = 'mount "$@" && echo mounted && exec cat'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        told = holder.stdout.readline()
        if told != "mounted\n":
            raise OSError("this test needs a small file system: run it as root or where user name spaces are allowed")
        try:
            yield Path(f"/proc/{holder.pid}/root")
        finally:
            holder.stdin.close()


@contextmanager
def read_only(mount_point: Path) -> Iterator[None]:
    """A mount of `small_file_system` refuses changes within the block."""
    _remount(mount_point, "ro")
    try:
        yield
    finally:
        _remount(mount_point, "rw")


def _remount(mount_point: Path, mode: str) -> None:
    parts = mount_point.parts
    inside = parts[:2] == ("/", "proc") and "root" in parts
    command = ["mount", "-o", f"remount,{mode}", str(mount_point)]
    if inside:
        command = ["nsenter", "--target", parts[2], "--user", "--mount", "mount", "-o", f"remount,{mode}"]
        command.append("/" + "/".join(parts[4:]))
    subprocess.run(command, check=True, timeout=MOUNT_SECONDS, capture_output=True)


def fill(folder: Path, free_bytes: int) -> Path:
    """Fills the file system with one file but for so many bytes; remove the file to free them."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        have = os.statvfs(folder)
        left = have.f_bavail * have.f_frsize - free_bytes
        os.posix_fallocate(file.fileno(), 0, max(1, left))
    return ballast
