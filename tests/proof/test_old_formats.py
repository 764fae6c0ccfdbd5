"""Message sets of magic 0 and 1, as releases before 0.11 wrote them: laid into a stopped broker's log, served by it as
they are, and read by confluent-kafka before and after.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from tests.support.kafka import Content, NewKafka, create_topic, unique
from tests.support.live import RENAME, RESTORED, Filling, Live, contents, new_repository, until
from tests.support.oracle import batches_of
from tests.support.proof import Proof

from kafkeep.kafka.cluster import Cluster

pytestmark = pytest.mark.integration

GZIP, LZ4 = 1, 3
LZ4_HEAD = bytes.fromhex("04224d18604082")
"""Of a frame with independent blocks; Kafka takes no other. A block whose size has the highest bit set is stored."""
NO_TIMESTAMP = -1
TIME = 1_450_000_000_000


class Old(NamedTuple):
    key: bytes | None
    value: bytes | None
    timestamp: int = NO_TIMESTAMP


def message(magic: int, offset: int, old: Old, *, attributes: int = 0) -> bytes:
    """One message: offset and size, then CRC-32 over the rest (org.apache.kafka.common.record.LegacyRecord)."""
    body = struct.pack(">bb", magic, attributes)
    if magic == 1:
        body += struct.pack(">q", old.timestamp)
    for part in (old.key, old.value):
        body += struct.pack(">i", -1) if part is None else struct.pack(">i", len(part)) + part
    body = struct.pack(">I", zlib.crc32(body)) + body
    return struct.pack(">qi", offset, len(body)) + body


def wrapped(magic: int, first: int, olds: Sequence[Old], codec: int) -> bytes:
    """A compressed message around others: it has the offset of the last; inside, magic 1 counts from 0."""
    start = first if magic == 0 else 0
    inner = b"".join(message(magic, start + at, old) for at, old in enumerate(olds))
    packed = (
        gzip.compress(inner) if codec == GZIP else LZ4_HEAD + struct.pack("<I", len(inner) | 1 << 31) + inner + bytes(4)
    )
    around = Old(None, packed, max(old.timestamp for old in olds))
    return message(magic, first + len(olds) - 1, around, attributes=codec)


def old_log() -> tuple[bytes, list[Old]]:
    """A log segment with both magics, plain and compressed, and what is in it."""
    log, held = b"", list[Old]()
    for magic, codec in ((0, 0), (0, GZIP), (1, 0), (1, GZIP), (1, LZ4), (0, 0), (1, GZIP)):
        pairs: list[tuple[bytes | None, bytes | None]] = [(None, b""), (b"", None), (b"k", b"v" * 300), (None, None)]
        olds = [Old(key, value, TIME - 7 * at if magic else NO_TIMESTAMP) for at, (key, value) in enumerate(pairs)]
        if codec:
            log += wrapped(magic, len(held), olds, codec)
        else:
            log += b"".join(message(magic, len(held) + at, old) for at, old in enumerate(olds))
        held += olds
    return log, held


def timed(content: Content) -> Content:
    """Magic 0 has no time, which librdkafka tells as kind 0 and Java as -1: so must magic 2, where -1 stands for none."""
    return content if content.timestamp_type else content._replace(timestamp_type=1, timestamp=NO_TIMESTAMP)


@pytest.mark.exact("old-formats")
@pytest.mark.parametrize("version", ["4.3.1", "3.9.2"])
def test_message_sets_of_old_releases(new_kafka: NewKafka, version: str, proof: Proof) -> None:
    kafka = new_kafka(kafka=version)
    topic, node = unique("old"), kafka.lab.node(1)
    create_topic(
        kafka.client_properties, topic, config={"retention.ms": "-1", "message.timestamp.before.max.ms": "9" * 18}
    )
    node.stop()
    (data,) = [path.parent for path in node.log_file.parent.glob(f"data-*/{topic}-0/*.log")]
    log, held = old_log()
    for index in (*data.glob("*.index"), *data.glob("*.timeindex"), *data.parent.glob(".kafka_cleanshutdown")):
        index.unlink()
    (data / "00000000000000000000.log").write_bytes(log)
    node.start()
    with Cluster(kafka.cluster_config()) as cluster:
        live = Live(kafka, cluster)
        until(lambda: len(live.seen(topic)[0]) == len(held), what="the broker serving the old log")
        Filling(kafka, topic).produce(10)
        before = live.seen(topic)
        assert [(c.key, c.value) for _, c in before[0][: len(held)]] == [old[:2] for old in held]
        repository = new_repository()
        result = live.back_up(repository, topic)
        assert result.point is not None and result.failures == () and result.gaps == ()
        (view,) = repository.view(result.point).partitions
        assert {info.magic for info, _ in batches_of(repository, view)} == {0, 1, 2}, "kept as they were"
        restored = live.put_back(repository, result.point, renames=RENAME)
        assert restored.failures == ()
        proof.on(version)
        untimed = {part: [timed(one) for one in records] for part, records in contents(before).items()}
        proof.same(untimed, contents(live.seen(RESTORED + topic)))
        assert live.compare(repository, result.point, renames=RENAME).identical
