"""The recipe of a copy: packs, then what points name, then the commits, and last the document that makes it a repository.

Every byte is checked against the log before it is published at the target, so a copy never spreads damage. The target's log
is a beginning of the source's; anything else is another repository, or one that somebody wrote into. Of a log that was
trimmed the target gets what is there: commits from a saved state on, milestones before it, and that state's documents first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from kafkeep.copying.plan import CopyPlan, CopyResult
from kafkeep.errors import CorruptObject, ObjectExists, PlanRefused, RepositoryNotFound
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned, ignore
from kafkeep.repository import chain, layout, names
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.creation import probe
from kafkeep.repository.envelope import Kind, digest, unwrap
from kafkeep.repository.format import encode_repository
from kafkeep.repository.layout import Footer
from kafkeep.repository.objects import read_repository_document
from kafkeep.repository.packing import Randomness
from kafkeep.repository.reader import read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.roots import documents_of
from kafkeep.repository.state import RootRef, State
from kafkeep.repository.stores.base import Store, Upload
from kafkeep.saved_states import is_dense
from kafkeep.state_reading import named_states

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

BLOCK_BYTES: Final = 8 * 1024 * 1024
_ANOTHER_TARGET: Final = "Copy into an empty place, or into a copy that nobody backs up into."


def prepare(source: Repository, target: Store) -> CopyPlan:
    """Holds the two against one another; changes nothing.

    Raises `PlanRefused` when the target holds something else, `CorruptChain`, `StoreError`.
    """
    state = source.refresh()
    begins = log_begins(source.store, state, source.seal)
    reached = _reached(source, target, begins)
    # A listing only proposes: what it leaves out is found to be there when it is put.
    present = {info.name: info.size for kind in ("pack/", "doc/", "audit/", "key/") for info in target.list(kind)}
    named = {found for point in state.points for _, found in point.documents}
    named = named.union(*(documents_of(source.store, saved, source.seal) for saved in _saved_from(source, begins)))
    documents = sorted(map(names.document_name, named))
    return CopyPlan(
        repository=source.id,
        source=source.store.url,
        target=target.url,
        head=state.head,
        target_head=reached,
        begins=begins,
        milestones=_lacking(target, begins, state.head),
        # what holds no run any more is needed by nobody, and may be what a repair left behind
        packs=tuple(
            (entry.name, entry.size) for entry in state.packs if entry.runs and present.get(entry.name) != entry.size
        ),
        documents=tuple(name for name in documents if name not in present),
        reports=tuple(info.name for info in source.store.list("audit/") if info.name not in present),
        keys=tuple(
            info.name
            for info in source.store.list("key/")
            if info.name not in present and not state.keys.given_up(info.name)
        ),
        surplus=tuple(sorted(name for name in present if name in state.swept or state.keys.given_up(name))),
    )


def log_begins(store: Store, state: State, seal: DocumentSeal | None) -> int:
    """The commit from which on the store lists all: 0, or the oldest saved state that will do. Raises `CorruptionError`,
    `StoreError`."""
    if state.root is None:
        return 0
    listed = (names.log_number(info.name) for info in store.list("log/"))
    present = sorted(number for number in listed if number is not None and number <= state.head)
    saved = [each.number for each in named_states(store, state.root, seal)]
    for begins in (0, *reversed(saved)):
        if is_dense(present, begins, state.head):
            return begins
    return state.root.number


def _saved_from(source: Repository, begins: int) -> list[RootRef]:
    named = named_states(source.store, source.state.root, source.seal)
    return [each.ref for each in named if each.number >= begins]


def _lacking(target: Store, begins: int, head: int) -> tuple[int, ...]:
    """Milestones before the beginning of the log that are not in the target."""
    numbers = range(0, min(begins, head + 1), names.MILESTONE)
    with ThreadPoolExecutor(max(1, target.capabilities.parallel_reads)) as pool:
        there = pool.map(lambda number: chain.exists(target, number), numbers)
        return tuple(number for number, known in zip(numbers, there, strict=True) if not known)


def _reached(source: Repository, target: Store, begins: int) -> int:
    """The newest commit of the target, -1 for an empty one; all of its log must be the beginning of the source's."""
    try:
        known = read_repository_document(target)
    except RepositoryNotFound:
        known = None
    if known is not None and known != source.about:
        raise PlanRefused(f"{target.url} holds repository {known.id}, not {source.id}", hint=_ANOTHER_TARGET)
    reached = chain.find_head(target, -1)
    if reached < 0:
        return -1
    # what was trimmed from the source cannot be compared: then the milestone below is, which stays
    common = reached if reached >= begins else reached - reached % names.MILESTONE
    theirs = chain.read_commit(target, common)
    ours = chain.read_commit(source.store, common)
    # One commit names all before it by their digests.
    if theirs is None or ours != theirs:
        raise PlanRefused(f"commit {common} in {target.url} is not the source's", hint=_ANOTHER_TARGET)
    return reached


def copy(
    source: Repository,
    target: Store,
    plan: CopyPlan,
    *,
    delete_swept: bool = False,
    workers: int = 2,
    now: Callable[[], datetime],
    rng: Randomness,
    sink: EventSink = ignore,
) -> CopyResult:
    """Carries the plan out. Stopped anywhere it leaves a beginning, and the next copy goes on from there.

    Raises `CorruptObject` before anything of a damaged object is published, `PlanRefused` when the target has changed
    meanwhile, and what the stores raise.
    """
    if plan.target_head < 0:
        probe(target, now=now, rng=rng)
    sink(WorkPlanned("copy", len(plan.packs), None, plan.pack_bytes))
    sink(Stage("packs", f"{len(plan.packs)} pack(s)"))
    entries = [entry for name, _ in plan.packs if (entry := source.state.packs.get(name)) is not None]

    def one(entry: PackEntry) -> int:
        copy_pack(source, target, entry)
        sink(Progress("copy", sum(run.facts.records for run in entry.runs), entry.size))
        return entry.size

    with ThreadPoolExecutor(workers) as pool:
        sizes = list(pool.map(one, entries))
    sink(Stage("documents", f"{len(plan.documents) + len(plan.reports)} document(s)"))
    for name in plan.documents:
        put_same(target, name, _document(source.store, name))
    for name in plan.keys:
        put_same(target, name, _key(source.store, name))
    for name in plan.reports:
        source.audit(name)
        put_same(target, name, source.store.get(name))
    sink(Stage("commits", f"{plan.commits} commit(s)"))
    put_commits(source.store, target, plan.first, plan.head, plan.milestones)
    put_same(target, names.REPOSITORY, encode_repository(source.about))
    chain.write_hint(target, plan.head)
    for name in plan.surplus if delete_swept else ():
        target.delete(name)
    return CopyResult(plan=plan, packs=len(sizes), bytes=sum(sizes), deleted=len(plan.surplus) if delete_swept else 0)


def copy_pack(source: Repository, target: Store, entry: PackEntry) -> None:
    """Every byte of the pack, checked before it gets its name. Raises `CorruptObject`, `StoreError`."""
    footer = read_footer(source.store, entry, source.id, source.seal)
    with target.open_new() as upload:
        _write_checked(source, entry, footer, upload)
        try:
            upload.publish(entry.name)
        except ObjectExists:
            _check_size(target, entry)


def _check_size(target: Store, entry: PackEntry) -> None:
    """Another copy was faster. The name holds the digest; a pack of another size is none of ours."""
    size = target.head(entry.name).size
    if size != entry.size:
        raise CorruptObject(f"pack {entry.name} is {size} bytes long in {target.url}, not {entry.size}")


def _write_checked(source: Repository, entry: PackEntry, footer: Footer, upload: Upload) -> None:
    """All bytes of the pack from first to last, each checked: by the root, by the footer, or by its chunk's digest."""
    what = f"pack {entry.name}"
    store = source.store
    upload.write(store.get(entry.name, 0, layout.HEADER_SIZE))
    places = [(chunk.position, chunk.stored_length, chunk.blake3) for run in footer.runs for chunk in run.chunks]
    heads = [
        (run.position, layout.encode_run_header(index, run.facts.generation, run.facts.coverage.start, source.seal))
        for index, run in enumerate(footer.runs)
    ]
    pieces: list[tuple[int, int, str | bytes]] = sorted(
        [*((at, len(head), head) for at, head in heads), *places], key=lambda piece: piece[0]
    )
    for block in _blocks(pieces):
        start = block[0][0]
        data = memoryview(store.get(entry.name, start, block[-1][0] + block[-1][1] - start))
        for at, length, expected in block:
            part = data[at - start : at - start + length]
            whole = part == expected if isinstance(expected, bytes) else blake3(part).hexdigest() == expected
            if len(part) != length or not whole:
                raise CorruptObject(f"{what} is damaged at byte {at}", hint="`kafkeep verify` tells all that is.")
        upload.write(data)
    end = store.get(entry.name, footer.position, entry.size - footer.position)
    if layout.pack_root(store.get(entry.name, 0, layout.HEADER_SIZE), end[: footer.length]).hex() != entry.blake3:
        raise CorruptObject(f"{what} changed while it was read")
    upload.write(end)


def _blocks(pieces: Iterable[tuple[int, int, str | bytes]]) -> Iterable[list[tuple[int, int, str | bytes]]]:
    """Neighbours together, up to `BLOCK_BYTES`."""
    block: list[tuple[int, int, str | bytes]] = []
    for piece in pieces:
        if block and piece[0] + piece[1] - block[0][0] > BLOCK_BYTES:
            yield block
            block = []
        block.append(piece)
    if block:
        yield block


def _key(store: Store, name: str) -> bytes:
    data = store.get(name)
    unwrap(data, Kind.KEY, name)
    return data


def _document(store: Store, name: str) -> bytes:
    data = store.get(name)
    if names.document_name(digest(data)) != name:
        raise CorruptObject(f"{name} does not match the digest it is named by")
    return data


def put_same(target: Store, name: str, data: bytes) -> None:
    """Puts an object that nobody else may have put with other bytes. Raises `PlanRefused`, `StoreError`."""
    try:
        target.put_new(name, data)
    except ObjectExists:
        if target.get(name, 0, len(data) + 1) != data:
            raise PlanRefused(f"{name} in {target.url} is another one", hint=_ANOTHER_TARGET) from None


def put_commits(source: Store, target: Store, first: int, last: int, milestones: Iterable[int]) -> None:
    """In order, so that the target's log has no hole at any moment.

    Milestones before the first, rising, come last, the newest of them at first: as long as the next one is not there, whoever
    reads the target takes its log for as long as it was before. Raises `PlanRefused` where the target holds others,
    `CorruptionError`, `StoreError`.
    """
    for number, data in chain.read_commits(source, first, last):
        put_same(target, names.log_name(number), data)
    for number in reversed(tuple(milestones)):
        milestone = chain.read_commit(source, number)
        if milestone is None:
            raise CorruptObject(f"{names.log_name(number)} is missing in {source.url}")
        put_same(target, names.log_name(number), milestone)
