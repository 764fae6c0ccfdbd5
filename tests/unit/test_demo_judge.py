"""The demo's judge finds every kind of difference: a judge that cannot say no proves nothing."""

from __future__ import annotations

import pytest
from demo.clients import Content
from demo.data import TOPICS
from demo.run import first_difference

ONE = Content(1, 1000, b"key", b"value", (("h", b"1"), ("h", b"2")))
TWO = Content(1, 2000, None, b"", ())
SOURCE = {0: [ONE, TWO], 1: [TWO]}


def test_equal_topics_are_equal() -> None:
    assert first_difference(SOURCE, {0: [ONE, TWO], 1: [TWO]}) is None


@pytest.mark.parametrize(
    "changed",
    [
        ONE._replace(key=None),
        ONE._replace(key=b""),
        ONE._replace(value=None),
        ONE._replace(value=b"value "),
        ONE._replace(timestamp=1001),
        ONE._replace(timestamp_type=2),
        ONE._replace(headers=(("h", b"2"), ("h", b"1"))),
        ONE._replace(headers=(("h", b"1"),)),
        ONE._replace(headers=(("h", b"1"), ("h", None))),
    ],
)
def test_a_changed_record_is_named(changed: Content) -> None:
    found = first_difference(SOURCE, {0: [changed, TWO], 1: [TWO]})
    assert found is not None
    assert found.startswith("partition 0, record 0: ")


def test_null_and_empty_are_not_the_same() -> None:
    assert first_difference({0: [TWO]}, {0: [TWO._replace(value=None)]}) is not None
    assert first_difference({0: [TWO]}, {0: [TWO._replace(key=b"")]}) is not None


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ({0: [TWO, ONE], 1: [TWO]}, "partition 0, record 0"),
        ({0: [ONE], 1: [TWO]}, "partition 0: 2 records before, 1 after"),
        ({0: [ONE, TWO, TWO], 1: [TWO]}, "partition 0: 2 records before, 3 after"),
        ({0: [ONE, TWO], 1: []}, "partition 1: 1 records before, 0 after"),
        ({0: [ONE, TWO]}, "2 partitions before, 1 after"),
    ],
)
def test_order_loss_and_excess_are_named(after: dict[int, list[Content]], told: str) -> None:
    found = first_difference(SOURCE, after)
    assert found is not None
    assert told in found


def test_the_demo_covers_every_codec_and_shape() -> None:
    assert {topic.codec for topic in TOPICS} == {"none", "gzip", "snappy", "lz4", "zstd"}
    assert {topic.shape for topic in TOPICS} == {"json", "headers", "deletions", "odd"}
    assert {topic.keyed for topic in TOPICS} == {True, False}
    assert any(topic.transactional for topic in TOPICS)
