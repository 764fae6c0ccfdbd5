"""Transactions that reach over recovery points, packs and protocol versions."""

from __future__ import annotations

import subprocess

import pytest
from confluent_kafka import Producer
from tests.support.kafka import Sample, produce_transaction, unique
from tests.support.live import RENAME, RESTORED, Filling, Live, contents, new_repository, until
from tests.support.oracle import batches_of
from tests.support.proof import Proof

from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository

pytestmark = pytest.mark.integration


@pytest.fixture
def topic() -> str:
    return unique("transactions")


def under(prefix: str) -> tuple[Rename, ...]:
    return (Rename.parse(f"s/^/{prefix}-/"),)


@pytest.mark.exact("open-transaction")
def test_an_open_transaction_holds_the_cut_back_until_it_is_decided(
    live: Live, repository: Repository, topic: str, proof: Proof
) -> None:
    filling = Filling(live.kafka, topic).create().produce(10)
    producer = Producer({**live.kafka.client_properties, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    filling.send(producer, 5)
    filling.produce(10)
    first = live.back_up(repository, topic)
    seen_first = live.seen(topic)
    assert first.point is not None
    (cut,) = first.point.cuts
    assert (first.records, cut.stop, cut.last_stable_offset, cut.high_watermark) == (10, 10, 10, 25)
    beyond = live.back_up(new := new_repository(), topic, cut="high-watermark")
    assert beyond.point is not None and beyond.point.cuts[0].stop == 25
    undecided = live.put_back(new, beyond.point, renames=under("hw"))
    assert undecided.failures == () and undecided.records == 20, "what is undecided is not restored"
    producer.abort_transaction(30)
    live.decided(topic)
    second = live.back_up(repository, topic)
    assert second.records == 15 and second.point is not None and second.point.cuts[0].stop == 26
    again = live.back_up(new, topic, cut="high-watermark")
    proof.on(live.kafka.version)
    cases = (("p1", repository, first), ("p2", repository, second), ("hw2", new, again))
    for prefix, held, result in cases:
        live.put_back(held, result.point, renames=under(prefix))
    last = live.all_seen([topic, *(f"{prefix}-{topic}" for prefix, _, _ in cases), f"hw-{topic}"])
    proof.same(contents(seen_first), contents(last[f"p1-{topic}"]))
    for prefix in ("p2", "hw2", "hw"):
        proof.same(contents(last[topic]), contents(last[f"{prefix}-{topic}"]))


@pytest.mark.exact("interleaved")
def test_transactions_that_reach_over_many_runs_and_backups(
    live: Live, repository: Repository, topic: str, proof: Proof
) -> None:
    """Tiny answers and packs, a backup after every step: aborted data lies in other runs than its marker."""
    filling = Filling(live.kafka, topic).create()
    producers = [Producer({**live.kafka.client_properties, "transactional.id": f"{topic}-{n}"}) for n in (0, 1)]
    for producer in producers:
        producer.init_transactions(30)
    middle = None
    for turn in range(3):
        for producer in producers:
            producer.begin_transaction()
        for _ in range(2):
            for producer in producers:
                filling.send(producer, 6)
            live.back_up(repository, topic, fetch_bytes=500, pack_bytes=1000)
        for number, producer in enumerate(producers):
            (producer.abort_transaction if (turn + number) % 2 else producer.commit_transaction)(30)
            result = live.back_up(repository, topic, fetch_bytes=500, pack_bytes=1000)
        if turn == 1:
            live.decided(topic)
            middle = (live.back_up(repository, topic).point or result.point, live.seen(topic))
    filling.produce(3)
    live.decided(topic)
    result = live.back_up(repository, topic)
    runs = next(iter(repository.state.generations.values())).runs
    assert len(runs) > 5 and middle is not None
    proof.on(live.kafka.version)
    restored = live.put_back(repository, result.point, renames=RENAME)
    assert restored.failures == () and restored.records == 39
    proof.same(contents(live.seen(topic)), contents(live.seen(RESTORED + topic)))
    live.put_back(repository, middle[0], renames=under("middle"))
    proof.same(contents(middle[1]), contents(live.seen(f"middle-{topic}")))


def perf(live: Live, topic: str, records: int, *, payload: str, rate: int = -1) -> subprocess.Popen[str]:
    """Kafka's own performance tool as a transactional producer: transactions of 100 ms, one after the other."""
    command = live.kafka.lab.tool_command(
        "producer-perf",
        *("--topic", topic, "--num-records", str(records), "--throughput", str(rate), "--record-size", payload),
        *("--transactional-id", topic, "--transaction-duration-ms", "100"),
        *("--producer-props", f"bootstrap.servers={live.kafka.bootstrap}", "linger.ms=0"),
    )
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.exact("transaction-versions")
def test_both_versions_of_transactions(live_4: Live, repository: Repository, topic: str, proof: Proof) -> None:
    """Java's producer takes transaction.version 2 where the cluster has it (KIP-890: every transaction has its own epoch),
    librdkafka the older one. Java's is killed inside a transaction, which its successor then aborts.
    """
    Filling(live_4.kafka, topic).create()
    killed = perf(live_4, topic, 1_000_000, payload="150", rate=1000)

    def several() -> bool:
        """A slow tool makes few transactions of many records: offsets without a record are their markers."""
        (seen,) = live_4.seen(topic).values()
        return len(seen) > 300 and seen[-1][0] + 1 - len(seen) > 3

    try:
        until(several, what="Java's first transactions")
    finally:
        killed.kill()
        killed.wait(60)
    for turn in range(4):
        records = [Sample(b"k", b"%d.%d" % (turn, n), (), 0, 0) for n in range(30)]
        produce_transaction(
            live_4.kafka.client_properties, topic, records, transactional_id=f"{topic}-rd", commit=turn % 2 == 0
        )
        live_4.back_up(repository, topic)
    following = perf(live_4, topic, 500, payload="170", rate=1500)
    assert following.wait(120) == 0
    live_4.decided(topic)
    result = live_4.back_up(repository, topic)
    assert result.point is not None
    (view,) = repository.view(result.point).partitions
    infos = [info for info, _ in batches_of(repository, view)]
    epochs = {info.producer_epoch for info in infos if not info.is_control and info.size > 100 * info.record_count}
    sizes = {len(content.value or b"") for content in contents(live_4.seen(topic))[0]}
    assert len(epochs) > 3, "each of Java's transactions has an epoch of its own"
    assert {150, 170, 3} <= sizes
    restored = live_4.put_back(repository, result.point, renames=RENAME)
    in_log = sum(info.record_count for info in infos if not info.is_control)
    proof.on(live_4.kafka.version)
    proof.same(contents(live_4.seen(topic)), contents(live_4.seen(RESTORED + topic)))
    assert restored.records < in_log, "some were aborted"
    proof.figures(aborted_records_left_out=in_log - restored.records)
