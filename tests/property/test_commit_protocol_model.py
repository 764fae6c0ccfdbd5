"""The protocol itself, as a model small enough to walk through completely.

Two writers on one partition, one that moves runs and one actor that collects garbage share a chain of commits and a set
of packs. Any of them may crash at any step; answers to a commit may be lost, with and without effect; one commit at a
time may be in flight and land or die at any later moment, its writer alive or not. Walked breadth first, so that a
broken rule shows with the shortest story that breaks it.

What must always hold: every pack that holds what the chain covers, and that was not retired, is there, and the offsets
that the chain covers are 0, 1, 2, ... each once and in one place. The rules that make it hold are in docs/format.md
("Writing a commit", "Epochs", the rules of `compact`); the weakened variants leave one of them out, and each of them is
caught.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest

SOURCE_OFFSETS = 2
MOVER = 2
"""The writer that moves runs into packs of its own."""


class Pack(NamedTuple):
    """One run of one offset."""

    offset: int
    epoch: int
    writer: int
    attempt: int


class Commit(NamedTuple):
    kind: str
    """`add`, `compact`, `epoch`, `retire` or `sweep`."""
    pack: Pack | None = None
    source: Pack | None = None
    """Where the run of a `compact` lay before."""


class InFlight(NamedTuple):
    slot: int
    commit: Commit


@dataclass(frozen=True, slots=True)
class Writer:
    """`idle`; `holds` an uploaded pack built on the first `seen` commits; `unsure` what became of its commit."""

    phase: str = "idle"
    seen: int = 0
    pack: Pack | None = None
    uploads: int = 0
    source: Pack | None = None
    """Only of the one that moves."""


@dataclass(frozen=True, slots=True)
class World:
    chain: tuple[Commit, ...] = ()
    packs: frozenset[Pack] = frozenset()
    writers: tuple[Writer, Writer, Writer] = (Writer(), Writer(), Writer())
    sweeping: frozenset[Pack] = frozenset()
    """Orphans that the collector has decided to delete and has not deleted yet."""
    crashes: int = 0
    in_flight: frozenset[InFlight] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """The protocol, with one rule to leave out at a time; bounds of the walk."""

    create_only: bool = True
    """A commit number is given once."""
    epoch_rule: bool = True
    """A pack is only committed while its epoch is at least the current one less one."""
    sweep_behind: int = 2
    """The collector deletes orphans of epochs this far behind the current one."""
    looks_again: bool = True
    """After an unclear answer the writer reads the slot before it goes on."""
    moves_by_epoch: bool = True
    """The epoch rule holds for packs of moved runs too."""
    moves_what_lies_there: bool = True
    """A run is moved from where it lies at that commit, not from where it once lay."""
    longest_chain: int = 4
    most_crashes: int = 1
    most_uploads: int = 1
    most_writers: int = 2
    most_moves: int = 0


def epoch(chain: tuple[Commit, ...]) -> int:
    return sum(commit.kind == "epoch" for commit in chain)


def added(chain: tuple[Commit, ...]) -> list[Pack]:
    return [commit.pack for commit in chain if commit.kind == "add" and commit.pack is not None]


def named(chain: tuple[Commit, ...]) -> list[Pack]:
    """Packs of writers, moved runs included."""
    return [commit.pack for commit in chain if commit.kind in ("add", "compact") and commit.pack is not None]


def retired(chain: tuple[Commit, ...]) -> list[Pack]:
    return [commit.pack for commit in chain if commit.kind == "retire" and commit.pack is not None]


def holding(chain: tuple[Commit, ...]) -> set[Pack]:
    """Where the offsets lie that the chain covers: not those whose pack was retired while they lay in it."""
    places: set[Pack] = set()
    for commit in chain:
        if commit.kind in ("compact", "retire"):
            places.discard(commit.pack if commit.source is None else commit.source)  # type: ignore[arg-type]
        if commit.kind in ("add", "compact") and commit.pack is not None:
            places.add(commit.pack)
    return places


def violation(world: World) -> str | None:
    if not holding(world.chain) <= world.packs:
        return "a live pack is gone"
    offsets = [pack.offset for pack in added(world.chain)]
    if offsets != list(range(len(offsets))):
        return "an offset is covered twice or left out"
    places = holding(world.chain)
    return "an offset lies in two places" if len({pack.offset for pack in places}) < len(places) else None


def put(rules: Rules, chain: tuple[Commit, ...], slot: int, commit: Commit) -> Iterator[tuple[tuple[Commit, ...], str]]:
    """What may become of an attempt to be commit `slot`: the chain after it, and the answer."""
    if not rules.create_only:
        yield (*chain[:slot], commit), "created"
        yield (*chain[:slot], commit), "lost"
    elif len(chain) == slot:
        yield (*chain, commit), "created"
        yield (*chain, commit), "lost"
        yield chain, "lost"
    else:
        yield chain, "exists"
        yield chain, "lost"


def steps(rules: Rules, world: World) -> Iterator[tuple[str, World]]:
    """Everything that may happen next."""
    for late in world.in_flight:
        chain = (*world.chain, late.commit) if len(world.chain) == late.slot else world.chain
        yield f"late commit {late.slot} arrives", replace(world, chain=chain, in_flight=world.in_flight - {late})
    for who in (*range(rules.most_writers), MOVER):
        for what, following, writer in writer_steps(rules, world, who):
            writers = tuple(writer if place == who else other for place, other in enumerate(following.writers))
            yield f"writer {who} {what}", replace(following, writers=writers)
    yield from collector_steps(rules, world)


def writer_steps(rules: Rules, world: World, who: int) -> Iterator[tuple[str, World, Writer]]:
    me = world.writers[who]
    if me.phase == "idle":
        yield from move_steps(rules, world) if who == MOVER else upload_steps(rules, world, who)
    elif me.phase == "holds":
        yield from commit_steps(rules, world, who)
    else:
        assert me.pack is not None
        if len(world.chain) > me.seen and world.chain[me.seen] == commit_of(me):
            yield "finds its own commit", world, Writer(uploads=me.uploads)
        else:
            yield "rebases", world, replace(me, phase="holds", seen=len(world.chain))
    if me.phase != "idle" and world.crashes < rules.most_crashes:
        yield "crashes", replace(world, crashes=world.crashes + 1), Writer(uploads=me.uploads)


def upload_steps(rules: Rules, world: World, who: int) -> Iterator[tuple[str, World, Writer]]:
    """Reads the chain, perhaps an older state of it, and uploads what comes next."""
    me = world.writers[who]
    for seen in {len(world.chain), max(0, len(world.chain) - 1)}:
        known = world.chain[:seen]
        following = len(added(known))
        if following < SOURCE_OFFSETS and me.uploads < rules.most_uploads:
            pack = Pack(following, epoch(known), who, me.uploads)
            writer = Writer("holds", seen, pack, me.uploads + 1)
            yield f"uploads {pack}", replace(world, packs=world.packs | {pack}), writer


def move_steps(rules: Rules, world: World) -> Iterator[tuple[str, World, Writer]]:
    """Reads the chain, perhaps an older state of it, and copies a run that is there into a pack of its own."""
    me = world.writers[MOVER]
    for seen in {len(world.chain), max(0, len(world.chain) - 1)}:
        known = world.chain[:seen]
        for source in holding(known) & world.packs if me.uploads < rules.most_moves else ():
            pack = Pack(source.offset, epoch(known), MOVER, me.uploads)
            writer = Writer("holds", seen, pack, me.uploads + 1, source)
            yield f"copies {source}", replace(world, packs=world.packs | {pack}), writer


def commit_of(writer: Writer) -> Commit:
    return Commit("add", writer.pack) if writer.source is None else Commit("compact", writer.pack, writer.source)


def still_fits(rules: Rules, me: Writer, known: tuple[Commit, ...]) -> bool:
    assert me.pack is not None
    old = me.pack.epoch < epoch(known) - 1
    if me.source is None:
        return me.pack.offset == len(added(known)) and not (rules.epoch_rule and old)
    lies_there = me.source in holding(known) or not rules.moves_what_lies_there
    return lies_there and not (rules.moves_by_epoch and old)


def commit_steps(rules: Rules, world: World, who: int) -> Iterator[tuple[str, World, Writer]]:
    me = world.writers[who]
    assert me.pack is not None
    if not still_fits(rules, me, world.chain[: me.seen]):
        yield "drops its pack", world, Writer(uploads=me.uploads)
        return
    if len(world.chain) >= rules.longest_chain and me.seen >= len(world.chain):
        return
    commit = commit_of(me)
    for chain, answer in put(rules, world.chain, me.seen, commit):
        if answer == "created":
            after = Writer(uploads=me.uploads)
        elif answer == "lost" and not rules.looks_again:
            after = replace(me, seen=len(chain))
        else:
            after = replace(me, phase="unsure")
        yield f"commits {me.seen}: {answer}", replace(world, chain=chain), after
    if not world.in_flight:
        sent = replace(world, in_flight=frozenset({InFlight(me.seen, commit)}))
        yield f"commits {me.seen}: in flight", sent, replace(me, phase="unsure")


def collector_steps(rules: Rules, world: World) -> Iterator[tuple[str, World]]:
    if world.sweeping:
        first = min(world.sweeping)
        yield (
            f"collector deletes {first}",
            replace(world, packs=world.packs - {first}, sweeping=world.sweeping - {first}),
        )
        if world.crashes < rules.most_crashes:
            yield "collector crashes", replace(world, sweeping=frozenset(), crashes=world.crashes + 1)
        return
    chain = world.chain
    if len(chain) < rules.longest_chain:
        for longer, answer in put(rules, chain, len(chain), Commit("epoch")):
            yield f"collector begins an epoch: {answer}", replace(world, chain=longer)
        live = sorted(holding(chain))
        emptied = sorted(set(named(chain)) - set(live) - set(retired(chain)))
        for pack in [*emptied, *live[:1]] if len(live) > 1 else emptied:
            yield f"collector retires {pack}", replace(world, chain=(*chain, Commit("retire", pack)))
        for pack in retired(chain):
            if Commit("sweep", pack) not in chain and pack in world.packs:
                yield f"collector names {pack}", replace(world, chain=(*chain, Commit("sweep", pack)))
    for commit in chain:
        if commit.kind == "sweep" and commit.pack in world.packs:
            yield f"collector deletes {commit.pack}", replace(world, packs=world.packs - {commit.pack})
    oldest = epoch(chain) - rules.sweep_behind
    orphans = frozenset(pack for pack in world.packs if pack.epoch <= oldest and pack not in named(chain))
    if orphans:
        yield f"collector plans to delete {sorted(orphans)}", replace(world, sweeping=orphans)


class Walk(NamedTuple):
    worlds: int
    broken: str | None
    story: list[str]


def explore(rules: Rules) -> Walk:
    """Every world that can be reached, or the shortest way to one that breaks a promise."""
    start = World()
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        world = waiting.popleft()
        broken = violation(world)
        if broken is not None:
            return Walk(len(came_from), broken, _story(came_from, world))
        for what, following in steps(rules, world):
            if following not in came_from:
                came_from[following] = (world, what)
                waiting.append(following)
    return Walk(len(came_from), None, [])


def _story(came_from: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    story: list[str] = []
    while (step := came_from[world]) is not None:
        world, what = step
        story.append(what)
    return story[::-1]


def test_the_protocol_keeps_its_promises_in_every_world_within_the_bounds() -> None:
    began = time.process_time()
    walk = explore(Rules())
    assert walk.broken is None, walk.story
    assert walk.worlds > 10_000, "a walk that sees little proves little"
    assert time.process_time() - began < 20


def test_more_uploads_with_a_shorter_chain() -> None:
    walk = explore(Rules(longest_chain=2, most_uploads=2))
    assert walk.broken is None, walk.story
    assert walk.worlds > 10_000


def test_moved_runs_are_where_the_chain_says() -> None:
    began = time.process_time()
    walk = explore(Rules(most_moves=1, most_writers=1, most_uploads=2))
    assert walk.broken is None, walk.story
    assert walk.worlds > 10_000
    assert time.process_time() - began < 20


def test_retrying_without_looking_is_caught_by_the_rule_of_contiguity() -> None:
    walk = explore(Rules(looks_again=False, longest_chain=3))
    assert walk.broken is None, walk.story


@pytest.mark.parametrize(
    ("rules", "broken"),
    [
        (Rules(epoch_rule=False), "a live pack is gone"),
        (Rules(epoch_rule=False, sweep_behind=0), "a live pack is gone"),
        (Rules(sweep_behind=1), "a live pack is gone"),
        (Rules(create_only=False), "an offset is covered twice or left out"),
        (Rules(most_moves=1, moves_by_epoch=False, most_writers=1), "a live pack is gone"),
        (Rules(most_moves=2, moves_what_lies_there=False, most_writers=1), "an offset lies in two places"),
    ],
)
def test_leaving_out_a_rule_is_caught_at_once(rules: Rules, broken: str) -> None:
    began = time.process_time()
    walk = explore(rules)
    assert walk.broken == broken
    assert walk.story
    assert time.process_time() - began < 5
