"""What a repository holds, read back without trusting its own sums, and what it must hold.

`Content` says in a comparable form what a recovery point holds, whatever packs its runs lie in. `check_log` goes through
the stored commits themselves. What a cluster holds is read by confluent-kafka (tests/support/kafka.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from blake3 import blake3

from kafkeep.kafka.wire.batch import walk
from kafkeep.model import BatchInfo, RecoveryPoint
from kafkeep.repository.envelope import Kind, unwrap
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.views import PartitionView
from kafkeep.verify.run import verify


class PartitionContent(NamedTuple):
    """One partition of a point: its ends, and every batch between them exactly as the broker sent it."""

    start: int
    stop: int
    high_watermark: int
    last_stable_offset: int
    leader_epoch: int
    gaps: tuple[tuple[int, int, str], ...]
    batches: int
    digest: str


@dataclass(frozen=True)
class Content:
    """A recovery point, comparable across repositories and pack boundaries."""

    partitions: dict[str, PartitionContent]
    metadata: Any
    complete: bool
    settings: Any = None
    """The inventory, where the point holds one; how the cluster stood is of another size at every look."""

    @property
    def batches(self) -> int:
        return sum(part.batches for part in self.partitions.values())


def content(repository: Repository, point: RecoveryPoint, *, groups: str = "") -> Content:
    """Reads everything a point holds; AssertionError when its runs and gaps do not join up or a batch comes twice.

    A backup takes all groups of its cluster along: `groups` is how the names of those begin that count.
    """
    documents: dict[str, Any] = {kind: repository.document(kind, digest) for kind, digest in point.documents}
    metadata = documents["metadata"]
    own = [group for group in metadata["groups"] if group["group_id"].startswith(groups)]
    return Content(
        {str(view.generation): _partition(repository, view) for view in repository.view(point).partitions},
        metadata | {"groups": own},
        point.complete,
        documents.get("inventory"),
    )


def differing(one: Content, other: Content) -> list[str]:
    """What two points hold differently, for the eyes of whoever reads why a test failed."""
    names = sorted(one.partitions.keys() | other.partitions.keys())
    parts = [(name, one.partitions.get(name), other.partitions.get(name)) for name in names]
    parts += [(name, getattr(one, name), getattr(other, name)) for name in ("complete", "metadata", "settings")]
    return [f"{name}: {this} instead of {that}" for name, this, that in parts if this != that]


def _partition(repository: Repository, view: PartitionView) -> PartitionContent:
    cut = view.cut
    covered = sorted(
        [(part.offsets.start, part.offsets.stop) for part in view.slices]
        + [(gap.offsets.start, gap.offsets.stop) for gap in view.gaps]
    )
    reached = cut.start
    for start, stop in covered:
        assert start == reached, f"{view.generation}: {covered} does not join up at {reached}"
        reached = stop
    assert reached == cut.stop, f"{view.generation}: covered up to {reached}, the point ends at {cut.stop}"
    hasher, batches = blake3(), 0
    for _, batch in batches_of(repository, view):
        hasher.update(batch)
        batches += 1
    return PartitionContent(
        cut.start,
        cut.stop,
        cut.high_watermark,
        cut.last_stable_offset,
        cut.leader_epoch,
        tuple((gap.offsets.start, gap.offsets.stop, gap.reason) for gap in view.gaps),
        batches,
        hasher.hexdigest(),
    )


def batches_of(repository: Repository, view: PartitionView) -> Iterator[tuple[BatchInfo, memoryview]]:
    """Every batch with an offset inside the cut, control batches too, each once and in rising order."""
    last = -1
    for run in view.runs:
        for chunk in repository.read_run(run):
            infos, used = walk(chunk)
            assert used == len(chunk), f"{view.generation}: a chunk does not end with a whole batch"
            position = 0
            for info in infos:
                if info.last_offset >= view.cut.start and info.base_offset < view.cut.stop:
                    assert info.base_offset > last, f"{view.generation}: offset {info.base_offset} after {last}"
                    last = info.last_offset
                    yield info, chunk[position : position + info.size]
                position += info.size


def contents(repository: Repository, *, groups: str = "") -> dict[int, Content]:
    """All recovery points by number."""
    return {point.number: content(repository, point, groups=groups) for point in repository.points()}


def assert_whole(repository: Repository) -> None:
    """Nothing is damaged at level `data`, no commit counts for nothing, and the log adds up without overlap."""
    report = verify(repository.store, level="data")
    assert report.findings == ()
    assert report.alarms == ()
    check_log(repository.store)


def check_log(store: Store) -> int:
    """Adds up the coverage of the commits as they are stored: no number missing, no offset twice, none left out.

    Returns how many commits there are. Written from docs/format.md, without the fold of `repository.state`.
    """
    number, prev = 0, "0" * 64
    reached: dict[tuple[Any, ...], int] = {}
    names = [info.name for info in store.list("log/")]
    for name in names:
        assert name == f"log/{number:012d}"
        data = store.get(name)
        commit: Any = unwrap(data, Kind.COMMIT, name)
        assert (commit["seq"], commit["prev"]) == (number, prev)
        number, prev = number + 1, blake3(data).hexdigest()
        body = commit["body"]
        for opened in body.get("opened", ()):
            generation = tuple(opened["generation"])
            assert generation not in reached
            reached[generation] = opened["start"]
        runs = [run for pack in brought(commit) for run in pack["runs"]]
        covered = sorted(
            (tuple(item["generation"]), item["from"], item["to"]) for item in [*runs, *body.get("gaps", ())]
        )
        for generation, start, stop in covered:
            assert start == reached[generation], f"commit {commit['seq']}: {generation} [{start}, {stop})"
            reached[generation] = stop
    return number


def kinds_of(store: Store) -> Counter[str]:
    """How many commits of each kind there are."""
    found: Counter[str] = Counter()
    for info in store.list("log/"):
        commit: Any = unwrap(store.get(info.name), Kind.COMMIT, info.name)
        found[commit["kind"]] += 1
    return found


def brought(commit: Any) -> list[dict[str, Any]]:
    """The packs whose runs a commit covers more with; decisions only name packs, or move what is covered."""
    return list(commit["body"].get("packs", ())) if commit["kind"] in ("add", "recovery-point") else []


def declared_gaps(store: Store, number: int) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """By (topic id, partition): the offsets that the commits up to `number` declare lost."""
    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for name in [info.name for info in store.list("log/")][: number + 1]:
        commit: Any = unwrap(store.get(name), Kind.COMMIT, name)
        for gap in commit["body"].get("gaps", ()):
            _, topic_id, partition, _ = gap["generation"]
            found.setdefault((topic_id, partition), []).append((gap["from"], gap["to"]))
    return found


def orphans(store: Store) -> set[str]:
    """Packs that no commit names: what a killed writer leaves."""
    named = set()
    for info in store.list("log/"):
        commit: Any = unwrap(store.get(info.name), Kind.COMMIT, info.name)
        named |= {pack["name"] for pack in brought(commit)}
    return {info.name for info in store.list("pack/")} - named
