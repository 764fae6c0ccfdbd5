"""Moments at which a transactional producer was not in the middle of deciding a transaction: pure.

docs/transactions.md has the rule and its proof. In short: a coordinator that describes a transaction in the same words
before and after the end offsets were asked for, and in a state in which it writes no markers, has written none between.
Every transaction of that producer then has its markers below these end offsets in all partitions, or in none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from kafkeep.kafka.transaction_values import ListedTransaction, TransactionDescription
from kafkeep.model import TopicPartition
from kafkeep.records import dataclass

Ends = Mapping[TopicPartition, int]
"""The high watermark of every chosen partition, all asked for at about one moment."""

AT_REST: Final = frozenset({"Empty", "Ongoing", "CompleteCommit", "CompleteAbort"})
"""States in which a coordinator writes no markers and owes none (TransactionState.java). The others are PrepareCommit,
PrepareAbort, PrepareEpochFence and Dead; a state unknown here counts as one of them."""


@dataclass(frozen=True, slots=True)
class Look:
    """What brokers said around one asking for the end offsets, in the order in which they were asked."""

    listed_before: tuple[ListedTransaction, ...]
    node: Mapping[str, int]
    """The broker that was asked to describe each transactional id."""
    before: Mapping[str, TransactionDescription | None]
    ends: Ends
    after: Mapping[str, TransactionDescription | None]
    listed_after: tuple[ListedTransaction, ...]


class Moments:
    """Gathers looks until every transactional id that was ever listed has its moment."""

    def __init__(self) -> None:
        self.floor: Ends | None = None
        """The end offsets of the first look."""
        self._moment: dict[str, Ends] = {}
        self._producers: dict[str, set[int]] = defaultdict(set)
        """By transactional id, every producer id it was seen with: one may follow another."""
        self._node: dict[str, int] = {}

    def take(self, look: Look) -> None:
        """Learns from one look."""
        if self.floor is None:
            self.floor = look.ends
        self.learn((*look.listed_before, *look.listed_after))
        before, after = _nodes(look.listed_before), _nodes(look.listed_after)
        for name, description in look.before.items():
            if description is not None:
                self._producers[name].add(description.producer_id)
            if name in self._moment or name not in look.after or look.after[name] != description:
                continue
            # Two brokers that both claim an id, or one that lists it and another before: its coordinator has moved.
            expected = set() if description is None else {look.node[name]}
            if before.get(name, set()) != expected or after.get(name, set()) != expected:
                continue
            if description is None or description.state in AT_REST:
                self._moment[name] = look.ends

    def learn(self, listed: Iterable[ListedTransaction]) -> None:
        """Notes which ids there are."""
        for item in listed:
            self._producers[item.transactional_id].add(item.producer_id)
            self._node[item.transactional_id] = item.node

    @property
    def pending(self) -> dict[str, int]:
        """The transactional ids that have no moment yet, with the broker that listed each last."""
        return {name: node for name, node in self._node.items() if name not in self._moment}

    @property
    def producers(self) -> dict[int, Ends]:
        """The moment of every producer id that has one."""
        return {
            producer: self._moment[name]
            for name, producers in self._producers.items()
            if name in self._moment
            for producer in producers
        }


def _nodes(listed: Iterable[ListedTransaction]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for item in listed:
        found[item.transactional_id].add(item.node)
    return found
