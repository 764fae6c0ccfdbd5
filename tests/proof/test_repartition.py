"""A topic that comes back with another number of partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.support.kafka import (
    Content,
    KafkaCluster,
    create_topic,
    delete_topics,
    produce,
    produce_transaction,
    read_positions,
    unique,
)
from tests.support.live import Live, new_repository
from tests.support.proof import Proof
from tests.support.repartitioned_live import LIKE_JAVA, by_producers, samples

from kafkeep.kafka.cluster import Cluster
from kafkeep.renaming import Rename

pytestmark = pytest.mark.integration


def by_key(
    records: Mapping[int, Sequence[tuple[int, Content]]], place: Mapping[bytes, int] | None
) -> dict[object, list[Content]]:
    """Records of each key in their order, with the partition it is expected in; those without a key together, sorted."""
    found: dict[object, list[Content]] = defaultdict(list)
    for number, contents in sorted(records.items()):
        for _, content in contents:
            key = content.key
            found[None if key is None else (key, number if place is None else place[key])].append(content)
    found[None].sort(key=repr)
    return found


@pytest.mark.exact("repartitioned")
@pytest.mark.parametrize("partitions", [7, 2])
def test_every_key_where_producers_put_it(kafka: KafkaCluster, proof: Proof, tmp_path: Path, partitions: int) -> None:
    name, settings = unique("by-key"), kafka.client_properties
    create_topic(settings, name, partitions=3, config={"retention.ms": "-1"})
    for number, codec in enumerate(("none", "lz4", "zstd")):
        produce(settings, name, samples(number, 60), codec=codec, batch_num_messages=7, **LIKE_JAVA)
    produce_transaction({**settings, **LIKE_JAVA}, name, samples(3, 30), transactional_id=unique("t"), commit=False)
    produce_transaction({**settings, **LIKE_JAVA}, name, samples(4, 30), transactional_id=unique("t"), commit=True)
    aborted = {sample.value for sample in samples(3, 30) if sample.value is not None}
    target = f"{name}-again"
    with Cluster(kafka.cluster_config()) as cluster:
        live, repository = Live(kafka, cluster), new_repository()
        point = live.back_up(repository, name).point
        live.put_back(
            repository,
            point,
            renames=(Rename.parse(f"{name}={target}"),),
            repartition=((name, partitions),),
            spool_dir=str(tmp_path),
        )
    source, found = read_positions(settings, name), read_positions(settings, target)
    keys = {content.key for records in source.values() for _, content in records if content.key is not None}
    place = by_producers(kafka, keys, partitions)
    proof.on(kafka.version)
    proof.same(by_key(source, place), by_key(found, None), aborted=aborted)
    delete_topics(settings, [name, target])
