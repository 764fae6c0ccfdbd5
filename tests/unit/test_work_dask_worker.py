"""A task inside a Dask worker: it begins once, and ends when nobody waits for it any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.stations import Do, Doing

import kafkeep
from kafkeep.errors import WorkerError
from kafkeep.work import dask_worker
from kafkeep.work.carrying import close, disclose, dump
from kafkeep.work.dask_worker import AGAIN, ENDED, Envelope, claim_name, pulse_name, run_task

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A scheduler and a worker in this very process."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=4,
            processes=False,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as made,
    ):
        yield made


def submitted(client: Any, channel: str, task: Do, version: str = kafkeep.__version__) -> Any:
    envelope = Envelope(channel, 0, dump(Doing()), task)
    return client.submit(run_task, close(None, envelope, dask_worker.TASK_PLACE), version, pure=False)


def pulse(client: Any, channel: str) -> None:
    from distributed import Variable

    Variable(pulse_name(channel), client=client).set({"beat": 0, "stop": False, "cancel": False})


def test_a_task_whose_coordinator_has_fallen_silent_is_cancelled(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Queue

    monkeypatch.setattr(dask_worker, "SILENCE_SECONDS", 1.0)
    pulse(client, "silent")
    began = time.monotonic()
    assert submitted(client, "silent", Do("until-cancelled")).result(timeout=90) == ENDED
    assert time.monotonic() - began >= 1.0
    said = [m for bundle in Queue("silent", client=client).get(batch=True) for m in disclose(None, bundle, "silent")]
    assert said[-1].result == "until-cancelled"


def test_a_task_that_another_worker_began_does_not_begin(client: Any) -> None:
    from distributed import Variable

    pulse(client, "begun")
    Variable(claim_name("begun", 0), client=client).set(1)
    assert submitted(client, "begun", Do("fail")).result(timeout=90) == AGAIN


def test_a_task_of_a_coordinator_that_is_gone_does_not_begin(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_worker, "PULSE_SECONDS", 0.5)
    assert submitted(client, "gone", Do("fail")).result(timeout=90) == AGAIN


def test_another_version_is_refused(client: Any) -> None:
    with pytest.raises(WorkerError, match=r"the coordinator 0\.0\.7"):
        submitted(client, "version", Do("square"), "0.0.7").result(timeout=90)
