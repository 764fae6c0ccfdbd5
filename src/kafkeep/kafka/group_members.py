"""Who is in which group: members of groups of every type. The function here is `SettingsAdmin`'s method."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from kafkeep.errors import KafkaError, KafkaUnsupported
from kafkeep.inventory import GroupMember, GroupMembers
from kafkeep.kafka.apis import DESCRIBE_CONSUMER_GROUPS, DESCRIBE_GROUPS, Api
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.groups import GROUPS_PER_REQUEST, UNKNOWN_TYPE, GroupListing, chunks
from kafkeep.kafka.routing import GroupAnswers, by_coordinator
from kafkeep.kafka.settings_apis import DESCRIBE_SHARE_GROUPS, DESCRIBE_STREAMS_GROUPS

_APIS: Final[Mapping[str, Api]] = {
    "consumer": DESCRIBE_CONSUMER_GROUPS,
    "share": DESCRIBE_SHARE_GROUPS,
    "streams": DESCRIBE_STREAMS_GROUPS,
}


def group_members(client: ControlClient, listings: Collection[GroupListing]) -> dict[str, GroupMembers | KafkaError]:
    """Members of each group, sorted by member id. A group that went away meanwhile has none."""
    found: dict[str, GroupMembers | KafkaError] = {}
    kinds: dict[str, list[str]] = {}
    for listing in listings:
        kinds.setdefault("classic" if listing.type == UNKNOWN_TYPE else listing.type, []).append(listing.group_id)
    for kind, groups in sorted(kinds.items()):
        found |= _members(client, kind, groups)
    return found


def _members(client: ControlClient, kind: str, groups: Sequence[str]) -> dict[str, GroupMembers | KafkaError]:
    def ask(node: int, mine: Sequence[str]) -> GroupAnswers[GroupMembers]:
        answers: GroupAnswers[GroupMembers] = {}
        for chunk in chunks(mine, GROUPS_PER_REQUEST):
            if kind == "classic":
                answer = client.send(DESCRIBE_GROUPS, {"groups": list(chunk)}, to=node)
            else:
                answer = client.send(_APIS[kind], {"group_ids": list(chunk)}, to=node)
            answers |= {item.group_id: _answer(kind, item) for item in answer.groups}
        return answers

    if kind != "classic" and kind not in _APIS:
        error = KafkaUnsupported(f"groups of type {kind} are not known here")
        return dict.fromkeys(groups, error)
    try:
        return by_coordinator(client, groups, ask, what=f"members of {kind} group")
    except KafkaUnsupported as error:
        return dict.fromkeys(groups, error)


def _answer(kind: str, item: Any) -> tuple[int, GroupMembers | None]:
    if item.error_code == ErrorCode.GROUP_ID_NOT_FOUND:
        return 0, GroupMembers(item.group_id, kind, "Dead", ())
    if item.error_code:
        return item.error_code, None
    return 0, GroupMembers(
        item.group_id,
        kind,
        item.group_state,
        tuple(sorted(_member(member) for member in item.members)),
    )


def _member(item: Any) -> GroupMember:
    # The classic protocol and the later ones call a static member's id by two names; share members have none.
    instance = getattr(item, "group_instance_id", None)
    if instance is None:
        instance = getattr(item, "instance_id", None)
    return GroupMember(item.member_id, "" if instance is None else instance, item.client_id, item.client_host)
