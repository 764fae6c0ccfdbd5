"""A cluster in memory that holds settings and permissions beside its records, and tells in which order it was changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tests.support.simulated_cluster import SimulatedCluster

from kafkeep.errors import KafkaError
from kafkeep.inventory import (
    BROKER,
    CLUSTER,
    Acl,
    ConfigValue,
    Feature,
    LogDir,
    Quota,
    QuotaEntity,
    ResourceConfigs,
    ScramUser,
)
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.config_changes import TOPIC, ConfigChange
from kafkeep.kafka.users import NewScramUser


class SimulatedSettings:
    """What `Cluster.settings` offers; `changed` has one word for each thing that was changed."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self.values: dict[tuple[str, str], dict[str, str]] = {}
        self.bindings: set[Acl] = set()
        self.limits: dict[QuotaEntity, dict[str, float]] = {}
        self.users: dict[tuple[str, str], int] = {}
        self.levels: dict[str, int] = {"metadata.version": 25}
        self.changed: list[str] = []
        self.refused: dict[str, KafkaError] = {}
        """By the word of a change: what it is answered instead."""
        self.unreachable: dict[str, KafkaError] = {}
        """By the word of a change: what is raised instead."""
        self.unreadable: dict[str, KafkaError] = {}
        """By `acls`, `quotas` or `scram-users`: what a question is answered."""

    def _change(self, word: str) -> KafkaError | None:
        if word in self.unreachable:
            raise self.unreachable[word]
        if word not in self.refused:
            self.changed.append(word)
        return self.refused.get(word)

    def _check(self, part: str) -> None:
        if part in self.unreadable:
            raise self.unreadable[part]

    def acls(self) -> tuple[Acl, ...]:
        self._check("acls")
        return tuple(sorted(self.bindings))

    def create_acls(self, bindings: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
        answers: dict[Acl, KafkaError | None] = {}
        for acl in bindings:
            answers[acl] = self._change("acls")
            if answers[acl] is None:
                self.bindings.add(acl)
        return answers

    def quotas(self) -> tuple[Quota, ...]:
        self._check("quotas")
        return tuple(Quota(entity, tuple(sorted(limits.items()))) for entity, limits in sorted(self.limits.items()))

    def alter_quotas(
        self, changes: Mapping[QuotaEntity, Mapping[str, float | None]]
    ) -> dict[QuotaEntity, KafkaError | None]:
        answers: dict[QuotaEntity, KafkaError | None] = {}
        for entity, limits in changes.items():
            answers[entity] = self._change("quotas")
            if answers[entity] is None:
                now = self.limits.setdefault(entity, {})
                now.update({key: value for key, value in limits.items() if value is not None})
        return answers

    def scram_users(self) -> tuple[ScramUser, ...]:
        self._check("scram-users")
        return tuple(ScramUser(*key, iterations) for key, iterations in sorted(self.users.items()))

    def upsert_scram_users(self, new: Sequence[NewScramUser]) -> dict[str, KafkaError | None]:
        answers: dict[str, KafkaError | None] = {}
        for one in new:
            answers[one.user.name] = self._change("users")
            if answers[one.user.name] is None:
                self.users[one.user.name, one.user.mechanism] = one.user.iterations
        return answers

    def config_resources(self, kind: str) -> tuple[str, ...]:
        return tuple(name for found, name in sorted(self.values) if found == kind)

    def configs(self, resources: Collection[tuple[str, str]]) -> dict[tuple[str, str], ResourceConfigs | KafkaError]:
        return {
            (kind, name): ResourceConfigs(
                kind, name, tuple(ConfigValue(k, v, kind) for k, v in sorted(self.values.get((kind, name), {}).items()))
            )
            for kind, name in resources
        }

    def alter_configs(self, changes: Sequence[ConfigChange]) -> list[KafkaError | None]:
        return [self._altered(change) for change in changes]

    def _altered(self, change: ConfigChange) -> KafkaError | None:
        if change.kind == TOPIC:
            configs = self._cluster.topics[change.name].configs
            configs.update(change.set)
            for name in change.delete:
                configs.pop(name, None)
            return None
        answer = self._change(f"{change.kind}-configs")
        if answer is None:
            self.values.setdefault((change.kind, change.name), {}).update(change.set)
        return answer

    def features(self) -> tuple[Feature, ...]:
        return tuple(Feature(name, level) for name, level in sorted(self.levels.items()))

    def supported_features(self) -> dict[str, int]:
        return {"metadata.version": 29, "share.version": 1}

    def raise_features(self, levels: Mapping[str, int]) -> dict[str, KafkaError | None]:
        answers = {name: self._change("features") for name in levels}
        self.levels.update({name: level for name, level in levels.items() if answers[name] is None})
        return answers

    def quorum(self) -> None:
        return None

    def log_dirs(self, nodes: Collection[int]) -> dict[int, tuple[LogDir, ...] | KafkaError]:
        return dict.fromkeys(nodes, ())

    def reassignments(self) -> tuple[()]:
        return ()

    def tokens(self) -> tuple[()]:
        return ()

    def group_members(self, listings: Collection[Any]) -> dict[str, Any]:
        return {}


class SettledCluster(SimulatedCluster):
    """A simulated cluster with settings."""

    def __init__(self, cluster_id: str, **options: Any) -> None:
        super().__init__(cluster_id, **options)
        self.config = ClusterConfig(name=cluster_id, bootstrap=("simulated:9092",))
        self.settings = SimulatedSettings(self)


USER, OTHER = "alice", "bob"
ACL = Acl("TOPIC", "orders", "LITERAL", f"User:{USER}", "*", "READ", "ALLOW")
QUOTA = QuotaEntity((("user", USER),))


def settle(cluster: SettledCluster) -> None:
    """Something of every kind."""
    settings = cluster.settings
    settings.values = {(BROKER, "1"): {"log.cleaner.threads": "2"}, (CLUSTER, ""): {"message.max.bytes": "2000000"}}
    settings.values["group", "billing"] = {"consumer.session.timeout.ms": "50000"}
    settings.values["client-metrics", "all"] = {"interval.ms": "60000"}
    settings.bindings = {ACL}
    settings.limits = {QUOTA: {"producer_byte_rate": 1048576.0}}
    settings.levels["share.version"] = 1
    settings.users = {(USER, "SCRAM-SHA-512"): 8192}
