"""The command `kafkeep`, held back: `python -P held_back.py BYTES …` goes on until brokers have so many bytes of record
batches from it, and then waits for ever. Whoever kills it in the middle of its work need not be quick, nor it be slow.
"""

from __future__ import annotations

import sys
import threading
from collections import defaultdict, deque
from collections.abc import Sequence

from kafkeep.cli.main import main
from kafkeep.kafka.produce import BrokerProducer, ProduceBatch, ProducedBatch
from kafkeep.model import TopicPartition


def hold_back(most_bytes: int) -> None:
    """From here on, the producers of this process send not more than so much in all; what a broker refuses does not count.
    More than the first batches of all partitions: these are sent before any answer is looked at.
    """
    left = most_bytes
    lock = threading.Lock()
    under_way: dict[BrokerProducer, deque[dict[TopicPartition, int]]] = defaultdict(deque)
    send, receive = BrokerProducer.send, BrokerProducer.receive

    def held(producer: BrokerProducer, batches: Sequence[ProduceBatch]) -> None:
        nonlocal left
        sizes = {batch.topic_partition: sum(map(len, batch.parts)) for batch in batches}
        with lock:
            left -= sum(sizes.values())
            over = left < 0
        if over:
            threading.Event().wait()
        send(producer, batches)
        under_way[producer].append(sizes)

    def answered(producer: BrokerProducer) -> tuple[ProducedBatch, ...]:
        nonlocal left
        answers = receive(producer)
        sizes = under_way[producer].popleft()
        with lock:
            left += sum(sizes[answer.topic_partition] for answer in answers if answer.error != 0)
        return answers

    BrokerProducer.send, BrokerProducer.receive = held, answered  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    hold_back(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
