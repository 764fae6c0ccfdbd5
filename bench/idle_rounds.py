"""Rounds of a following backup, one for each line of stdin: `python -m bench.idle_rounds BOOTSTRAP FOLDER [PROFILE]`.

All of them are made by one process with one repository, as `backup --follow` does. Each prints a line of JSON with what
it cost and what it asked for. PROFILE is a file for a profile of every round but the first.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kafkeep import logger
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore

_REQUEST: Final = "request"
_UNIT: Final = 1 if sys.platform == "darwin" else 1024


class Requests:
    """Counts the control path's requests as they are logged; Fetch is not among them."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def __call__(self, _: str, __: str, message: str, values: Mapping[str, object]) -> None:
        if message == _REQUEST:
            self.counted[str(values["api"])] += 1


def measured(work: Callable[[], BackupResult], requests: Requests) -> dict[str, Any]:
    requests.counted.clear()
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    result = work()
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_rss_bytes": after.ru_maxrss * _UNIT,
        "requests": dict(requests.counted),
        "records": result.records,
        "packs": result.packs,
        "has_point": result.point is not None,
    }


def clock() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    bootstrap, folder, *profile = sys.argv[1:]
    requests = Requests()
    logger.send_to(requests)
    profiler = cProfile.Profile(time.thread_time)
    config = ClusterConfig(name="bench", bootstrap=tuple(bootstrap.split(",")), request_timeout_seconds=120.0)
    store = LocalStore(Path(folder))
    with Cluster(config) as cluster, Repository.open(store, now=clock, rng=random.SystemRandom()) as repository:

        def one_round() -> BackupResult:
            return backup(cluster, repository, BackupOptions(), now=clock)

        for number, _ in enumerate(sys.stdin):
            work = (lambda: profiler.runcall(one_round)) if profile and number else one_round
            print(json.dumps(measured(work, requests)), flush=True)
    if profile:
        with Path(profile[0]).open("w", encoding="utf-8") as file:
            pstats.Stats(profiler, stream=file).sort_stats("cumulative").print_stats(80)


if __name__ == "__main__":
    main()
