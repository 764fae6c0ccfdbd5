"""The protocol where the log is trimmed, as a model small enough to walk through completely.

Writers and admins share numbered slots and a set of packs. Admins raise the epoch, save states, take away commits below the
newest root and orphans; each of them deletes one thing at a time. Any actor sleeps as long as it likes between any two
steps, goes on from an old view of the log, and may die; answers are lost with and without effect, and one commit at a time
may be in flight. A milestone is every second or third slot here, not every 4 096th.

What must always hold: who comes new reads the log as it was written, though a part of it is gone; who comes back sees what
was reported before, and is never told of damage where there is none; what was reported as committed is in the log; every
pack that the log names is there. The rules that make it hold are in docs/format.md (sections 8 and 9).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

SOURCE_OFFSETS = 2


class Pack(NamedTuple):
    """One run of one offset."""

    offset: int
    epoch: int
    writer: int
    attempt: int


class Commit(NamedTuple):
    kind: str
    """`init`, `add`, `epoch` or `state`."""
    prev: int
    root: int | None = None
    """The newest root that its author knew."""
    pack: Pack | None = None
    writer: int = -1


View = tuple[Commit, ...]
"""The commits that somebody holds for the log, from 0 on: read, or told by a root."""
INIT = Commit("init", 0)


class Actor(NamedTuple):
    """`idle`; `holds` a commit to be made behind its view; `created` one, and has not asked for the milestone;
    `unsure` what became of it; `deletes` slots and packs; `reads` a log that it saw the end of.
    """

    phase: str = "idle"
    view: View = (INIT,)
    commit: Commit | None = None
    begun: int = 0
    """Packs uploaded, decisions begun, readings begun."""
    slots: tuple[int, ...] = ()
    packs: tuple[Pack, ...] = ()
    end: int = 0
    """The head that a reader saw."""
    owed: frozenset[Pack] = frozenset()
    """What was reported before a reader began."""


class World(NamedTuple):
    slots: tuple[Commit | None, ...]
    """What lies there."""
    written: View
    """What was created where nothing had been before: the log, whatever is left of it."""
    actors: tuple[Actor, ...]
    packs: frozenset[Pack] = frozenset()
    reported: frozenset[Pack] = frozenset()
    crashes: int = 0
    in_flight: Commit | None = None
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The protocol, with one rule to leave out at a time; bounds of the walk."""

    asks_after_created: bool = True
    """Whoever created a commit, or found its own, asks for the next milestone before it says so."""
    asks_at_the_end: bool = True
    """Whoever finds no successor asks for the next milestone before it takes its head for the end."""
    waits_for_milestone: bool = True
    """A commit goes only when the next milestone above it is there."""
    keeps_milestones: bool = True
    below_the_root: bool = True
    """A commit goes only when it is below a root."""
    head_may_be_root: bool = True
    """Whoever begins takes the head commit itself for the root when it is a `state`."""
    forgives_strays: bool = True
    """Whoever finds a commit that does not follow, below a milestone that is there, begins anew at the root."""
    forgives_in_cache: bool = True
    """The same for whoever finds another commit than the last one in its cache, in a slot that is no milestone."""
    begins_anew: bool = True
    """Whoever finds a hole in the log that it reads begins anew: it was trimmed meanwhile."""
    looks_for_itself: bool = True
    """Whoever begins anew after it created a commit looks for that in the state."""
    milestone: int = 2
    writers: int = 1
    admins: int = 2
    readers: int = 0
    longest_log: int = 4
    most_begun: int = 1
    most_crashes: int = 1


class Stops(Exception):
    """A reader takes the log for damaged."""


def epoch(view: View) -> int:
    return sum(commit.kind == "epoch" for commit in view)


def named(view: View) -> list[Pack]:
    return [commit.pack for commit in view if commit.pack is not None]


def root_of(view: View) -> int | None:
    return next((number for number in range(len(view) - 1, 0, -1) if view[number].kind == "state"), None)


def follows(view: View, commit: Commit) -> bool:
    return commit.prev == hash(view[-1])


def there(world: World, number: int) -> Commit | None:
    return world.slots[number] if number < len(world.slots) else None


def milestone_above(rules: Rules, world: World, number: int) -> bool:
    """Whether the next milestone is there."""
    return there(world, (number // rules.milestone + 1) * rules.milestone) is not None


# --- reading ----------------------------------------------------------------------------------------------------------


def beginning(rules: Rules, world: World) -> tuple[int, int]:
    """Where somebody who holds nothing begins, and the head, found from milestone to milestone and then number by number."""
    head = 0
    while there(world, head + rules.milestone) is not None:
        head += rules.milestone
    while there(world, head + 1) is not None:
        head += 1
    last = there(world, head)
    assert last is not None
    if rules.head_may_be_root and last.kind == "state":
        return head, head
    return last.root or 0, head


def anew(rules: Rules, world: World) -> View:
    """The log from the newest root to the head."""
    root, head = beginning(rules, world)
    if there(world, root) != world.written[root]:
        raise Stops
    view = world.written[: root + 1]
    for number in range(root + 1, head + 1):
        commit = there(world, number)
        if commit is None or not follows(view, commit):
            raise Stops
        view += (commit,)
    return view


def refreshed(rules: Rules, world: World, view: View) -> View:
    """What lies behind this view."""
    while (commit := there(world, len(view))) is not None:
        if not follows(view, commit):
            return _trimmed(rules, world, view)
        view += (commit,)
    if rules.asks_at_the_end and milestone_above(rules, world, len(view) - 1):
        return anew(rules, world)
    return view


def _trimmed(rules: Rules, world: World, view: View) -> View:
    if not rules.forgives_strays:
        raise Stops
    root, _ = beginning(rules, world)
    if root < len(view) - 1:
        raise Stops
    return anew(rules, world)


def reopened(rules: Rules, world: World, view: View) -> View:
    """What a process sees that has this view in its cache."""
    last = there(world, len(view) - 1)
    if last is None:
        return anew(rules, world)
    if last != view[-1]:
        if not rules.forgives_in_cache or (len(view) - 1) % rules.milestone == 0:
            raise Stops
        return anew(rules, world)
    return refreshed(rules, world, view)


# --- what may happen --------------------------------------------------------------------------------------------------


def placed(world: World, number: int, commit: Commit) -> World:
    """After a creation in an empty slot: the log goes on, or something lies where it was trimmed."""
    slots = (*world.slots[:number], commit, *world.slots[number + 1 :])
    written = (*world.written, commit) if number == len(world.written) else world.written
    return world._replace(slots=slots, written=written)


def steps(rules: Rules, world: World) -> Iterator[tuple[str, World]]:
    """Everything that may happen next."""
    late = world.in_flight
    if late is not None:
        number = _number(world, late)
        arrived = placed(world, number, late) if there(world, number) is None else world
        yield "a late commit arrives", arrived._replace(in_flight=None)
    for who, actor in enumerate(world.actors):
        name = ("writer" if who < rules.writers else "admin" if who < rules.writers + rules.admins else "reader", who)
        try:
            for what, after, changed in actor_steps(rules, world, who, actor):
                actors = (*world.actors[:who], changed, *world.actors[who + 1 :])
                yield f"{name[0]} {who} {what}", after._replace(actors=actors)
        except Stops:
            yield f"{name[0]} {who} stops", world._replace(broken="a reader stops at a log that is whole")


def _number(world: World, commit: Commit) -> int:
    """The number that a commit was made for."""
    return next(n for n in range(len(world.written)) if hash(world.written[n]) == commit.prev) + 1


def actor_steps(rules: Rules, world: World, who: int, me: Actor) -> Iterator[tuple[str, World, Actor]]:
    if me.phase == "idle":
        yield from idle_steps(rules, world, who, me)
    elif me.phase == "holds":
        yield from put_steps(rules, world, me)
    elif me.phase == "created":
        yield from ask_steps(rules, world, me)
    elif me.phase == "unsure":
        yield from look_steps(rules, world, me)
    elif me.phase == "reads":
        yield from read_steps(rules, world, me)
    else:
        yield from delete_steps(world, me)
    if me.phase != "idle" and world.crashes < rules.most_crashes:
        yield "dies", world._replace(crashes=world.crashes + 1), Actor(view=me.view, begun=me.begun)


def idle_steps(rules: Rules, world: World, who: int, me: Actor) -> Iterator[tuple[str, World, Actor]]:
    for what, view in (
        ("reads on", refreshed(rules, world, me.view)),
        ("comes back", reopened(rules, world, me.view)),
    ):
        missing = not world.reported <= set(named(view))
        seen = world._replace(broken="a reader does not see what was reported") if missing else world
        if view != me.view or missing:
            yield what, seen, me._replace(view=view)
    if who < rules.writers:
        if me.begun < rules.most_begun and len(named(me.view)) < SOURCE_OFFSETS:
            pack = Pack(len(named(me.view)), epoch(me.view), who, me.begun)
            holding = me._replace(phase="holds", commit=commit_on(me.view, "add", pack, who), begun=me.begun + 1)
            yield f"uploads {pack}", world._replace(packs=world.packs | {pack}), holding
    elif who < rules.writers + rules.admins:
        yield from admin_steps(rules, world, who, me)
    elif me.begun < rules.most_begun:
        root, head = beginning(rules, world)
        view = world.written[: root + 1]
        reading = Actor("reads", view, None, me.begun + 1, end=head, owed=world.reported)
        yield f"sees head {head} and root {root}", world, reading


def commit_on(view: View, kind: str, pack: Pack | None, who: int) -> Commit:
    return Commit(kind, hash(view[-1]), root_of(view), pack, who)


def admin_steps(rules: Rules, world: World, who: int, me: Actor) -> Iterator[tuple[str, World, Actor]]:
    if me.begun < rules.most_begun:
        for kind in ("epoch", "state"):
            holding = me._replace(phase="holds", commit=commit_on(me.view, kind, None, who), begun=me.begun + 1)
            yield f"decides {kind}", world, holding
    root = root_of(me.view)
    if root is not None:
        slots = tuple(
            number
            for number in range(1, root if rules.below_the_root else len(me.view))
            if there(world, number) is not None
            and (number % rules.milestone or not rules.keeps_milestones)
            and (milestone_above(rules, world, number) or not rules.waits_for_milestone)
        )
        if slots:
            yield f"trims {slots}", world, me._replace(phase="deletes", slots=slots)
    view = refreshed(rules, world, me.view)
    packs = tuple(sorted(pack for pack in world.packs if pack.epoch <= epoch(view) - 2 and pack not in named(view)))
    if packs:
        yield f"collects {packs}", world, me._replace(phase="deletes", view=view, packs=packs)


def fits(commit: Commit, view: View) -> bool:
    if commit.pack is None:
        return True
    return commit.pack.offset == len(named(view)) and commit.pack.epoch >= epoch(view) - 1


def rebased(me: Actor, view: View) -> Actor:
    """The same intention on another view; nothing of it where it was done, or does not fit any more."""
    assert me.commit is not None
    if not fits(me.commit, view):
        return Actor(view=view, begun=me.begun)
    return me._replace(
        phase="holds", view=view, commit=commit_on(view, me.commit.kind, me.commit.pack, me.commit.writer)
    )


def put_steps(rules: Rules, world: World, me: Actor) -> Iterator[tuple[str, World, Actor]]:
    assert me.commit is not None
    number, unsure = len(me.view), me._replace(phase="unsure")
    if number >= rules.longest_log:
        return
    if there(world, number) is None:
        after = placed(world, number, me.commit)
        yield f"creates {number}", after, me._replace(phase="created")
        yield f"creates {number} and does not hear it", after, unsure
    yield f"hears nothing of {number}", world, unsure
    if world.in_flight is None and number <= len(world.written) and world.written[:number] == me.view:
        yield f"sends {number} on a long way", world._replace(in_flight=me.commit), unsure


def ask_steps(rules: Rules, world: World, me: Actor) -> Iterator[tuple[str, World, Actor]]:
    assert me.commit is not None
    if not rules.asks_after_created or not milestone_above(rules, world, len(me.view)):
        yield "is sure", *done(world, me, (*me.view, me.commit))
        return
    view = anew(rules, world)
    if rules.looks_for_itself and me.commit.pack is not None and me.commit.pack in named(view):
        yield "finds itself in the state", *done(world, me, view)
    else:
        yield "begins anew", world, rebased(me, view)


def done(world: World, me: Actor, view: View) -> tuple[World, Actor]:
    assert me.commit is not None
    reported = world.reported | ({me.commit.pack} if me.commit.pack is not None else set())
    return world._replace(reported=reported), Actor(view=view, begun=me.begun)


def look_steps(rules: Rules, world: World, me: Actor) -> Iterator[tuple[str, World, Actor]]:
    """After any answer but "created"."""
    found = there(world, len(me.view))
    if found is None:
        yield "finds nothing", world, me._replace(phase="holds")
    elif found == me.commit:
        yield "finds its own", world, me._replace(phase="created")
    elif follows(me.view, found):
        yield "finds another's", world, rebased(me, (*me.view, found))
    else:
        yield "finds what does not follow", world, rebased(me, _trimmed(rules, world, me.view))


def read_steps(rules: Rules, world: World, me: Actor) -> Iterator[tuple[str, World, Actor]]:
    """Commit by commit, while others go on and trim."""
    again = Actor(begun=me.begun - 1)
    if len(me.view) <= me.end:
        commit = there(world, len(me.view))
        if commit is not None and follows(me.view, commit):
            yield "reads one more", world, me._replace(view=(*me.view, commit))
        elif rules.begins_anew:
            yield "begins anew", world, again
        else:
            raise Stops
        return
    view = refreshed(rules, world, me.view)
    missing = not me.owed <= set(named(view))
    seen = world._replace(broken="a reader does not see what was reported") if missing else world
    yield "has read", seen, Actor(view=view, begun=me.begun)


def delete_steps(world: World, me: Actor) -> Iterator[tuple[str, World, Actor]]:
    if me.slots:
        first, *rest = me.slots
        slots = tuple(None if number == first else commit for number, commit in enumerate(world.slots))
        yield f"deletes {first}", world._replace(slots=slots), me._replace(slots=tuple(rest))
    elif me.packs:
        gone, *others = me.packs
        yield f"deletes {gone}", world._replace(packs=world.packs - {gone}), me._replace(packs=tuple(others))
    else:
        yield "is done", world, Actor(view=me.view, begun=me.begun)


# --- the walk ---------------------------------------------------------------------------------------------------------


def violation(rules: Rules, world: World) -> str | None:
    if world.broken is not None:
        return world.broken
    if not set(named(world.written)) <= world.packs:
        return "a live pack is gone"
    if not world.reported <= set(named(world.written)):
        return "what was reported is not in the log"
    if [pack.offset for pack in named(world.written)] != list(range(len(named(world.written)))):
        return "an offset is covered twice or left out"
    return told_anew(rules, world.slots, world.written)


@lru_cache(4096)
def told_anew(rules: Rules, slots: tuple[Commit | None, ...], written: View) -> str | None:
    try:
        view = anew(rules, World(slots, written, ()))
    except Stops:
        return "who comes new cannot read the log"
    return None if view == written else "who comes new reads something else"


class Walk(NamedTuple):
    worlds: int
    broken: str | None
    story: list[str]


def explore(rules: Rules, seen: set[str] | None = None) -> Walk:
    """Every world that can be reached, or the shortest way to one that breaks a promise. `seen`: takes what happened."""
    actors = (Actor(),) * (rules.writers + rules.admins + rules.readers)
    start = World((INIT,), (INIT,), actors)
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        world = waiting.popleft()
        broken = violation(rules, world)
        if broken is not None:
            return Walk(len(came_from), broken, _story(came_from, world))
        for what, following in steps(rules, world):
            if seen is not None:
                seen.add(what)
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
