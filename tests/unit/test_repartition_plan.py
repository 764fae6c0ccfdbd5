"""What a plan says of topics that are repartitioned, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.restore_plans import content, group, kinds, planned, there, topic

from kafkeep.cli.render import Grid
from kafkeep.cli.restore_text import plan_parts
from kafkeep.cli.selectors import parse_repartition
from kafkeep.cli.spooling import spool_folder
from kafkeep.errors import UsageError
from kafkeep.model import TopicPartition
from kafkeep.restore.plan import BY_KEY, CREATE, FILL, RestorePlan


def plan(*topics: Any, **options: Any) -> RestorePlan:
    return planned(*topics, **({"spool_dir": "/folder", "repartition": (("orders", 5),)} | options))


def messages(found: RestorePlan) -> list[str]:
    return [refusal.message for refusal in found.refusals]


def test_a_plain_plan() -> None:
    found = plan(topic("orders", partitions=3), topic("bills"))
    orders, bills = found.topics
    assert (orders.action, orders.partitions, orders.repartitioned_from) == (CREATE, 5, 3)
    assert (bills.partitions, bills.repartitioned_from) == (1, None)
    assert found.repartitioned == (orders,)
    assert [(str(part.source), part.target.partition) for part in found.partitions] == [
        ("orders/0", BY_KEY),
        ("orders/1", BY_KEY),
        ("orders/2", BY_KEY),
        ("bills/0", 0),
    ]
    assert (found.spool_bytes, found.raw_bytes) == (3000, 4000)
    assert found.refusals == ()
    (warning,) = found.warnings
    assert "records of 3 partitions are spread by key over 5: offsets are not mapped one to one" in warning
    parts = plan_parts(found)
    (grid,) = [part for part in parts if isinstance(part, Grid)]
    assert [row[3] for row in grid.rows] == ["3 to 5", "1"]
    told = "\n".join(part for part in parts if isinstance(part, str))
    assert "repartitioned by key (murmur2, as Java's producer does): orders (3 to 5)" in told
    assert "about 3 kB of the folder for temporary files" in told


def test_a_topic_that_exists() -> None:
    for count, refused in ((5, []), (3, ["orders has 3 partitions, --repartition asks for 5"])):
        found = plan(topic("orders", partitions=3), target={"orders": there("orders", partitions=count)})
        assert found.topics[0].action == FILL
        assert messages(found) == refused
    for existing in ("fail", "append"):
        target = {"orders": there("orders", partitions=5, empty=False)}
        found = plan(topic("orders", partitions=3), target=target, existing=existing)
        assert kinds(found) == [("target-not-empty", "orders")]
    plain = planned(topic("orders", partitions=3), target={"orders": there("orders", partitions=5)})
    assert messages(plain) == ["orders has 5 partitions, the source had 3"]
    assert "--repartition orders=5 spreads the records anew by key" in plain.refusals[0].hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"repartition": (("none", 5),)},
            "none is to be repartitioned, and is not among the chosen topics of the point",
        ),
        ({"repartition": (("orders", 0),)}, "orders cannot have 0 partitions: 1 to 10000"),
        ({"repartition": (("orders", 10_001),)}, "orders cannot have 10001 partitions: 1 to 10000"),
        ({"repartition": (("orders", 2), ("orders", 3))}, "orders is to be repartitioned twice"),
        (
            {"partitions": (("orders", frozenset({1})),)},
            "orders is to be repartitioned, and --partitions chooses some of its partitions",
        ),
        ({"spool_dir": None}, "no folder is named for the records that are repartitioned"),
        ({"topics": ("bills",)}, "orders is to be repartitioned, and is not among the chosen topics of the point"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], message: str) -> None:
    assert messages(plan(topic("orders", partitions=3), topic("bills"), **options)) == [message]


def test_the_option() -> None:
    assert parse_repartition("orders=12") == ("orders", 12)
    assert parse_repartition("a=b=3") == ("a=b", 3)
    for text in ("orders", "orders=", "=3", "orders=0", "orders=-1", "orders=1-3", "orders=x", "orders=99999999999"):
        with pytest.raises(UsageError, match="does not name a topic and its partitions"):
            parse_repartition(text)


def test_the_folder(tmp_path: Path) -> None:
    assert spool_folder(tmp_path) == str(tmp_path)
    assert spool_folder(None) is not None
    with pytest.raises(UsageError, match="is no folder"):
        spool_folder(tmp_path / "none")


def test_ranges_times_and_gaps_go_with_it() -> None:
    contents = [content("orders", 0, gaps=((50, 60),)), content("orders", 1)]
    found = plan(
        topic("orders", partitions=2),
        contents=contents,
        allow_loss="skip",
        from_offsets=((TopicPartition("orders", 1), 10),),
    )
    assert [(part.start, part.stop, part.lost) for part in found.partitions] == [(0, 100, 10), (10, 100, 0)]
    assert found.refusals == ()
    assert kinds(plan(topic("orders", partitions=2), contents=contents)) == [("declared-loss", "orders/0")]


def test_a_partition_that_was_not_captured() -> None:
    found = plan(topic("orders", partitions=2), contents=[content("orders", 0)], allow_loss="skip")
    assert [(str(each.source), each.target.partition) for each in found.missing] == [("orders/1", BY_KEY)]
    assert any(warning.endswith("nothing of it is restored") for warning in found.warnings)


def test_positions_of_groups() -> None:
    having = (group("readers", ("orders", 40), ("bills", 7)), group("others", ("bills", 3)))
    found = plan(topic("orders", partitions=3), topic("bills"), having=having)
    readers, others = found.groups
    (spread,) = readers.spread
    assert (spread.source, spread.target, spread.committed, spread.metadata) == ("orders", "orders", ((0, 40),), "m40")
    assert [position.committed for position in readers.positions] == [7]
    assert others.spread == ()
    assert any("1 group(s) begin" in warning and "readers" in warning for warning in found.warnings)
    assert plan(topic("orders", partitions=3), having=having, groups=()).groups == ()
    active = plan(
        topic("orders", partitions=3), having=(group("readers", ("orders", 40)),), active={"readers": "Stable"}
    )
    assert kinds(active) == [("group-active", "readers")]


def test_metadata_of_positions_is_kept_where_all_agree() -> None:
    having = (group("readers", ("orders", 40)),)
    same = having[0].offsets[0]
    other = type(same)(TopicPartition("orders", 1), 9, -1, "other")
    both = type(having[0])("readers", "classic", "Empty", "consumer", (same, other))
    (found,) = plan(topic("orders", partitions=3), having=(both,)).groups
    assert found.spread[0].committed == ((0, 40), (1, 9))
    assert found.spread[0].metadata == ""
    # Positions on what the point does not hold say nothing.
    beyond = type(same)(TopicPartition("orders", 8), 9, -1, "other")
    alone = type(having[0])("readers", "classic", "Empty", "consumer", (beyond,))
    assert plan(topic("orders", partitions=3), having=(alone,)).groups == ()
