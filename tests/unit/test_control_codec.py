"""The codec seam: what is written, and that nothing a peer sends can do worse than raise KafkaProtocolError."""

from __future__ import annotations

import gc
import importlib
import logging
import pkgutil
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import codec

import kafkeep.kafka
from kafkeep.errors import KafkaProtocolError
from kafkeep.kafka import apis
from kafkeep.kafka.apis import Api, cap_library_loggers
from kafkeep.kafka.control import topic_id
from kafkeep.model import NO_TOPIC_ID, topic_id_bytes

APIS = {name: api for name, api in vars(apis).items() if isinstance(api, Api)}


def compact(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode()


def test_every_api_is_the_one_its_name_says() -> None:
    keys = {
        "FIND_COORDINATOR": 10, "CREATE_TOPICS": 19, "DELETE_TOPICS": 20,
        "DESCRIBE_CONFIGS": 32, "ALTER_CONFIGS": 44, "DELETE_RECORDS": 21, "INIT_PRODUCER_ID": 22, "LIST_GROUPS": 16,
        "DESCRIBE_GROUPS": 15, "DESCRIBE_CONSUMER_GROUPS": 69, "OFFSET_FETCH": 9, "OFFSET_COMMIT": 8,
        "OFFSET_DELETE": 47, "DELETE_GROUPS": 42,
        "DESCRIBE_SHARE_OFFSETS": 90, "ALTER_SHARE_OFFSETS": 91, "DELETE_SHARE_OFFSETS": 92,
        "DESCRIBE_TRANSACTIONS": 65, "LIST_TRANSACTIONS": 66,
    }  # fmt: skip
    assert {name: api.key for name, api in APIS.items()} == keys


def test_positions_are_never_sent_or_read_by_topic_id() -> None:
    assert apis.OFFSET_FETCH.highest == apis.OFFSET_COMMIT.highest == 9


def test_list_offsets_bytes() -> None:
    wanted = [{"partition_index": 7, "current_leader_epoch": 3, "timestamp": -1}]
    body = {"replica_id": -1, "isolation_level": 1, "topics": [{"name": "t", "partitions": wanted}], "timeout_ms": 5}
    partition = struct.pack(">iiq", 7, 3, -1)
    assert codec.LIST_OFFSETS.encode(5, body) == (
        struct.pack(">ib", -1, 1) + b"\0\0\0\1" + b"\0\1t" + b"\0\0\0\1" + partition
    )
    assert codec.LIST_OFFSETS.encode(10, body) == (
        struct.pack(">ib", -1, 1) + b"\2" + compact("t") + b"\2" + partition + b"\0" + b"\0" + b"\0\0\0\5" + b"\0"
    )


def test_consumer_group_describe_bytes() -> None:
    """KIP-848's message is defined in this package; written out here by hand from Kafka's definition."""
    assert apis.DESCRIBE_CONSUMER_GROUPS.encode(0, {"group_ids": ["g1", "g2"]}) == (
        b"\3" + compact("g1") + compact("g2") + b"\0" + b"\0"
    )
    some_id = uuid.UUID(int=5)
    assignment = b"\2" + some_id.bytes + compact("t") + b"\2" + struct.pack(">i", 4) + b"\0" + b"\0"
    member = (
        compact("m") + b"\0" + b"\0" + struct.pack(">i", 9) + compact("c") + compact("/h")
        + b"\2" + compact("t") + b"\0" + assignment + assignment + b"\1" + b"\0"
    )  # fmt: skip
    group = (
        struct.pack(">h", 0) + b"\0" + compact("g1") + compact("Stable") + struct.pack(">ii", 3, 3) + compact("uniform")
        + b"\2" + member + struct.pack(">i", -(2**31)) + b"\0"
    )  # fmt: skip
    answer = apis.DESCRIBE_CONSUMER_GROUPS.decode(1, memoryview(struct.pack(">i", 0) + b"\2" + group + b"\0"))
    assert (answer.groups[0].group_id, answer.groups[0].group_state) == ("g1", "Stable")
    found = answer.groups[0].members[0]
    assert (found.member_id, found.member_type) == ("m", 1)
    assert found.target_assignment.topic_partitions[0].partitions == [4]


def test_a_null_where_none_is_allowed_is_refused() -> None:
    v5 = struct.pack(">i", 0) + struct.pack(">i", 1) + b"\0\1t" + struct.pack(">i", -1)
    with pytest.raises(KafkaProtocolError, match="ListOffsets version 5 lacks partitions"):
        codec.LIST_OFFSETS.decode(5, memoryview(v5))


def test_a_null_where_one_is_allowed_is_read() -> None:
    topic = b"\0\0" + compact("t") + bytes(16) + b"\0" + b"\1" + struct.pack(">i", 0) + b"\0"
    v12 = struct.pack(">i", 0) + b"\1" + b"\0" + struct.pack(">i", 1) + b"\2" + topic + b"\0"
    answer = codec.METADATA.decode(12, memoryview(v12))
    assert answer.cluster_id is None
    assert topic_id(answer.topics[0].topic_id) == NO_TOPIC_ID


def test_ten_thousand_partitions_are_read_in_one_answer() -> None:
    replicas = b"\4" + struct.pack(">iii", 1, 2, 3)

    def topic(index: int) -> bytes:
        partitions = b"".join(
            struct.pack(">hiii", 0, number, 1, 5) + replicas + replicas + b"\1" + b"\0" for number in range(10)
        )
        return b"\0\0" + compact(f"topic-{index}") + bytes(15) + b"\1" + b"\0" + b"\x0b" + partitions + bytes(5)

    head = struct.pack(">i", 0) + b"\1" + compact("cluster") + struct.pack(">i", 1)
    answer = codec.METADATA.decode(12, memoryview(head + b"\xe9\x07" + b"".join(map(topic, range(1000))) + b"\0"))
    assert sum(len(found.partitions) for found in answer.topics) == 10_000
    last = answer.topics[-1].partitions[-1]
    assert (last.partition_index, last.leader_id, last.leader_epoch, last.isr_nodes) == (9, 1, 5, [1, 2, 3])


def test_an_unknown_field_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        apis.LIST_GROUPS.encode(4, {"no_such_field": 1})


def test_share_group_messages_bytes() -> None:
    """KIP-932's messages are defined in this package; written out here by hand from Kafka's definitions."""
    partition = {"partition_index": 7, "start_offset": 5}
    body = {"group_id": "g", "topics": [{"topic_name": "t", "partitions": [partition]}]}
    assert apis.ALTER_SHARE_OFFSETS.encode(0, body) == (
        compact("g") + b"\2" + compact("t") + b"\2" + struct.pack(">iq", 7, 5) + b"\0" + b"\0" + b"\0"
    )
    body = {"group_id": "g", "topics": [{"topic_name": "t"}]}
    assert apis.DELETE_SHARE_OFFSETS.encode(0, body) == compact("g") + b"\2" + compact("t") + b"\0" + b"\0"
    body = {"groups": [{"group_id": "g", "topics": None}]}
    assert apis.DESCRIBE_SHARE_OFFSETS.encode(1, body) == b"\2" + compact("g") + b"\0" + b"\0" + b"\0"
    told = struct.pack(">iqiqh", 7, 5, 2, 9, 0) + b"\0" + b"\0"
    topic = compact("t") + uuid.UUID(int=5).bytes + b"\2" + told + b"\0"
    group = compact("g") + b"\2" + topic + struct.pack(">h", 0) + b"\0" + b"\0"
    answer = apis.DESCRIBE_SHARE_OFFSETS.decode(1, memoryview(struct.pack(">i", 0) + b"\2" + group + b"\0"))
    found = answer.groups[0].topics[0].partitions[0]
    assert (found.partition_index, found.start_offset, found.leader_epoch, found.lag) == (7, 5, 2, 9)


@pytest.mark.parametrize("name", sorted(APIS))
@given(data=st.data())
def test_garbage_raises_nothing_but_a_protocol_error(name: str, data: st.DataObject) -> None:
    api = APIS[name]
    version = data.draw(st.integers(api.lowest, api.highest))
    noise = data.draw(st.binary(max_size=200))
    try:
        api.decode(version, memoryview(noise))
    except KafkaProtocolError as error:
        assert api.name in str(error)


@given(raw=st.binary(min_size=16, max_size=16).filter(any))
def test_topic_ids_are_kafkas_text(raw: bytes) -> None:
    assert topic_id_bytes(topic_id(uuid.UUID(bytes=raw))) == raw


def test_library_loggers_stay_above_debug() -> None:
    names = ["kafka", "kafka.protocol.parser", "kafka.net.connection", "kafka.sasl.canary"]
    before = {name: logging.getLogger(name).level for name in names}
    root = logging.getLogger().level
    try:
        logging.getLogger().setLevel(logging.DEBUG)
        for name in names[:3]:
            logging.getLogger(name).setLevel(logging.DEBUG)
        cap_library_loggers()
        assert [name for name in names if logging.getLogger(name).isEnabledFor(logging.DEBUG)] == []
        assert logging.getLogger("kafka").isEnabledFor(logging.INFO)
    finally:
        logging.getLogger().setLevel(root)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def test_a_stricter_level_is_left_alone() -> None:
    logger = logging.getLogger("kafka.quiet")
    logger.setLevel(logging.ERROR)
    cap_library_loggers()
    assert logger.level == logging.ERROR


def test_messages_made_from_the_definition_alone_are_no_less_than_kafka_pythons() -> None:
    """Of the others, which kafka-python changes, its own class is taken: a new version may make more of them."""
    for found in pkgutil.iter_modules(kafkeep.kafka.__path__, "kafkeep.kafka."):
        importlib.import_module(found.name)
    known = {api.name: api for api in gc.get_objects() if isinstance(api, Api) and api._place != apis.OWN}
    assert len(known) > 25
    changed = set()
    for api in known.values():
        module = importlib.import_module(f"kafka.protocol.{api._place}")
        for ours in (api.request, api.response):
            theirs = getattr(module, ours.__name__)
            if set(vars(theirs)) - set(vars(ours)) - {"__qualname__", "__doc__"} or ours is theirs:
                changed.add(ours.__name__)
            else:
                assert theirs._json == ours._json and theirs.valid_versions == ours.valid_versions
    assert changed == apis._CHANGED
