"""Writing a log that is built anew: its commits in order, what they say of keys, and the recovery point at their end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from kafkeep.errors import PlanRefused
from kafkeep.mending.rebuild_plan import LogStep, PackPart, RebuildPlan
from kafkeep.model import Failure, PackRef, PartitionCut
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.changes import RaiseEpoch
from kafkeep.repository.drafts import Draft, PointDraft
from kafkeep.repository.moving import PackMover, stored_chunks
from kafkeep.repository.packing import Randomness
from kafkeep.repository.reader import read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.topic_keys import AddRecipient, RemoveRecipient, RotateKeys
from kafkeep.times import rfc3339

REBUILT: Final = "rebuilt"
"""Name of the recovery point, and kind of the report."""


def entry_of(pack: PackRef) -> PackEntry:
    """As a state would have it, of the runs that count."""
    return PackEntry(pack.name, pack.size, pack.blake3, pack.epoch, -1, pack.run_refs())


class LogBuilder:
    """Commits what a plan says; whatever is there already is left alone."""

    def __init__(
        self,
        repository: Repository,
        source: Store,
        plan: RebuildPlan,
        *,
        now: Callable[[], datetime],
        rng: Randomness,
    ) -> None:
        self._repository = repository
        self._source = source
        self._plan = plan
        self._now = now
        self._rng = rng
        self._started = rfc3339(now())
        self.rewritten = 0

    def commit(self, step: LogStep) -> None:
        while self._repository.state.epoch < step.epoch:
            self._repository.decide(RaiseEpoch(self._repository.state.epoch + 1), started=self._started)
        packs: list[PackRef] = [*step.packs, *(self._rewrite(pack) for pack in step.stale)]
        outcome = self._repository.commit(
            Draft(
                cluster_id=self._plan.cluster_id,
                started=self._started,
                packs=tuple(packs),
                gaps=step.gaps,
                opened=step.opened,
                closed=step.closed,
                topic_keys=self._plan.keys.topic_keys,
            )
        )
        if outcome.dropped_runs:
            raise PlanRefused("the target has changed meanwhile", hint="Run the command again.")

    def end_keys(self) -> None:
        """Recipients as far as they are known, and no key that the next backup would go on with: nobody knows any more
        for whom the lost log wanted what was to come."""
        for entry in self._plan.keys.added:
            self._repository.decide(AddRecipient(entry), started=self._started)
        for entry in self._plan.keys.removed:
            self._repository.decide(RemoveRecipient(entry.public), started=self._started)
        if self._repository.state.keys.current:
            self._repository.decide(RotateKeys(), started=self._started)

    def _rewrite(self, pack: PackPart) -> PackRef:
        """The runs that count, byte for byte, in a pack of the epoch at hand."""
        self.rewritten += 1
        entry = entry_of(pack)
        seal = self._repository.seal
        footer = read_footer(self._source, entry, self._repository.id, seal)
        store, about = self._repository.store, self._repository.about
        with PackMover(
            store.open_new(), about, epoch=self._repository.state.epoch, now=self._now, rng=self._rng, seal=seal
        ) as mover:
            for index in pack.taken:
                run = footer.runs[index]
                mover.add(run, stored_chunks(self._source, pack.name, run))
            return mover.finish()

    def point(self, failures: tuple[Failure, ...]) -> int:
        """The recovery point over everything that is covered now."""
        state = self._repository.state
        cuts = tuple(
            PartitionCut(
                known.generation,
                known.next_offset,
                known.start,
                known.next_offset,
                known.next_offset,
                known.runs[-1].facts.leader_epochs[-1][0] if known.runs and known.runs[-1].facts.leader_epochs else -1,
            )
            for known in state.generations.values()
            if known.open
        )
        documents = () if self._plan.metadata is None else (("metadata", self._plan.metadata),)
        outcome = self._repository.commit(
            Draft(
                kind="recovery-point",
                cluster_id=self._plan.cluster_id,
                started=self._started,
                point=PointDraft(
                    name=REBUILT,
                    tags=((REBUILT, str(self._plan.kept + 1)),),
                    cuts=cuts,
                    documents=documents,
                    complete=not failures and not self._plan.gaps,
                    failures=failures,
                ),
            )
        )
        if outcome.point is None:
            raise PlanRefused("the target has changed meanwhile", hint="Run the command again.")
        return outcome.point.number
