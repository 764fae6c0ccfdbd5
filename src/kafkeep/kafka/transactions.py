"""What transaction coordinators say of their transactions (KIP-664, brokers from Kafka 3.0 on).

The calls do not search for a coordinator and do not try again: whoever watches transactions needs to know which broker
said what, and when.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Final

from kafkeep.kafka.apis import DESCRIBE_TRANSACTIONS, LIST_TRANSACTIONS
from kafkeep.kafka.at_once import at_once
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.groups import chunks
from kafkeep.kafka.routing import refused
from kafkeep.kafka.transaction_values import ListedTransaction, TransactionDescription

TRANSACTIONS_PER_REQUEST: Final = 500


def list_transactions(client: ControlClient, nodes: Collection[int]) -> tuple[ListedTransaction, ...]:
    """Every transactional id that any of the brokers coordinates and this login may describe.

    Raises:
        KafkaRequestError: a coordinator has not read its log yet (retryable), or refuses.
        KafkaUnreachable, KafkaLoginError, KafkaProtocolError, KafkaUnsupported: as `ControlClient.send`.
    """
    body = {"state_filters": [], "producer_id_filters": [], "duration_filter": -1, "transactional_id_pattern": None}

    def ask(node: int) -> list[ListedTransaction]:
        answer = client.send(LIST_TRANSACTIONS, body, to=node)
        if answer.error_code:
            raise refused(answer.error_code, f"list transactions of broker {node}", right="DESCRIBE")
        states = answer.transaction_states
        return [ListedTransaction(item.transactional_id, node, item.producer_id) for item in states]

    return tuple(chain.from_iterable(at_once(ask, nodes)))


def describe_transactions(
    client: ControlClient, node: int, transactional_ids: Sequence[str]
) -> dict[str, TransactionDescription | None]:
    """What this broker, as their coordinator, holds of these ids: None for one that it says does not exist. An id of
    which the broker is not, or not yet, the coordinator is left out. Raises as `list_transactions`.
    """
    found: dict[str, TransactionDescription | None] = {}
    for chunk in chunks(transactional_ids, TRANSACTIONS_PER_REQUEST):
        answer = client.send(DESCRIBE_TRANSACTIONS, {"transactional_ids": list(chunk)}, to=node)
        for item in answer.transaction_states:
            if item.error_code == ErrorCode.TRANSACTIONAL_ID_NOT_FOUND:
                found[item.transactional_id] = None
            elif not item.error_code:
                found[item.transactional_id] = TransactionDescription(
                    item.transaction_state, item.producer_id, item.producer_epoch, item.transaction_start_time_ms
                )
    return found
