"""Settings of a topic while it is loaded, and afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.restore.guard import OLD_TIMESTAMP_LIMIT, TIMESTAMP_LIMITS, final_configs, guard_for

NO_LIMIT = str(2**63 - 1)
NOTHING: frozenset[tuple[str, str]] = frozenset()
OLD_BROKER = frozenset((name, NO_LIMIT) for name in TIMESTAMP_LIMITS)
NEW_BROKER = frozenset({(OLD_TIMESTAMP_LIMIT, NO_LIMIT)})

CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "retention.ms": st.sampled_from(["-1", "1000"]),
        "retention.bytes": st.sampled_from(["-1", "1000"]),
        "cleanup.policy": st.sampled_from(["delete", "compact", "compact,delete"]),
        "compression.type": st.sampled_from(["producer", "gzip"]),
        "message.timestamp.type": st.sampled_from(["CreateTime", "LogAppendTime"]),
        "max.message.bytes": st.sampled_from(["1000", "5000000"]),
        "message.timestamp.after.max.ms": st.just("5"),
        "remote.storage.enable": st.sampled_from(["true", "false"]),
        "segment.ms": st.just("100"),
    },
)


def loading(
    configs: dict[str, str], largest: int = 0, unsupported: frozenset[tuple[str, str]] = NEW_BROKER
) -> dict[str, str]:
    return dict(guard_for(sorted(configs.items()), largest, unsupported).configs)


@given(CONFIGS, st.integers(0, 10**7), st.sampled_from([NOTHING, OLD_BROKER, NEW_BROKER]))
def test_ending_the_guard_leaves_exactly_the_settings_of_the_end(
    configs: dict[str, str], largest: int, unsupported: frozenset[tuple[str, str]]
) -> None:
    guard = guard_for(sorted(configs.items()), largest, unsupported)
    after = dict(guard.configs) | dict(guard.put_back)
    for name in guard.remove:
        del after[name]
    assert after == configs
    assert not set(guard.remove) & dict(guard.put_back).keys()


@given(CONFIGS, st.integers(0, 10**7))
def test_nothing_is_deleted_changed_or_refused_while_loading(configs: dict[str, str], largest: int) -> None:
    found = loading(configs, largest)
    assert (found["retention.ms"], found["retention.bytes"], found["cleanup.policy"]) == ("-1", "-1", "delete")
    assert (found["compression.type"], found["message.timestamp.type"]) == ("producer", "CreateTime")
    assert int(found["max.message.bytes"]) >= max(2 * largest, int(configs.get("max.message.bytes", 0)))
    assert found["message.timestamp.before.max.ms"] == found["message.timestamp.after.max.ms"] == NO_LIMIT
    assert found.get("remote.storage.enable", "false") == "false"
    assert found.get("segment.ms") == configs.get("segment.ms")


def test_old_brokers_have_one_limit_for_both_sides() -> None:
    found = loading({}, unsupported=OLD_BROKER)
    assert found[OLD_TIMESTAMP_LIMIT] == NO_LIMIT
    assert not set(TIMESTAMP_LIMITS) & found.keys()
    assert OLD_TIMESTAMP_LIMIT not in loading({}, unsupported=NOTHING)


def test_a_broker_that_knows_no_limit_gets_none() -> None:
    assert not {*TIMESTAMP_LIMITS, OLD_TIMESTAMP_LIMIT} & loading({}, unsupported=OLD_BROKER | NEW_BROKER).keys()


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ([("retention.ms", "5"), ("x", None)], {"retention.ms": "5"}),
        ([("leader.replication.throttled.replicas", "*"), ("follower.replication.throttled.replicas", "*")], {}),
        ([("message.downconversion.enable", "true"), ("a", "b")], {"a": "b"}),
        ([("min.insync.replicas", "3")], {"min.insync.replicas": "2"}),
        ([("min.insync.replicas", "1")], {"min.insync.replicas": "1"}),
    ],
)
def test_what_a_created_topic_has_in_the_end(configs: list[tuple[str, str | None]], expected: dict[str, str]) -> None:
    unsupported = frozenset({("message.downconversion.enable", "true")})
    found = final_configs(configs, unsupported, replication_factor=2, retention="restore")
    assert dict(found) == expected


def test_retention_may_be_held_off() -> None:
    found = dict(final_configs([("retention.ms", "5")], NOTHING, replication_factor=1, retention="hold"))
    assert found == {"retention.ms": "-1", "retention.bytes": "-1"}
    assert guard_for(sorted(found.items()), 0, NOTHING).put_back == ()
