"""What single stores and wrappers add to the contract."""

from __future__ import annotations

import errno
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from kafkeep.errors import (
    ObjectExists,
    StoreAccessDenied,
    StoreError,
    StoreFull,
    StoreNotCreateOnly,
    StoreUnavailable,
    UsageError,
)
from kafkeep.events import Event, Retried
from kafkeep.repository.stores import local
from kafkeep.repository.stores.factory import open_store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import (
    MUTATING,
    CountingStore,
    FaultyStore,
    Rate,
    RetryingStore,
    SimulatedCrash,
    ThrottledStore,
)

NAME = "pack/01/0-" + "0" * 26 + "-0123456789abcdef"
NOBODY = 65534


# --- local ------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("E6")
def test_files_and_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = LocalStore(tmp_path / "a" / "b")
        store.put_new(NAME, b"x")
        store.put_hint("hint/head", b"1")
    finally:
        os.umask(old)
    for path in [tmp_path / "a", *(tmp_path / "a").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_bytes_are_synced_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the system calls is the promise; the real calls are made."""
    calls: list[str] = []
    fsync, link = os.fsync, os.link

    def watched_fsync(fd: int) -> None:
        calls.append("sync " + os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), tmp_path))
        fsync(fd)

    def watched_link(source: str, target: str, **where: int) -> None:
        calls.append(f"link {target}")
        link(source, target, **where)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "link", watched_link)
    LocalStore(tmp_path / "r").put_new(NAME, b"x")
    assert calls[:2] == ["sync .", "sync r"]
    temporary = calls[2].split("/")[-1]
    assert calls[2:] == [
        f"sync r/tmp/{temporary}",
        "sync r",
        "sync r/pack",
        f"link {Path(NAME).name}",
        "sync r/pack/01",
    ]
    calls.clear()
    store = LocalStore(tmp_path / "r")
    store.put_new(NAME[:-1] + "0", b"x")
    assert [call for call in calls if "tmp/" not in call][-4:] == [
        "sync r",
        "sync r/pack",
        f"link {Path(NAME).name[:-1]}0",
        "sync r/pack/01",
    ], "entries that another process made are synced before they are relied on"


def test_temporary_files_are_no_objects_and_leave_when_stale(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    upload = store.open_new()
    upload.write(b"x" * 2_000_000)
    assert list(store.list("")) == []
    (alive,) = (tmp_path / "tmp").iterdir()
    dead = tmp_path / "tmp" / "4711-1"
    fresh = tmp_path / "tmp" / "4711-2"
    dead.write_bytes(b"of a dead run")
    fresh.write_bytes(b"of a run elsewhere")
    day_ago = time.time() - local.STALE_SECONDS - 60
    os.utime(dead, (day_ago, day_ago))
    LocalStore(tmp_path).put_new(NAME, b"y")
    assert sorted((tmp_path / "tmp").iterdir()) == sorted([alive, fresh])
    upload.publish("log/000000000000")
    assert store.get("log/000000000000") == b"x" * 2_000_000


def test_names_of_temporary_files_taken_by_others_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    for number in range(1, 4):
        (tmp_path / "tmp" / f"{os.getpid()}-{number}").write_bytes(b"not ours")
    LocalStore(tmp_path).put_new(NAME, b"x")
    assert len(list((tmp_path / "tmp").iterdir())) == 3


@pytest.mark.fault("P5")
def test_symbolic_links_inside_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "01").mkdir()
    (outside / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    store = LocalStore(root)
    store.put_new("log/000000000000", b"x")
    (root / "pack").symlink_to(outside)
    (root / "log" / "000000000001").symlink_to(outside / "secret")
    with pytest.raises(StoreError):
        store.put_new(NAME, b"x")
    with pytest.raises(StoreError):
        store.get("log/000000000001")
    with pytest.raises(StoreError):
        store.get(NAME)
    with pytest.raises(ObjectExists):
        store.put_new("log/000000000001", b"x")
    assert [info.name for info in store.list("")] == ["log/000000000000"]
    assert sorted(path.name for path in outside.rglob("*")) == ["01", "secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    LocalStore(tmp_path / "link").put_new(NAME, b"x")
    assert LocalStore(tmp_path / "real").get(NAME) == b"x"


def test_folders_and_pipes_in_the_place_of_objects_are_errors_not_absence(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / "log" / "000000000000").mkdir(parents=True)
    os.mkfifo(tmp_path / "log" / "000000000001")
    for name in ("log/000000000000", "log/000000000001"):
        with pytest.raises(StoreError, match="not a file") as raised:
            store.get(name)
        assert type(raised.value) is StoreError


def test_a_removed_root_is_an_error_not_absence(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.put_new(NAME, b"x")
    (tmp_path / "root").rename(tmp_path / "away")
    assert store.get(NAME) == b"x", "the folder itself is held, whatever its name"
    for path in sorted((tmp_path / "away").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "away").rmdir()
    with pytest.raises(StoreError, match="removed or replaced") as raised:
        store.get(NAME)
    assert type(raised.value) is StoreError
    with pytest.raises(StoreError):
        store.put_new(NAME, b"x")


def test_a_full_disk_is_its_own_error(tmp_path: Path) -> None:
    """The kernel's own ENOSPC: what is written goes to /dev/full."""
    store = LocalStore(tmp_path)
    upload = store._temporary()
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, upload._file)
    os.close(full)
    with pytest.raises(StoreFull, match="No space left"):
        upload.write(b"x" * 5_000_000)
    with pytest.raises(StoreFull):
        for _ in range(100):
            upload.write(b"x" * 100_000)
    upload.discard()
    assert list((tmp_path / "tmp").iterdir()) == []
    store.put_new(NAME, b"x")


def test_small_writes_meet_a_full_disk_at_the_latest_when_published(tmp_path: Path) -> None:
    upload = LocalStore(tmp_path)._temporary()
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, upload._file)
    os.close(full)
    upload.write(b"x")
    with pytest.raises(StoreFull):
        upload.publish(NAME)
    upload.discard()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreAccessDenied),
        (errno.EPERM, StoreAccessDenied),
        (errno.EROFS, StoreAccessDenied),
        (errno.EIO, StoreError),
        (errno.ENOTDIR, StoreError),
    ],
)
def test_errors_of_the_system_become_errors_of_the_store(number: int, kind: type[StoreError]) -> None:
    found = local.translate(OSError(number, "x"), "cannot write")
    assert type(found) is kind
    assert os.strerror(number) in found.message
    assert not found.retryable


def as_nobody(action: str, root: Path) -> str:
    """What `action` on a store raises for a user without rights, tried in a child process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            store = LocalStore(root)
            actions = {
                "put": lambda: store.put_new(NAME, b"x"),
                "get": lambda: store.get("log/000000000000"),
                "head": lambda: store.head("log/000000000000"),
                "list": lambda: list(store.list("log/")),
            }
            try:
                actions[action]()
                answer = "done"
            except StoreError as error:
                answer = type(error).__name__
            os.write(write, answer.encode())
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    answer = os.read(read, 100).decode()
    os.close(read)
    os.waitpid(child, 0)
    return answer


def test_missing_rights_are_access_denied_and_never_absence(tmp_path: Path) -> None:
    root = tmp_path / "root"
    LocalStore(root).put_new("log/000000000000", b"x")
    for path in [tmp_path, *tmp_path.parents]:
        if not path.stat().st_mode & 0o001 and path.owner() == Path.home().owner():
            path.chmod(path.stat().st_mode | 0o011)
    root.chmod(0o755)
    (root / "log").chmod(0o000)
    (root / "tmp").chmod(0o500)
    try:
        for action in ("put", "get", "head", "list"):
            assert as_nobody(action, root) == "StoreAccessDenied", action
    finally:
        (root / "log").chmod(0o700)
        (root / "tmp").chmod(0o700)


def test_a_file_system_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object, **where: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreNotCreateOnly, match="hard links"):
        LocalStore(tmp_path).put_new(NAME, b"x")


def test_partial_writes_of_the_system_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, views: real(fd, [views[0][: max(1, len(views[0]) // 2)]]))
    store = LocalStore(tmp_path)
    with store.open_new() as upload:
        upload.write(b"a" * 100)
        upload.write(b"b" * 1_000_000)
        upload.publish(NAME)
    assert store.get(NAME) == b"a" * 100 + b"b" * 1_000_000


def test_partial_reads_of_the_system_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.put_new(NAME, bytes(range(250)))
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, start: real(fd, min(length, 7), start))
    assert store.get(NAME) == bytes(range(250))
    assert store.get(NAME, 3, 100) == bytes(range(3, 103))


def test_foreign_files_in_the_folder_are_no_objects(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_new("log/000000000000", b"x")
    for name in ("README.txt", "lost+found/x", "log/.nfs0001", "log/UPPER", "pack/x y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [info.name for info in store.list("")] == ["log/000000000000"]


# --- factory ----------------------------------------------------------------------------------------------------------


def test_urls_and_paths_lead_to_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("/backups/prod").url == "file:///backups/prod"
    assert open_store("file:///backups/my%20prod").url == "file:///backups/my prod"
    assert open_store("file://localhost/backups").url == "file:///backups"
    assert open_store("relative/place").url == f"file://{tmp_path}/relative/place"
    assert open_store("memory://shared") is open_store("memory://shared")
    assert open_store("memory://shared") is not open_store("memory://other")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["", "ftp://user:hunter2@host/x", "file://host/x", "file://", "a\0b", "file:///a%00b"])
def test_other_places_are_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        open_store(url)
    assert "hunter2" not in raised.value.message + raised.value.hint


# --- wrappers ---------------------------------------------------------------------------------------------------------


def test_retries_are_bounded_grow_and_are_told() -> None:
    def never(index: int, call: str, name: str) -> None:
        raise StoreUnavailable("no answer")

    heard: list[Event] = []
    waits: list[float] = []
    store = RetryingStore(FaultyStore(MemoryStore(), before=never), tries=4, sink=heard.append, pause=waits.append)
    with pytest.raises(StoreUnavailable):
        store.get("log/000000000000")
    assert len(waits) == 3
    assert waits == sorted(set(waits))
    assert heard == [
        Retried("read log/000000000000", "store-unavailable", attempt, wait) for attempt, wait in enumerate(waits, 1)
    ]


def test_what_no_retry_can_help_is_raised_at_once() -> None:
    counting = CountingStore(MemoryStore())
    store = RetryingStore(counting, pause=lambda seconds: pytest.fail("waited"))
    with pytest.raises(StoreError):
        store.get("log/000000000000")
    counting.put_new("log/000000000000", b"x")
    with pytest.raises(ObjectExists):
        store.put_new("log/000000000000", b"x")


@pytest.mark.parametrize("every", range(2, 21))
@pytest.mark.parametrize("applied", [True, False])
def test_work_gets_done_when_every_kth_call_fails(every: int, applied: bool) -> None:
    inner = MemoryStore()
    store = RetryingStore(FaultyStore.failing(inner, every=every, applied=applied), pause=lambda seconds: None)
    for number in range(30):
        try:
            store.put_new(f"log/{number:012d}", b"x")
        except ObjectExists:
            assert applied
    assert len(inner.objects) == 30


def test_throttling_keeps_to_its_rate() -> None:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    rate = Rate(1000, clock=lambda: now[0], pause=pause)
    store = ThrottledStore(MemoryStore(), upload=rate, download=rate)
    store.put_new("log/000000000000", b"x" * 5000)
    assert now[0] == pytest.approx(5)
    store.get("log/000000000000")
    assert now[0] == pytest.approx(10)
    with store.open_new() as upload:
        upload.write(b"x" * 2000)
        upload.publish("log/000000000001")
    assert now[0] == pytest.approx(12)
    with pytest.raises(ValueError, match="above zero"):
        Rate(0)


def test_after_a_crash_every_call_is_dead_and_uploads_leave_their_litter(tmp_path: Path) -> None:
    store = FaultyStore.dying(LocalStore(tmp_path), at=2, when="before")
    upload = store.open_new()
    with pytest.raises(SimulatedCrash), upload:
        upload.write(b"x" * 2_000_000)
        upload.publish(NAME)
    with pytest.raises(SimulatedCrash):
        store.get(NAME)
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    assert list(LocalStore(tmp_path).list("")) == []


def test_the_fault_script_counts_mutating_calls_only() -> None:
    seen: list[tuple[int, str]] = []
    store = FaultyStore(MemoryStore(), before=lambda index, call, name: seen.append((index, call)))
    store.put_new("log/000000000000", b"x")
    store.get("log/000000000000")
    store.head("log/000000000000")
    with store.open_new() as upload:
        upload.write(b"x")
        upload.publish("log/000000000001")
    list(store.list("log/"))
    store.put_hint("hint/head", b"1")
    store.delete("hint/head")
    assert [call for index, call in seen if index >= 0] == [
        "put_new",
        "open_new",
        "write",
        "publish",
        "put_hint",
        "delete",
    ]
    assert {call for index, call in seen if index >= 0} == MUTATING
    assert [index for index, _ in seen if index >= 0] == list(range(6))


def test_counting_counts_calls_and_bytes() -> None:
    store = CountingStore(MemoryStore())
    store.put_new("log/000000000000", b"12345")
    store.get("log/000000000000", 1, 2)
    with store.open_new() as upload:
        upload.write(b"123")
        upload.publish("log/000000000001")
    assert store.calls == {"put_new": 1, "get": 1, "open_new": 1, "write": 1, "publish": 1}
    assert (store.bytes_read, store.bytes_written) == (2, 8)
