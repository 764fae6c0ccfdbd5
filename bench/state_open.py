"""`python -m bench.state_open REPOSITORY CACHE WHAT`: one opening in a process of its own; CACHE `-` for none.

WHAT: `open`, a topic (its part of the newest point is read run by run), or `all` (all partitions of it are).
"""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore


def main() -> None:
    place, cache, what = sys.argv[1:]
    began = time.monotonic()
    with Repository.open(
        LocalStore(Path(place)),
        now=lambda: datetime.now(UTC),
        rng=random.SystemRandom(),
        cache_dir=None if cache == "-" else Path(cache),
    ) as repository:
        state = repository.state
        opened = time.monotonic() - began
        runs = 0
        if what != "open":
            for part in repository.view(repository.point("latest")).partitions:
                if what in ("all", part.generation.topic):
                    runs += sum(1 for run in part.runs if run.facts.records)
    print(json.dumps({"head": state.head, "runs": runs, "of": state.runs, "opened": opened}))


if __name__ == "__main__":
    main()
