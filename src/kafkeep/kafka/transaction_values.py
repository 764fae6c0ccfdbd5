"""What coordinators say of transactions, as values (KIP-664). Pure."""

from __future__ import annotations

from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True)
class ListedTransaction:
    """A transactional id on the list of a broker, and the producer id it has there."""

    transactional_id: str
    node: int
    producer_id: int


@dataclass(frozen=True, slots=True)
class TransactionDescription:
    """What the coordinator holds of a transactional id. `state` is Kafka's word (TransactionState.java)."""

    state: str
    producer_id: int
    producer_epoch: int
    start_time_ms: int
    """When the transaction began that runs or ran last, by the coordinator's clock; -1 before the first one."""
