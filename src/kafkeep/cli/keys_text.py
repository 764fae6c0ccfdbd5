"""Keys, and what was done to them, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import count_text, plural, size_text

if TYPE_CHECKING:
    from kafkeep.keys.plan import (
        AddedRecipient,
        KeyCheck,
        KeyListing,
        RecipientLine,
        RemovalPlan,
        RemovedRecipient,
        ShredPlan,
        ShredResult,
    )
    from kafkeep.model import Failure

SHOWN = 50


def listing_parts(found: KeyListing) -> tuple[Part, ...]:
    recipients = tuple(
        (line.id, line.name, _since(line), "passphrase" if line.passphrase else "identity", line.recipient)
        for line in found.recipients
    )
    parts: list[Part] = [Grid(("id", "name", "since", "opened by", "recipient"), recipients)]
    topic_keys = tuple(
        (line.topic, line.topic_id, line.id, "yes" if line.current else "", count_text(line.runs))
        for line in found.topic_keys
    )
    if topic_keys:
        parts += ["", Grid(("topic", "topic id", "key", "current", ">runs"), topic_keys)]
    if found.shredded:
        parts.append(f"shredded: records of {', '.join(found.shredded)}")
    if found.left_over:
        parts.append(
            f"{plural(len(found.left_over), 'key object')} of shredded topics or of no recipient: `kafkeep keys shred` and"
            " `kafkeep keys remove` delete them"
        )
    return tuple(parts)


def _since(line: RecipientLine) -> str:
    return "before the log begins" if line.since is None else line.since


def added_parts(done: AddedRecipient) -> tuple[Part, ...]:
    who = done.recipient + (f" ({done.name})" if done.name else "")
    if done.commit is None:
        return (f"{who} is a recipient already; {plural(done.wrapped, 'key')} wrapped that it lacked",)
    return (f"{who} can open everything from commit {done.commit} on: {plural(done.wrapped, 'key')} wrapped",)


def removal_parts(plan: RemovalPlan) -> tuple[Part, ...]:
    who = plan.id + (f" ({plan.name})" if plan.name else "")
    what = "is no recipient any more" if plan.public is None else "is to be removed"
    parts: list[Part] = [f"{who} {what}; {plural(len(plan.objects), 'key object')} to be deleted"]
    parts.append(
        "what it could read it may have kept, with the keys to it; it knows the metadata key too, which shows names, counts"
        " and offsets, also of what is to come, to somebody who reads the store"
    )
    if plan.own:
        parts.append("it is the identity that this command opened the repository with")
    return (*parts, *(f"refused: {refusal}" for refusal in plan.refusals))


def removed_parts(done: RemovedRecipient) -> tuple[Part, ...]:
    told = "" if done.commit is None else f" by commit {done.commit}; what is written next it cannot open"
    return (*removal_parts(done.plan), f"removed{told}", *_deleted(done.deleted, done.failures))


def check_parts(found: KeyCheck) -> tuple[Part, ...]:
    parts: list[Part] = []
    bad = (*found.damaged, *found.missing)
    if bad:
        rows = tuple((each.topic, each.topic_id, each.key, each.what) for each in bad[:SHOWN])
        parts.append(Grid(("topic", "topic id", "key", "why it cannot be opened"), rows))
    if len(bad) > SHOWN:
        parts.append(f"and {len(bad) - SHOWN} more; --json gives all of them")
    parts.append(f"{plural(found.opened, 'topic key')} opened by {found.recipient}, {len(bad)} not")
    parts += [
        f"recipient {recipient}{f' ({name})' if name else ''} lacks {plural(count, 'key')}: add it again"
        for recipient, name, count in found.others
    ]
    return tuple(parts)


def shred_plan_parts(plan: ShredPlan) -> tuple[Part, ...]:
    parts: list[Part] = []
    if plan.topics:
        rows = tuple((topic, topic_id) for topic, topic_id in plan.topics)
        points = plural(len(plan.points), "recovery point")
        parts.append(Grid(("topic", "topic id"), rows))
        parts.append(
            f"{plural(plan.records, 'record')} in {plural(plan.runs, 'run')} ({size_text(plan.stored_bytes)}) of {points} can"
            f" never be opened again: {plural(len(plan.keys), 'key')} to be deleted"
        )
    if plan.left_over:
        parts.append(f"{plural(len(plan.left_over), 'key object')} of topics shredded before to be deleted")
    return (*parts, *(f"refused: {refusal}" for refusal in plan.refusals)) or ("nothing is left to be shredded",)


def shred_parts(done: ShredResult) -> tuple[Part, ...]:
    parts: list[Part] = [*shred_plan_parts(done.plan)]
    if done.commit is not None:
        parts.append(f"shredded by commit {done.commit}")
    parts += _deleted(done.deleted, done.failures)
    parts.append(
        "names, counts and offsets stay; so do keys in old versions of objects, under object lock and in copies: what keeps"
        " those keeps the records readable to an identity"
    )
    if done.plan.topics:
        parts.append("the next backup keeps what these topics receive from here on: leave them out if it should not")
    return tuple(parts)


def _deleted(count: int, failures: tuple[Failure, ...]) -> list[Part]:
    parts: list[Part] = [f"deleted {plural(count, 'key object')}"]
    if failures:
        rows = tuple((failure.subject, failure.reason, failure.message) for failure in failures[:SHOWN])
        parts.append(Grid(("not deleted", "reason", "message"), rows))
    return parts
