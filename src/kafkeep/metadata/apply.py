"""Carrying out a metadata plan on a real cluster, step by step, and telling of each what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Final, Protocol, TypeVar

from kafkeep.errors import KafkaError, KafkaRequestError, KafkeepError, PlanRefused
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.inventory import ScramUser
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.config_changes import TOPIC, ConfigChange
from kafkeep.kafka.users import NewScramUser
from kafkeep.metadata.apply_services import SERVICE_STEPS, ServiceHands
from kafkeep.metadata.plan import (
    AddAcl,
    CreateTopic,
    MetadataPlan,
    RemoveAcl,
    RemoveTopic,
    RemoveUser,
    SchemaId,
    SetConfigs,
    SetFeature,
    SetQuota,
    SetTopicConfigs,
    SetUser,
    Step,
)
from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.secret import Secret
from kafkeep.services import NO_SERVICES, Services

SALT_BYTES: Final = 24
USERS_PER_REQUEST: Final = 500
S = TypeVar("S", bound=Step)


class Random(Protocol):
    def randbytes(self, n: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class StepResult:
    step: Step
    failure: Failure | None
    """None when the target is as the step wants it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataResult:
    plan: MetadataPlan
    steps: tuple[StepResult, ...]
    schema_ids: tuple[SchemaId, ...] = ()
    """Only with new ids of schemas: where each schema of the point is."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(result.failure for result in self.steps if result.failure is not None)

    @property
    def complete(self) -> bool:
        """True when everything that was asked for is on the target."""
        return not self.failures and not any(left.missing for left in self.plan.left_out)


def apply_metadata(
    cluster: Cluster,
    plan: MetadataPlan,
    *,
    passwords: Mapping[str, Secret],
    rng: Random,
    services: Services = NO_SERVICES,
    sink: EventSink = ignore,
) -> MetadataResult:
    """Does the plan's steps in their order; one that is refused does not stop the others.

    Raises `PlanRefused` when the plan holds refusals, and errors of the whole connection.
    """
    if plan.refusals:
        raise PlanRefused("; ".join(f"{refusal.subject}: {refusal.reason}" for refusal in plan.refusals))
    hands = _Hands(cluster, passwords, rng)
    beside = ServiceHands(services, plan)
    results: list[StepResult] = []
    for _, steps in groupby(plan.steps, key=type):
        todo = list(steps)
        sink(Stage(todo[0].area, f"{len(todo)} step(s)"))
        answers = beside.do(todo) if isinstance(todo[0], SERVICE_STEPS) else [*hands.do(todo)]
        results += [StepResult(step, _failure(step, answer)) for step, answer in zip(todo, answers, strict=True)]
    return MetadataResult(plan=plan, steps=tuple(results), schema_ids=beside.schema_ids)


def _failure(step: Step, answer: KafkeepError | None) -> Failure | None:
    return None if answer is None else Failure(f"{step.area}: {step.subject}", answer.slug, answer.message)


class _Hands:
    """One method for each kind of step: takes many, gives an answer for each."""

    def __init__(self, cluster: Cluster, passwords: Mapping[str, Secret], rng: Random) -> None:
        self._cluster = cluster
        self._passwords = passwords
        self._rng = rng

    def do(self, steps: Sequence[Step]) -> list[KafkaError | None]:
        """The answer to each of these steps, which are all of one kind."""
        match steps[0]:
            case SetFeature():
                return self._raise_features(_all(SetFeature, steps))
            case CreateTopic():
                return self._create_topics(_all(CreateTopic, steps))
            case RemoveTopic():
                return self._remove_topics(_all(RemoveTopic, steps))
            case SetTopicConfigs():
                return self._set_topic_configs(_all(SetTopicConfigs, steps))
            case SetConfigs():
                return self._set_configs(_all(SetConfigs, steps))
            case SetQuota():
                return self._set_quotas(_all(SetQuota, steps))
            case SetUser():
                return self._set_users(_all(SetUser, steps))
            case RemoveUser():
                return self._remove_users(_all(RemoveUser, steps))
            case AddAcl():
                return self._add_acls(_all(AddAcl, steps))
            case RemoveAcl():
                return self._remove_acls(_all(RemoveAcl, steps))
        raise TypeError(f"no way to do a {type(steps[0]).__name__}")

    def _raise_features(self, steps: Sequence[SetFeature]) -> list[KafkaError | None]:
        answers = self._cluster.settings.raise_features({step.subject: step.level for step in steps})
        return [answers[step.subject] for step in steps]

    def _create_topics(self, steps: Sequence[CreateTopic]) -> list[KafkaError | None]:
        wanted = [
            NewTopic(
                name=step.subject,
                partitions=step.partitions,
                replication_factor=step.replication_factor,
                configs=tuple((change.key, change.after) for change in step.changes if change.after is not None),
                assignments=step.assignments,
            )
            for step in steps
        ]
        answers = self._cluster.admin.create_topics(wanted)
        return [answer if isinstance(answer := answers[step.subject], KafkaError) else None for step in steps]

    def _remove_topics(self, steps: Sequence[RemoveTopic]) -> list[KafkaError | None]:
        answers = self._cluster.admin.delete_topics([step.subject for step in steps])
        return [
            None if _is(answers[s.subject], ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) else answers[s.subject] for s in steps
        ]

    def _set_topic_configs(self, steps: Sequence[SetTopicConfigs]) -> list[KafkaError | None]:
        return self._cluster.settings.alter_configs([_config_change(TOPIC, step.subject, step) for step in steps])

    def _set_configs(self, steps: Sequence[SetConfigs]) -> list[KafkaError | None]:
        return self._cluster.settings.alter_configs([_config_change(step.kind, step.name, step) for step in steps])

    def _set_quotas(self, steps: Sequence[SetQuota]) -> list[KafkaError | None]:
        answers = self._cluster.settings.alter_quotas({step.entity: dict(step.values) for step in steps})
        return [answers[step.entity] for step in steps]

    def _set_users(self, steps: Sequence[SetUser]) -> list[KafkaError | None]:
        def upsert(users: Sequence[ScramUser]) -> dict[str, KafkaError | None]:
            return self._cluster.settings.upsert_scram_users(
                [NewScramUser(user, self._passwords[user.name], self._rng.randbytes(SALT_BYTES)) for user in users]
            )

        return _by_user([step.user for step in steps], upsert)

    def _remove_users(self, steps: Sequence[RemoveUser]) -> list[KafkaError | None]:
        return _by_user([step.user for step in steps], self._cluster.settings.delete_scram_users)

    def _add_acls(self, steps: Sequence[AddAcl]) -> list[KafkaError | None]:
        answers = self._cluster.settings.create_acls([step.acl for step in steps])
        return [answers[step.acl] for step in steps]

    def _remove_acls(self, steps: Sequence[RemoveAcl]) -> list[KafkaError | None]:
        answers = self._cluster.settings.delete_acls([step.acl for step in steps])
        return [answers[step.acl] for step in steps]


def _all(kind: type[S], steps: Sequence[Step]) -> list[S]:
    """The steps, which are all of one kind."""
    return [step for step in steps if isinstance(step, kind)]


def _config_change(kind: str, name: str, step: Step) -> ConfigChange:
    values = tuple((change.key, change.after) for change in step.changes if change.after is not None)
    return ConfigChange(kind, name, values, tuple(change.key for change in step.changes if change.after is None))


def _by_user(
    users: Sequence[ScramUser], call: Callable[[Sequence[ScramUser]], Mapping[str, KafkaError | None]]
) -> list[KafkaError | None]:
    """Many in one request, which may name a user only once (ScramControlManager): one with two mechanisms takes two."""
    rounds: list[dict[str, int]] = []
    for place, user in enumerate(users):
        fitting = next((names for names in rounds if user.name not in names and len(names) < USERS_PER_REQUEST), None)
        if fitting is None:
            rounds.append(fitting := {})
        fitting[user.name] = place
    answers: list[KafkaError | None] = [None] * len(users)
    for names in rounds:
        told = call([users[place] for place in names.values()])
        for name, place in names.items():
            answers[place] = told[name]
    return answers


def _is(answer: KafkaError | None, code: int) -> bool:
    return isinstance(answer, KafkaRequestError) and answer.code == code
