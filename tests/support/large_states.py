"""States with many runs and points, folded from commits that nobody wrote, most of them on pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.support.facts import run_ref
from tests.support.repositories import CLUSTER, TIME, cut, generation

from kafkeep.model import GenerationOpened, RunRef
from kafkeep.repository.fold.settling import Layers, Limits
from kafkeep.repository.folding import fold
from kafkeep.repository.format import Commit, CommittedPack, PointBody, RepositoryDocument, Slot
from kafkeep.repository.names import pack_name
from kafkeep.repository.page_store import PageStore
from kafkeep.repository.state import EMPTY, State

TOPIC: Final = "orders"
PARTITIONS: Final = 20
RUNS: Final = 10
"""Of each partition and commit, one offset each."""
_GENERATIONS: Final = [generation(TOPIC, partition) for partition in range(PARTITIONS)]
_LIMITS: Final = Limits(loose=1000, page=32, fan_in=4, root=10**9)
_RECENT_ITEMS: Final = 500
_INIT: Final = Commit(
    seq=0,
    prev="0" * 64,
    kind="init",
    writer="0" * 32,
    epoch=0,
    started=TIME,
    finished=TIME,
    tool="test",
    repository=RepositoryDocument(id="0" * 32, created=TIME, compression="none"),
)


def large_state(commits: int) -> State:
    """`commits` recovery points, each of one more pack with `RUNS` runs of each partition. In memory are about 1500 runs."""
    return fold(
        replace(EMPTY, layers=Layers(PageStore(None, None, recent_items=_RECENT_ITEMS), _LIMITS)), _slots(commits)
    )


def _slots(commits: int) -> Iterator[Slot]:
    yield Slot(0, "0" * 64, _INIT)
    for number in range(1, commits + 1):
        root = f"{number:064x}"[::-1]
        name = pack_name(0, f"01m7w6c848yjf9ef3wbn{number:06d}", root)
        places = [(of, at) for of in _GENERATIONS for at in range((number - 1) * RUNS, number * RUNS)]
        runs = tuple(_run(run_ref(of, at, at + 1, pack=name, index=index)) for index, (of, at) in enumerate(places))
        yield Slot(number, root, _commit(number, CommittedPack(name, 100, root, 0, runs)))


def _run(run: RunRef) -> RunRef:
    return replace(run, facts=replace(run.facts, records=1, raw_bytes=70, stored_bytes=70, create_time=True))


def _commit(number: int, pack: CommittedPack) -> Commit:
    point = PointBody(
        name=None,
        tags=(),
        cuts=tuple(cut(of, number * RUNS) for of in _GENERATIONS),
        selection=(),
        documents=(),
        consistency="partition",
        complete=True,
        failures=(),
    )
    opened = tuple(GenerationOpened(of, 0, "first-seen") for of in _GENERATIONS) if number == 1 else ()
    return replace(
        _INIT,
        seq=number,
        kind="recovery-point",
        repository=None,
        cluster_id=CLUSTER,
        packs=(pack,),
        opened=opened,
        point=point,
    )
