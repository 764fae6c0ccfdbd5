"""The contract of executors: threads, processes and Dask give the same messages for the same tasks, and end them alike."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.stations import Do, Doing, Failed, job

from kafkeep.errors import CorruptObject, KeyRefused, SettingsError, WorkerError
from kafkeep.secret import Secret
from kafkeep.work.carrying import WorkerKey
from kafkeep.work.dask import DaskExecutor
from kafkeep.work.executor import Executor, ThreadExecutor
from kafkeep.work.messages import Emitted, Finished, Lost, Tick
from kafkeep.work.processes import ProcessExecutor

pytestmark = pytest.mark.timeout(300)

WORKERS = 2


@pytest.fixture(scope="module")
def threads() -> Executor:
    return ThreadExecutor()


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessExecutor(WORKERS) as made:
        yield made


@pytest.fixture(scope="module")
def dask() -> Iterator[Executor]:
    with DaskExecutor(None, WORKERS) as made:
        yield made


@pytest.fixture(params=["threads", "processes", "dask"])
def executor(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def heard(executor: Executor, tasks: list[Do], setup: Doing | None = None) -> list[Any]:
    return [message for message in executor.run(job(tasks, setup)) if not isinstance(message, Tick)]


def test_every_task_runs_once_and_its_messages_come_in_order(executor: Executor) -> None:
    tasks = [Do("square", number) for number in range(7)]
    messages = heard(executor, tasks)
    assert len(messages) == 3 * len(tasks)
    for task in tasks:
        end = Finished(task, task.number**2)
        own = [m for m in messages if m == end or (isinstance(m, Emitted) and m.item[:-1] == str(task.number))]
        assert own == [Emitted(f"{task.number}a"), Emitted(f"{task.number}b"), end]


def test_no_tasks_no_messages(executor: Executor) -> None:
    assert heard(executor, []) == []


def test_an_error_cancels_the_others_and_is_raised_behind_all_that_was_emitted(executor: Executor) -> None:
    seen: list[Any] = []
    with pytest.raises(CorruptObject, match="task 1") as raised:
        seen.extend(executor.run(job([Do("fail", 1), Do("until-cancelled", 2), Do("until-cancelled", 3)])))
    assert raised.value.hint == "Look again."
    assert {m.item for m in seen if isinstance(m, Emitted)} == {"1a", "2a", "2z", "3a", "3z"}
    assert heard(executor, [Do("square", 3)])[-1] == Finished(Do("square", 3), 9), "of use after an error"


def test_a_strange_error_comes_as_it_is(executor: Executor) -> None:
    with pytest.raises(Failed, match="no class of kafkeep"):
        heard(executor, [Do("fail-strangely")])


def test_a_request_to_stop_reaches_tasks(executor: Executor) -> None:
    stop = threading.Event()
    tasks = [Do("until-stopped", 1), Do("until-stopped", 2)]
    messages = executor.run(job(tasks, stop=stop))
    assert isinstance(next(m for m in messages if not isinstance(m, Tick)), Emitted)
    stop.set()
    assert sorted(m.task.number for m in messages if isinstance(m, Finished)) == [1, 2]


def test_a_caller_that_fails_ends_the_tasks_too(executor: Executor) -> None:
    messages = executor.run(job([Do("until-cancelled", 1), Do("until-cancelled", 2)]))
    next(messages)
    began = time.monotonic()
    messages.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 60
    assert heard(executor, [Do("square", 2)])[-1] == Finished(Do("square", 2), 4)


def test_a_slow_task_leaves_time_to_look_at_the_clock(executor: Executor) -> None:
    stop = threading.Event()
    messages = executor.run(job([Do("until-stopped")], stop=stop), tick_seconds=0.05)
    assert any(isinstance(message, Tick) for message in (next(messages), next(messages), next(messages)))
    stop.set()
    list(messages)


# --- workers elsewhere


@pytest.fixture(params=["processes", "dask"])
def remote(request: pytest.FixtureRequest) -> Any:
    """Those with workers that can be lost."""
    return request.getfixturevalue(request.param)


def test_the_work_is_done_in_other_processes(remote: Executor, tmp_path: Path) -> None:
    tasks = [Do("meet", number, str(tmp_path)) for number in range(6)]
    pids = {message.result for message in heard(remote, tasks) if isinstance(message, Finished)}
    assert os.getpid() not in pids
    assert len(pids) == WORKERS


def test_a_setup_is_opened_once_by_each_worker(remote: Executor, tmp_path: Path) -> None:
    setup = Doing(notes=str(tmp_path))
    for _ in range(3):
        heard(remote, [Do("square", n) for n in range(4)], setup)
    assert 1 <= len(list(tmp_path.iterdir())) <= WORKERS


def test_a_setup_that_cannot_be_opened_is_an_error_of_its_tasks(remote: Executor) -> None:
    with pytest.raises(CorruptObject, match="cannot be opened"):
        heard(remote, [Do("square", n) for n in range(4)], Doing(broken=True))


def test_secrets_travel(remote: Executor) -> None:
    tasks = [Do("tell-secret")]
    assert heard(remote, tasks, Doing(secret=Secret("swordfish")))[-1] == Finished(tasks[0], "swordfish")


def test_a_worker_that_dies_loses_its_task_and_no_other(remote: Executor, tmp_path: Path) -> None:
    deadly = Do("die-once", 1, str(tmp_path / "died"))
    messages = heard(remote, [deadly, *(Do("square", n) for n in range(10, 14))])
    assert [m.task for m in messages if isinstance(m, Lost)] == [deadly]
    ended = {m.task for m in messages if isinstance(m, Finished)}
    assert {Do("square", n) for n in range(10, 14)} == ended
    assert messages.index(Emitted("1a")) < messages.index(next(m for m in messages if isinstance(m, Lost)))
    assert heard(remote, [deadly])[-1] == Finished(deadly, "die-once"), "the next one does it"


def test_processes_end_with_their_parent() -> None:
    """Killed, it cannot tell them: they see its end of the pipe close."""
    script = (
        "import sys, time\n"
        "from tests.support.stations import Do, job\n"
        "from kafkeep.work.processes import ProcessExecutor\n"
        "if __name__ == '__main__':\n"
        "    with ProcessExecutor(2) as executor:\n"
        "        messages = executor.run(job([Do('sleep', 1), Do('sleep', 2)]))\n"
        "        next(messages), next(messages)\n"
        "        print(*executor.pids, flush=True)\n"
        "        time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    try:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait(60)
        assert parent.stdout is not None
        parent.stdout.close()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() and not is_zombie(pid) for pid in pids):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


# --- a scheduler of somebody else's


@pytest.fixture(scope="module")
def key() -> WorkerKey:
    return WorkerKey.parse(Secret(KEY))


KEY = "5f" * 32


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """With workers that have the key in their environment."""
    import distributed

    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        env={"KAFKEEP_WORKER_KEY": KEY},
    ) as cluster:
        yield cluster.scheduler_address


def test_with_the_same_key_on_both_sides_work_is_done(scheduler: str, key: WorkerKey) -> None:
    with DaskExecutor(scheduler, None, key=key) as executor:
        assert executor.workers == 1
        tasks = [Do("tell-secret", 1), Do("square", 3)]
        ended = {m.task: m.result for m in heard(executor, tasks, Doing(secret=Secret("x"))) if isinstance(m, Finished)}
    assert ended == {tasks[0]: "x", tasks[1]: 9}


def test_secrets_do_not_go_in_clear_to_a_scheduler(scheduler: str) -> None:
    with DaskExecutor(scheduler, None) as executor, pytest.raises(SettingsError, match="in clear") as raised:
        heard(executor, [Do("square", 3)], Doing(secret=Secret("x")))
    assert "KAFKEEP_WORKER_KEY_FILE" in raised.value.hint


@pytest.mark.parametrize("other", [None, WorkerKey.generate()])
def test_another_key_or_none_is_refused_by_the_worker(scheduler: str, other: WorkerKey | None) -> None:
    with DaskExecutor(scheduler, None, key=other) as executor, pytest.raises(KeyRefused):
        heard(executor, [Do("square", 3)])


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafkeep.work.dask.CONNECT_SECONDS", 1.0)
    with pytest.raises(WorkerError, match="no Dask scheduler answers"), DaskExecutor("tcp://127.0.0.1:9", None):
        pass
