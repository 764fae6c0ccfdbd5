"""Choosing names, and the names they get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.errors import UsageError
from kafkeep.renaming import Rename, renamed
from kafkeep.selection import Selection, matches

NAMES = ("orders", "orders.eu", "invoices", "__consumer_offsets", "__mine", "_one")
TOPIC_NAMES = st.text("abcXYZ019._-", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("include", "exclude", "chosen"),
    [
        (("*",), (), {"orders", "orders.eu", "invoices", "_one"}),
        (("orders*",), (), {"orders", "orders.eu"}),
        (("orders",), (), {"orders"}),
        (("order?", "inv*"), (), {"orders", "invoices"}),
        (("*",), ("*.eu", "_*"), {"orders", "invoices"}),
        (("__*",), (), {"__consumer_offsets", "__mine"}),
        (("__*", "*"), ("__c*",), {"orders", "orders.eu", "invoices", "_one", "__mine"}),
        (("re:orders(\\.eu)?",), (), {"orders", "orders.eu"}),
        (("re:order",), (), set()),
        (("re:.*",), (), {"orders", "orders.eu", "invoices", "_one"}),
        (("re:^__.*",), (), {"__consumer_offsets", "__mine"}),
        (("[io]*",), (), {"orders", "orders.eu", "invoices"}),
        ((), (), set()),
    ],
)
def test_what_patterns_choose(include: tuple[str, ...], exclude: tuple[str, ...], chosen: set[str]) -> None:
    selection = Selection(include, exclude)
    assert set(selection.pick(NAMES)) == chosen
    assert selection.pick(reversed(NAMES)) == tuple(sorted(chosen))
    assert all((name in selection) == (name in chosen) for name in NAMES)


def test_groups_may_begin_with_two_underscores_like_any_other() -> None:
    assert set(Selection(("*",), hides_internal=False).pick(NAMES)) == set(NAMES)


def test_only_exact_names_must_exist() -> None:
    selection = Selection(("orders", "inv*", "re:x", "missing", "a[bc]"))
    assert selection.exact_names() == ("orders", "missing")
    assert selection.unmatched(["orders", "other"]) == ("missing",)


def test_a_bad_regular_expression_is_named() -> None:
    with pytest.raises(UsageError, match="re:"):
        matches("re:(", "x")


@pytest.mark.parametrize(
    ("rule", "topic", "expected"),
    [
        ("s/^/restored-/", "orders", "restored-orders"),
        ("s/orders/bills/", "orders.orders", "bills.orders"),
        ("s|^(.*)\\.eu$|eu.\\1|", "orders.eu", "eu.orders"),
        ("s#x#y#", "orders", "orders"),
        ("s/[.]eu//", "orders.eu", "orders"),
        ("orders=bills", "orders", "bills"),
        ("orders=bills", "orders.eu", "orders.eu"),
        ("s-a-b-c=x", "s-a-b-c", "x"),
        ("s.eu.v1.log=s.us.v1.log", "s.eu.v1.log", "s.us.v1.log"),
        ("s=a=b", "s", "a=b"),
    ],
)
def test_what_a_rule_makes_of_a_name(rule: str, topic: str, expected: str) -> None:
    assert Rename.parse(rule).apply(topic) == expected


@pytest.mark.parametrize(
    "rule", ["", "s", "s/a/b", "s/(/b/", "s/a/\\2/", "s/a/\\g<n>/", "s/a/b/g", "orders", "=b", "a=", "s/a/b/c/d"]
)
def test_what_is_no_rule_is_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="rename"):
        Rename.parse(rule)


def test_the_first_rule_that_changes_a_name_decides() -> None:
    rules = [Rename.parse(rule) for rule in ("a=b", "s/^/x-/", "b=c")]
    assert [renamed(topic, rules) for topic in ("a", "b", "d")] == ["b", "x-b", "x-d"]
    assert renamed("a", []) == "a"


@given(TOPIC_NAMES, TOPIC_NAMES, TOPIC_NAMES)
def test_any_legal_name_can_be_given_another(old: str, new: str, other: str) -> None:
    rule = Rename.parse(f"{old}={new}")
    assert rule.apply(old) == new
    assert rule.apply(other) == (new if other == old else other)
