"""`python -m bench.state_open REPOSITORY CACHE WHAT`: one opening in a process of its own; CACHE `-` for none.

WHAT: `open`, a topic (its part of the newest point is read run by run), `all` (all partitions of it are), or `save` (the
state is saved, for others to begin at).
"""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.state_making import ADMIN_KEY
from kafkeep.repository.keyring import Access
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
        access=Access(signing_key=ADMIN_KEY),
    ) as repository:
        opened = time.monotonic() - began
        runs = 0
        if what == "save":
            repository.save_state(started=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z")
        elif what != "open":
            for part in repository.view(repository.point("latest")).partitions:
                if what in ("all", part.generation.topic):
                    runs += sum(1 for run in part.runs if run.facts.records)
        state = repository.state
    print(json.dumps({"head": state.head, "runs": runs, "of": state.runs, "opened": opened}))


if __name__ == "__main__":
    main()
