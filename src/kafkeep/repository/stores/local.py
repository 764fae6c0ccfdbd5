"""A store in a folder: temporary file, fsync, hard link, fsync of the folder.

The link is what creates an object: it fails when the name exists, so of several creators one wins, and it is only made
after the bytes are on the disk. Temporary files live in `tmp/` beside the objects and are not part of the store; those
of dead runs are removed once the file system's own clock says they have not been written to for a day.

Folders are entered one by one without following symbolic links, so nothing planted inside leads outside.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from kafkeep.errors import (
    ObjectExists,
    ObjectNotFound,
    StoreAccessDenied,
    StoreError,
    StoreFull,
    StoreNotCreateOnly,
)
from kafkeep.logger import get_logger
from kafkeep.repository.names import check_hint_name, check_object_name, check_prefix
from kafkeep.repository.stores.base import Capabilities, ObjectInfo, Store, Upload
from kafkeep.repository.stores.behind import Behind
from kafkeep.repository.stores.file_output import SMALL_BYTES, Blocks, FileOutput

log = get_logger(__name__)

TEMPORARY: Final = "tmp"
STALE_SECONDS: Final = 24 * 3600

_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)


def translate(error: OSError, what: str) -> StoreError:
    """The store's error for one of the operating system."""
    reason = f"{what}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in _FULL:
        return StoreFull(reason)
    if error.errno in _DENIED:
        return StoreAccessDenied(reason)
    return StoreError(reason)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise translate(error, what) from error


class LocalStore(Store):
    """Objects are files under `root`, which is created with the first object."""

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root).absolute()
        self._lock = threading.Lock()
        self._root_fd: int | None = None
        self._synced: set[str] = set()
        self._count = 0
        self._swept = False
        self._blocks = Blocks()

    @property
    def url(self) -> str:
        return f"file://{self._root}"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durable=True)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        check_object_name(name)
        with self.open_new() as upload:
            upload.write(data)
            upload.publish(name)

    def open_new(self) -> Upload:
        return self._temporary()

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        with self._opened(name) as file:
            size = os.fstat(file).st_size
            wanted = max(0, size - start) if length is None else min(length, max(0, size - start))
            data = os.pread(file, wanted, start)
            if len(data) == wanted:
                return data
            parts = [data]
            while data and (missing := wanted - sum(map(len, parts))) > 0:
                data = os.pread(file, missing, start + wanted - missing)
                parts.append(data)
            return b"".join(parts)

    def head(self, name: str) -> ObjectInfo:
        with self._opened(name) as file:
            return ObjectInfo(name, os.fstat(file).st_size)

    def modified(self, name: str) -> datetime | None:
        with self._opened(name) as file:
            written = os.fstat(file).st_mtime
        try:
            return datetime.fromtimestamp(written, UTC)
        except (OverflowError, ValueError, OSError):
            return None  # a file may be given any time, and not all of them are in the calendar

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        yield from self._walk(self._root / prefix, prefix)

    def put_hint(self, name: str, data: bytes) -> None:
        check_hint_name(name)
        with self._temporary() as upload:
            upload.write(data)
            upload.replace(name)

    def delete(self, name: str) -> None:
        check_object_name(name)
        try:
            with self._folder(name) as (folder, last), _translated(f"cannot remove {name} from {self.url}"):
                try:
                    os.unlink(last, dir_fd=folder)
                except FileNotFoundError:
                    return
                os.fsync(folder)
        except ObjectNotFound:
            return

    def close(self) -> None:
        with self._lock:
            if self._root_fd is not None:
                os.close(self._root_fd)
                self._root_fd = None

    # --- reading -----------------------------------------------------------------------------------------------------

    def _root_folder(self) -> int:
        """The open root; FileNotFoundError when there is none."""
        with self._lock:
            if self._root_fd is None:
                # the root itself may be a link: that is the user's choice
                self._root_fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            elif os.fstat(self._root_fd).st_nlink == 0:
                raise StoreError(f"{self.url} was removed or replaced while in use")
            return self._root_fd

    @contextmanager
    def _folder(self, name: str) -> Iterator[tuple[int, str]]:
        """The open folder of an object and the object's name in it. Raises `ObjectNotFound`, `StoreError`."""
        *folders, last = name.split("/")
        held: list[int] = []
        try:
            with _translated(f"cannot reach {name} in {self.url}"):
                try:
                    folder = self._root_folder()
                    for part in folders:
                        folder = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
                        held.append(folder)
                except FileNotFoundError as error:
                    raise ObjectNotFound(f"{name} is not in {self.url}") from error
            yield folder, last
        finally:
            for fd in held:
                os.close(fd)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        check_object_name(name)
        with self._folder(name) as (folder, last), _translated(f"cannot read {name} in {self.url}"):
            try:
                file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError as error:
                raise ObjectNotFound(f"{name} is not in {self.url}") from error
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise StoreError(f"{name} in {self.url} is not a file")
                yield file
            finally:
                os.close(file)

    def _walk(self, folder: Path, prefix: str) -> Iterator[ObjectInfo]:
        """Files with valid names below `folder`, in the order of their names; symbolic links are passed over."""
        with _translated(f"cannot list {prefix or 'objects'} in {self.url}"):
            try:
                with os.scandir(folder) as found:
                    entries = sorted(found, key=lambda entry: entry.name + ("/" if entry.is_dir() else ""))
            except FileNotFoundError:
                return
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if name != TEMPORARY:
                    yield from self._walk(folder / entry.name, f"{name}/")
            elif entry.is_file(follow_symlinks=False) and _is_object(name):
                try:
                    size = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
                yield ObjectInfo(name, size)

    # --- writing -----------------------------------------------------------------------------------------------------

    def _temporary(self) -> _LocalUpload:
        with _translated(f"cannot write in {self.url}"):
            folder = self._make_folders((TEMPORARY,))
            try:
                while True:
                    with self._lock:
                        self._count += 1
                        name = f"{os.getpid()}-{self._count}"
                    try:
                        file = os.open(
                            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE, dir_fd=folder
                        )
                        break
                    except FileExistsError:
                        continue  # of a dead process with our number, or of another host
                if not self._swept:
                    self._swept = True
                    _sweep(folder, os.fstat(file).st_mtime)
            except OSError:
                os.close(folder)
                raise
        return _LocalUpload(self, folder, name, file)

    def _make_folders(self, parts: tuple[str, ...]) -> int:
        """The open folder below the root, made if need be; each new entry is synced before it is relied on."""
        if self._root_fd is None and not self._root.is_dir():
            _make_root(self._root)
        folder = os.dup(self._root_folder())
        path = ""
        try:
            for part in parts:
                path = f"{path}/{part}"
                if path not in self._synced:
                    _make_folder(part, folder)
                    # another process may have made it and not synced its entry yet
                    os.fsync(folder)
                    self._synced.add(path)
                following = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
                os.close(folder)
                folder = following
        except OSError:
            os.close(folder)
            raise
        return folder


def _is_object(name: str) -> bool:
    try:
        check_object_name(name)
    except ValueError:
        return False
    return True


def _make_folder(name: str, parent: int) -> None:
    try:
        os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
    except FileExistsError:
        return


def _make_root(root: Path) -> None:
    """Make the root and the folders above it that are missing, each entry synced."""
    missing = [root]
    while not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _make_folder(path.name, parent)
            os.fsync(parent)
        finally:
            os.close(parent)


def _sweep(folder: int, now: float) -> None:
    """Remove temporary files that nobody has written to for a day, by the clock that stamped a file just made."""
    for name in os.listdir(folder):
        try:
            if now - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > STALE_SECONDS:
                os.unlink(name, dir_fd=folder)
                log.info("temporary file of a dead run removed", name=name)
        except FileNotFoundError:
            continue


class _LocalUpload(Upload):
    def __init__(self, store: LocalStore, folder: int, name: str, file: int) -> None:
        self._store = store
        self._folder = folder
        self._name = name
        self._file = file
        self._output = FileOutput(file, store._blocks, _writev)
        self._behind: Behind | None = None
        """What writes beside the thread that has this upload, once something was lent."""
        self._open = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with self._writing():
            if self._behind is None:
                self._output.write(data)
            elif len(data) <= SMALL_BYTES:
                self._behind.put(partial(self._output.write, bytes(data)))
            else:
                self._behind.settle()
                self._output.write(data)

    def lend(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) <= SMALL_BYTES:
            self.write(data)
            return
        with self._writing():
            if self._behind is None:
                self._behind = Behind("write")
            self._behind.put(partial(self._output.write, data))

    def settle(self) -> None:
        if self._behind is not None:
            with self._writing():
                self._behind.settle()

    def _writing(self) -> AbstractContextManager[None]:
        return _translated(f"cannot write in {self._store.url}")

    def publish(self, name: str) -> None:
        check_object_name(name)
        self.settle()
        with _translated(f"cannot create {name} in {self._store.url}"):
            self._output.flush()
            os.fsync(self._file)
            *folders, last = name.split("/")
            target = self._store._make_folders(tuple(folders))
            try:
                self._link(last, target, name)
                os.fsync(target)
            finally:
                os.close(target)
        self.discard()

    def _link(self, last: str, target: int, name: str) -> None:
        try:
            os.link(self._name, last, src_dir_fd=self._folder, dst_dir_fd=target, follow_symlinks=False)
        except FileExistsError as error:
            raise ObjectExists(f"{name} already exists in {self._store.url}") from error
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StoreNotCreateOnly(
                    f"{self._store.url} lies on a file system without hard links",
                    hint="Use a file system that has hard links.",
                ) from error
            raise

    def replace(self, name: str) -> None:
        """Put the bytes under a name that may exist; nothing is synced, because a hint may be old, torn or gone."""
        with _translated(f"cannot write {name} in {self._store.url}"):
            self._output.flush()
            *folders, last = name.split("/")
            target = self._store._make_folders(tuple(folders))
            try:
                os.rename(self._name, last, src_dir_fd=self._folder, dst_dir_fd=target)
            finally:
                os.close(target)
        self._close()

    def discard(self) -> None:
        if not self._open:
            return
        try:
            os.unlink(self._name, dir_fd=self._folder)
        except OSError as error:
            log.info("temporary file left behind", name=self._name, reason=str(error))
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            if self._behind is not None:
                self._behind.close()
            self._output.close()
            os.close(self._file)
            os.close(self._folder)


def _writev(file: int, views: list[memoryview]) -> int:
    return os.writev(file, views)
