"""SCRAM users (KIP-554). The functions here are `ClusterSettings`' methods.

Brokers tell who there is and with how many iterations, never salt or keys: to make a user again takes its password.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kafkeep.errors import KafkaError
from kafkeep.inventory import ScramUser
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.links import Fields
from kafkeep.kafka.routing import refused
from kafkeep.kafka.settings_apis import ALTER_SCRAM, DESCRIBE_SCRAM
from kafkeep.kafka.words import MECHANISMS, word
from kafkeep.records import dataclass
from kafkeep.secret import Secret

_HASHES: Final = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_RIGHT_TO_READ: Final = "DESCRIBE on the cluster"
_RIGHT_TO_CHANGE: Final = "ALTER on the cluster"


@dataclass(frozen=True, slots=True)
class NewScramUser:
    """A user to make or to give another password."""

    user: ScramUser
    password: Secret
    salt: bytes


def describe_scram_users(client: ControlClient) -> tuple[ScramUser, ...]:
    """All users with a SCRAM credential, one entry for each mechanism, sorted.

    Raises:
        KafkaAccessDenied: without DESCRIBE on the cluster; KafkaRequestError for other refusals.
    """
    # All users are asked for by an empty list: to a null one brokers never answer when the login lacks the right
    # (clients/common/requests/DescribeUserScramCredentialsRequest.getErrorResponse walks the list).
    answer = client.send(DESCRIBE_SCRAM, {"users": []}, to="any", retry=client.retry("describe SCRAM users"))
    if answer.error_code:
        raise refused(answer.error_code, "describe SCRAM users", right=_RIGHT_TO_READ, message=answer.error_message)
    found: list[ScramUser] = []
    for item in answer.results:
        if item.error_code == ErrorCode.RESOURCE_NOT_FOUND:
            continue
        if item.error_code:
            what = f"describe SCRAM user {item.user}"
            raise refused(item.error_code, what, right=_RIGHT_TO_READ, message=item.error_message)
        found += [
            ScramUser(item.user, word(MECHANISMS, info.mechanism), info.iterations) for info in item.credential_infos
        ]
    return tuple(sorted(found))


def upsert_scram_users(client: ControlClient, users: Sequence[NewScramUser]) -> dict[str, KafkaError | None]:
    """Makes the users, or replaces their credentials; None per user name that is done. The password does not leave
    this host: brokers get the salted one (RFC 5802 section 3, Hi).

    Raises ValueError for a mechanism that is not Kafka's.
    """
    return _alter(client, {"deletions": [], "upsertions": [_upsertion(new) for new in users]})


def delete_scram_users(client: ControlClient, users: Sequence[ScramUser]) -> dict[str, KafkaError | None]:
    """Takes credentials away; None per user name whose credential is gone."""
    deletions = [{"name": user.name, "mechanism": _number(user.mechanism)} for user in users]
    answers = _alter(client, {"deletions": deletions, "upsertions": []})
    return {name: None if _absent(error) else error for name, error in answers.items()}


def _alter(client: ControlClient, body: Fields) -> dict[str, KafkaError | None]:
    answer = client.send(ALTER_SCRAM, body, to="any", retry=client.retry("alter SCRAM users"))
    return {
        item.user: refused(
            item.error_code, f"alter SCRAM user {item.user}", right=_RIGHT_TO_CHANGE, message=item.error_message
        )
        if item.error_code
        else None
        for item in answer.results
    }


def _absent(error: KafkaError | None) -> bool:
    return getattr(error, "code", None) == ErrorCode.RESOURCE_NOT_FOUND


def _upsertion(new: NewScramUser) -> Fields:
    digest = _HASHES.get(new.user.mechanism)
    if digest is None:
        raise ValueError(f"{new.user.mechanism!r} is no SCRAM mechanism of Kafka")
    import hashlib  # loads OpenSSL

    salted = hashlib.pbkdf2_hmac(digest, new.password.reveal().encode(), new.salt, new.user.iterations)
    return {
        "name": new.user.name,
        "mechanism": _number(new.user.mechanism),
        "iterations": new.user.iterations,
        "salt": new.salt,
        "salted_password": salted,
    }


def _number(mechanism: str) -> int:
    for number, name in MECHANISMS.items():
        if name == mechanism:
            return number
    raise ValueError(f"{mechanism!r} is no SCRAM mechanism of Kafka")
