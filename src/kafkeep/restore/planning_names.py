"""What speaks against a restore by its names alone: topics, partitions and options that do not fit the point. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from kafkeep.model import TopicMetadata
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import Refusal
from kafkeep.restore.window import RULES

PLAN_REFUSED: Final = "plan-refused"
KAFKAS_OWN: Final = frozenset(
    {"__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata", "__remote_log_metadata"}
)
"""Topics that a broker keeps for itself (clients/common/internals/Topic.java): no client may fill them."""

MOST_PARTITIONS: Final = 10_000
"""So many of one topic a repartitioning takes: all of them are filled side by side."""


def option_refusals(options: RestoreOptions) -> list[Refusal]:
    refusals: list[Refusal] = []
    if options.route != "produce":
        refusals.append(Refusal(PLAN_REFUSED, options.route, f"route {options.route} is not one of: produce"))
    if options.until_rule not in RULES:
        message = f"rule {options.until_rule} is not one of: {', '.join(RULES)}"
        refusals.append(Refusal(PLAN_REFUSED, options.until_rule, message))
    since, until = options.since_timestamp, options.until_timestamp
    if since is not None and until is not None and since > until:
        refusals.append(
            Refusal(PLAN_REFUSED, "since", f"it would begin at {since} and end at {until}, which is earlier")
        )
    return refusals


def name_refusals(chosen: Sequence[TopicMetadata], names: Mapping[str, str], options: RestoreOptions) -> list[Refusal]:
    """Topics that the point does not hold, and target names that two would share or that Kafka keeps for itself."""
    known = [topic.name for topic in chosen]
    counts = {topic.name: len(topic.partitions) for topic in chosen}
    return [
        *_shared_names(names),
        *(Refusal(PLAN_REFUSED, n, f"the point holds no topic {n}") for n in options.selection.unmatched(known)),
        *(
            Refusal(PLAN_REFUSED, topic.name, f"{topic.name} is internal to Kafka: a broker takes no records for it")
            for topic in chosen
            if topic.internal
        ),
        *(
            Refusal(PLAN_REFUSED, new, f"{old} would be restored into {new}, which Kafka keeps for itself")
            for old, new in names.items()
            if new in KAFKAS_OWN and old != new
        ),
        *(
            Refusal(PLAN_REFUSED, name, f"{name} has no partition {number} in the point")
            for name, wanted in options.partitions
            for number in sorted(wanted)
            if number >= counts.get(name, 0)
        ),
    ]


def _shared_names(names: Mapping[str, str]) -> list[Refusal]:
    """Target names that are taken twice, and those that differ by `.` and `_` alone: brokers make no second topic of such
    a pair, for both would have the same metrics (Topic.hasCollision)."""
    hint = "Correct --rename, or choose fewer topics."
    refusals = [
        Refusal(
            PLAN_REFUSED,
            name,
            f"{', '.join(sorted(old for old, new in names.items() if new == name))} would all be restored into {name}",
            hint,
        )
        for name, count in Counter(names.values()).items()
        if count > 1
    ]
    alike: dict[str, set[str]] = {}
    for new in names.values():
        alike.setdefault(new.replace(".", "_"), set()).add(new)
    refusals += [
        Refusal(
            PLAN_REFUSED, min(found), f"{' and '.join(sorted(found))} are one name to Kafka, which allows one", hint
        )
        for found in alike.values()
        if len(found) > 1
    ]
    return refusals


def offset_refusals(chosen: Sequence[TopicMetadata], options: RestoreOptions) -> list[Refusal]:
    """Offsets given for partitions that are not restored, and ranges that end before they begin."""
    counts = {topic.name: len(topic.partitions) for topic in chosen}
    begins, ends = dict(options.from_offsets), dict(options.until_offsets)
    refusals: list[Refusal] = []
    for named in dict.fromkeys((*begins, *ends)):
        numbers = options.partitions_of(named.topic)
        begin, end = begins.get(named), ends.get(named)
        if named.topic not in counts:
            message = f"offsets are given for {named}, and {named.topic} is not among the chosen topics of the point"
            refusals.append(Refusal(PLAN_REFUSED, str(named), message))
        elif named.partition >= counts[named.topic]:
            refusals.append(Refusal(PLAN_REFUSED, str(named), f"the point holds no partition {named}"))
        elif numbers is not None and named.partition not in numbers:
            message = f"offsets are given for {named}, and --partitions leaves it out"
            refusals.append(Refusal(PLAN_REFUSED, str(named), message))
        elif begin is not None and end is not None and begin > end:
            message = f"{named} would begin at {begin} and end at {end}, which is earlier"
            refusals.append(Refusal(PLAN_REFUSED, str(named), message))
    return refusals


def repartition_refusals(chosen: Sequence[TopicMetadata], options: RestoreOptions) -> list[Refusal]:
    """Topics that are to be repartitioned and are not restored, counts that Kafka does not know, and what else is asked
    of such a topic that is about single partitions."""
    names = {topic.name for topic in chosen}
    refusals: list[Refusal] = []
    if options.repartition and options.spool_dir is None:
        message = "no folder is named for the records that are repartitioned"
        refusals.append(Refusal(PLAN_REFUSED, "spool", message, "Name one with --spool-dir."))
    for name, count in options.repartition:
        if name not in names:
            message = f"{name} is to be repartitioned, and is not among the chosen topics of the point"
            refusals.append(Refusal(PLAN_REFUSED, name, message))
        if not 1 <= count <= MOST_PARTITIONS:
            message = f"{name} cannot have {count} partitions: 1 to {MOST_PARTITIONS}"
            refusals.append(Refusal(PLAN_REFUSED, name, message))
        if options.partitions_of(name) is not None:
            message = f"{name} is to be repartitioned, and --partitions chooses some of its partitions"
            hint = "Leave one of the two out; --from-offset and --until-offset go with --repartition."
            refusals.append(Refusal(PLAN_REFUSED, name, message, hint))
    twice = [name for name, times in Counter(name for name, _ in options.repartition).items() if times > 1]
    refusals += [Refusal(PLAN_REFUSED, name, f"{name} is to be repartitioned twice") for name in twice]
    return refusals
