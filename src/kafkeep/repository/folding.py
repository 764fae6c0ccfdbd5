"""Folding commits into a state. Pure.

`apply(state, slot)` gives the next state; the old one stays as it was. A commit that breaks a rule changes nothing but
the alarms, for every reader alike: slots are immutable, so a bad commit must not be able to block the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from kafkeep.errors import CorruptChain
from kafkeep.model import Gap, RecoveryPoint, RunRef
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.changes import Change, SaveState
from kafkeep.repository.extending import Extension, covering
from kafkeep.repository.fold.rope import Rope
from kafkeep.repository.fold.settling import settled
from kafkeep.repository.format import Commit, Slot
from kafkeep.repository.invalid import Invalid
from kafkeep.repository.keeping import changed
from kafkeep.repository.rules import Judgement, judge
from kafkeep.repository.state import Alarm, GenerationState, RootRef, State
from kafkeep.repository.topic_keys import KeyRing, with_topic_keys
from kafkeep.repository.trust import check_signature


def _unsigned(state: State, slot: Slot) -> str | None:
    """What its signature lacks, None when it lacks nothing or none is needed."""
    try:
        check_signature(state, slot)
    except Invalid as broken:
        return str(broken)
    return None


def apply(state: State, slot: Slot) -> State:
    """The state after one more slot. Raises `CorruptChain` when the slot is not the next one."""
    return fold(state, (slot,))


def fold(state: State, slots: Iterable[Slot], judgement: Judgement | None = None) -> State:
    """The state after these slots, in order. Costs what the slots hold, plus one copy of the table of generations.

    `judgement` is of the first one's commit after this very state, where the caller has it already.
    """
    folder = _Folder(state)
    for slot in slots:
        folder.apply(slot, judgement)
        judgement = None
    return folder.state


class _Folder:
    """Owns its tables while it folds; `state` is a frozen view that only later folds of the same run still write to."""

    def __init__(self, state: State) -> None:
        self._generations = dict(state.generations)
        self._latest = dict(state.latest)
        self.state = replace(
            state, generations=MappingProxyType(self._generations), latest=MappingProxyType(self._latest)
        )

    def apply(self, slot: Slot, judgement: Judgement | None) -> None:
        self._apply(slot, judgement)
        self.state = replace(self.state, layers=self.state.layers.after(slot.commit))
        if self.state.layers.loose >= self.state.layers.limits.loose:
            self._take(settled(self.state))

    def _take(self, following: State) -> None:
        self._generations = dict(following.generations)
        self.state = replace(following, generations=MappingProxyType(self._generations))

    def _apply(self, slot: Slot, judgement: Judgement | None) -> None:
        state = self.state
        if slot.seq != state.head + 1:
            raise CorruptChain(f"commit {slot.seq} where commit {state.head + 1} belongs")
        commit, reason, extended = slot.commit, slot.defect, None
        if commit is not None:
            judgement = judge(state, commit) if judgement is None else judgement
            reason, extended = _unsigned(state, slot) or judgement.reason, judgement.extensions
        if slot.seq == 0 and (commit is None or reason is not None):
            raise CorruptChain(f"commit 0 does not begin a repository: {reason}")
        head = {"head": slot.seq, "head_digest": slot.digest}
        if commit is None or reason is not None:
            alarm = Alarm(slot.seq, slot.digest, reason or "no commit")
            self.state = replace(state, **head, alarms=state.alarms.extended([alarm]))  # type: ignore[arg-type]
            return
        if commit.kind == "init":
            encryption = None if commit.repository is None else commit.repository.encryption
            keys = KeyRing() if encryption is None else KeyRing(recipients=encryption.recipients)
            admins = () if commit.repository is None else commit.repository.admins
            self.state = replace(
                state,
                **head,  # type: ignore[arg-type]
                repository=commit.repository,
                keys=keys,
                trusted=admins,
            )
            return
        if isinstance(commit.change, SaveState):
            saved = RootRef(slot.seq, commit.change.document)
            self.state = replace(state, **head, root=saved)  # type: ignore[arg-type]
            return
        if commit.change is not None:
            self._apply_change(commit, commit.change, head)
            return
        if extended is None:
            self._apply_generations(commit)
        else:
            self._extend(commit.seq, extended)
        entries = [PackEntry(p.name, p.size, p.blake3, p.epoch, commit.seq, Rope.of(p.runs)) for p in commit.packs]
        point = recovery_point(commit)
        self.state = replace(
            state,
            head=slot.seq,
            head_digest=slot.digest,
            cluster_id=commit.cluster_id,
            packs=state.packs.extended(entries),
            points=state.points if point is None else state.points.extended([point]),
            keys=with_topic_keys(state.keys, commit.topic_keys),
        )

    def _apply_change(self, commit: Commit, change: Change, head: Mapping[str, object]) -> None:
        self._take(replace(changed(self.state, commit, change), **head))  # type: ignore[arg-type]

    def _extend(self, number: int, extended: Iterable[Extension]) -> None:
        for known, items, _ in extended:
            following = known
            for item in items:
                following = _covered(following, item, number)
            self._generations[known.generation] = following

    def _apply_generations(self, commit: Commit) -> None:
        for opened in commit.opened:
            generation = opened.generation
            self._generations[generation] = GenerationState(
                generation=generation,
                start=opened.start,
                next_offset=opened.start,
                opened_at=commit.seq,
                opened_time=commit.started,
                opened_why=opened.why,
            )
            self._latest[generation.topic_partition] = generation
        for item in covering(commit.gaps, (run for pack in commit.packs for run in pack.runs)):
            self._generations[item.generation] = _covered(self._generations[item.generation], item, commit.seq)
        for closed in commit.closed:
            known = self._generations[closed.generation]
            self._generations[closed.generation] = replace(known, closed_at=commit.seq, closed_why=closed.why)


def _covered(known: GenerationState, item: Gap | RunRef, number: int) -> GenerationState:
    if isinstance(item, Gap):
        return replace(
            known,
            next_offset=item.offsets.stop,
            gaps=known.gaps.extended([item]),
            gap_numbers=known.gap_numbers.extended([number]),
        )
    # `replace` takes twice as long, and this is done for every run of every commit
    return GenerationState(
        generation=known.generation,
        start=known.start,
        next_offset=item.facts.coverage.stop,
        opened_at=known.opened_at,
        opened_time=known.opened_time,
        opened_why=known.opened_why,
        closed_at=known.closed_at,
        closed_why=known.closed_why,
        history=known.history.extended([(number, item)]),
        gaps=known.gaps,
        gap_numbers=known.gap_numbers,
    )


def recovery_point(commit: Commit) -> RecoveryPoint | None:
    """The recovery point that a valid commit names, None when it names none."""
    body = commit.point
    if body is None or commit.cluster_id is None:
        return None
    return RecoveryPoint(
        number=commit.seq,
        name=body.name,
        tags=body.tags,
        started=commit.started,
        finished=commit.finished,
        cluster_id=commit.cluster_id,
        cuts=body.cuts,
        selection=body.selection,
        documents=body.documents,
        consistency=body.consistency,
        complete=body.complete,
        failures=body.failures,
        signer=None if commit.signature is None else commit.signature.key,
    )
