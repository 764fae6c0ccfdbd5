"""--executor and its options, beside the settings; and what of a store can travel to workers."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kafkeep.cli.common import Run
from kafkeep.cli.working import opened_workers
from kafkeep.elsewhere import HERE, Reach, StorePlace, worker_now
from kafkeep.errors import KeyRefused, SettingsError, UsageError
from kafkeep.kafka.config import ClusterConfig
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.options import AccessKey, ObjectLock, S3Options, StoreOptions
from kafkeep.secret import Secret
from kafkeep.work.carrying import dump, load
from kafkeep.work.dask import DaskExecutor
from kafkeep.work.processes import ProcessExecutor

GIVEN: dict[str, Any] = {"executor": None, "workers": None, "scheduler": None, "worker_key_file": None}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The executors that would be started."""
    found: list[Any] = []

    def enter(self: Any) -> Any:
        found.append(self)
        return self

    for kind in (ProcessExecutor, DaskExecutor):
        monkeypatch.setattr(kind, "__enter__", enter)
        monkeypatch.setattr(kind, "__exit__", lambda *_: None)
    return found


def run_in(folder: Path, settings: str = "", **env: str) -> Run:
    (folder / "kafkeep.toml").write_text(f'[repository.r]\nurl = "{folder}/r"\n{settings}')
    return Run(env=env, cwd=folder, home=folder)


def wanted(run: Run, **given: Any) -> Any:
    with opened_workers(run, "r", GIVEN | given) as workers:
        return workers


def test_threads_need_nothing(tmp_path: Path, made: list[Any]) -> None:
    assert wanted(run_in(tmp_path)) is HERE
    assert wanted(run_in(tmp_path), executor="threads") is HERE
    assert made == []


def test_processes_of_the_settings_and_options_before_them(tmp_path: Path, made: list[Any]) -> None:
    run = run_in(tmp_path, '[repository.r.workers]\nexecutor = "processes"\ncount = 3\n')
    assert wanted(run).executor.workers == 3
    assert wanted(run, workers=5).executor.workers == 5
    assert wanted(run, executor="threads") is HERE
    assert [type(each) for each in made] == [ProcessExecutor, ProcessExecutor]


def test_settings_of_another_executor_are_passed_over(tmp_path: Path, made: list[Any]) -> None:
    run = run_in(tmp_path, '[repository.r.workers]\nexecutor = "dask"\nscheduler = "tcp://h:1"\ncount = 7\n')
    assert wanted(run).executor.workers == 7
    assert wanted(run, executor="processes", workers=2).executor.workers == 2


def test_limits_and_place_go_along(tmp_path: Path, made: list[Any]) -> None:
    run = run_in(tmp_path, 'upload_bytes_per_second = 1000\n[repository.r.workers]\nexecutor = "processes"\n')
    run.limits["download"] = 500
    place = wanted(run).place.for_workers(4)
    assert (place.url, place.upload, place.download) == (f"{tmp_path}/r", 250, 125)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 2}, "--workers has no effect with --executor threads"),
        ({"executor": "processes", "scheduler": "tcp://h:1"}, "--scheduler has no effect with --executor processes"),
        ({"executor": "dask", "scheduler": "h:1"}, "no address of a scheduler"),
        ({"executor": "dask", "worker_key_file": Path("k")}, "--worker-key-file has no effect without --scheduler"),
    ],
)
def test_options_without_effect_are_refused(
    tmp_path: Path, made: list[Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        wanted(run_in(tmp_path), **given)
    assert made == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('executor = "threads"\ncount = 2', "count has no effect with threads"),
        ('executor = "processes"\nscheduler = "tcp://h:1"', "have no effect with processes"),
        ('executor = "proceses"', "executor"),
        ('executor = "dask"\nworker_key = "5f5f"', "a secret is not written into the settings"),
    ],
)
def test_settings_without_effect_are_refused(tmp_path: Path, made: list[Any], table: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        wanted(run_in(tmp_path, f"[repository.r.workers]\n{table}\n"))


def test_the_worker_key_from_each_place(tmp_path: Path, made: list[Any]) -> None:
    file = tmp_path / "key"
    file.write_text("5f" * 32)
    file.chmod(0o600)
    dask = {"executor": "dask", "scheduler": "tcp://h:1"}
    in_settings = f'[repository.r.workers]\nexecutor = "dask"\nworker_key = {{ file = "{file}" }}\n'
    for settings, env, given in (
        ("", {}, {"worker_key_file": file}),
        (in_settings, {}, {}),
        ("", {"KAFKEEP_WORKER_KEY_FILE": str(file)}, {}),
        ("", {"KAFKEEP_WORKER_KEY": "5f" * 32}, {}),
    ):
        run = run_in(tmp_path, settings, **env)
        wanted(run, **dask, **given)
        assert made[-1]._key is not None
        assert "5f5f" not in run.redact("5f" * 32), "never shown"
    wanted(run_in(tmp_path), **dask)
    assert made[-1]._key is None
    file.write_text("no key")
    with pytest.raises(KeyRefused):
        wanted(run_in(tmp_path), **dask, worker_key_file=file)


def test_workers_on_this_host_share_its_cache(tmp_path: Path, made: list[Any]) -> None:
    run = run_in(tmp_path, KAFKEEP_CACHE=f"{tmp_path}/cache")
    for given, shared in (
        ({"executor": "processes"}, tmp_path / "cache"),
        ({"executor": "dask"}, tmp_path / "cache"),
        ({"executor": "dask", "scheduler": "tcp://h:1"}, None),
    ):
        place = load(dump(wanted(run, **given).place.for_workers(2)))
        assert place.cache_dir == shared, given


def test_a_worker_opens_with_the_cache_and_the_admins_of_the_coordinator(tmp_path: Path) -> None:
    key, stranger = SigningKey(bytes(range(1, 33))), SigningKey(bytes(range(33, 65)))
    store = LocalStore(tmp_path / "r")
    now, rng = (lambda: datetime(2026, 1, 1, tzinfo=UTC)), random.Random(1)
    with Repository.init(store, now=now, rng=rng, admins=(key.trusted("admin"),)) as repository:
        reach = Reach(
            cluster=ClusterConfig(name="c", bootstrap=("h:1",)),
            place=StorePlace(url=str(tmp_path / "r"), cache_dir=tmp_path / "cache"),
            repository_id=repository.id,
            writer_key=None,
            identity=None,
            admins=frozenset({stranger.public}),
        )
    with load(dump(reach)).repository() as opened:
        assert opened.acceptable == {stranger.public}
        assert opened.state.head == 0
    assert list((tmp_path / "cache").glob("*.sqlite"))


# --- stores


def test_memory_is_within_no_other_process() -> None:
    with pytest.raises(UsageError, match="memory of this process") as raised:
        StorePlace(url="memory://x").for_workers(2)
    assert "--executor threads" in raised.value.hint


def bucket(key: AccessKey) -> StoreOptions:
    lock = ObjectLock(mode="governance", days=1, now=lambda: datetime(2020, 1, 1, tzinfo=UTC))
    return StoreOptions(s3=S3Options(access_key=lambda: key, object_lock=lock))


def test_a_login_that_stays_travels_and_is_fetched_for_each_job() -> None:
    key = AccessKey(id=Secret("i"), secret=Secret("s"))
    place: StorePlace = load(dump(StorePlace(url="s3://b/p", options=bucket(key)).for_workers(2)))
    assert place.options is not None
    assert place.options.s3.access_key is not None
    assert place.options.s3.access_key() == key
    assert place.options.s3.object_lock is not None
    assert place.options.s3.object_lock.now is worker_now


def test_a_login_that_ends_is_refused() -> None:
    key = AccessKey(id=Secret("i"), secret=Secret("s"), expires=datetime(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(SettingsError, match="ends at a time"):
        StorePlace(url="s3://b/p", options=bucket(key)).for_workers(2)
