"""What applying a cluster's metadata will do, as values: steps, what is left out and why, and what speaks against it."""

from __future__ import annotations

from typing import NamedTuple

from kafkeep.inventory import Acl, QuotaEntity, ScramUser
from kafkeep.records import dataclass

CREATE, SET, ADD, REMOVE = "create", "set", "add", "remove"


class Change(NamedTuple):
    """One key before and after; None where it is not set."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One idempotent step; done twice it does nothing the second time."""

    area: str
    action: str
    """`create`, `set`, `add` or `remove`."""
    subject: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTopic(Step):
    partitions: int
    replication_factor: int
    assignments: tuple[tuple[int, ...], ...] | None
    """Replica node ids of each partition; None leaves the placing to the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveTopic(Step):
    """Deletes a topic with all its records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTopicConfigs(Step):
    """The overrides in `changes`; one without a value afterwards goes back to the cluster's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFeature(Step):
    """Finalizes a feature at a higher level than before, or for the first time."""

    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfigs(Step):
    """Configs of a broker, the cluster, a group or a client metrics resource."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetQuota(Step):
    entity: QuotaEntity
    values: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUser(Step):
    user: ScramUser


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveUser(Step):
    user: ScramUser


@dataclass(frozen=True, slots=True, kw_only=True)
class AddAcl(Step):
    acl: Acl


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAcl(Step):
    acl: Acl


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of the point that no step brings to the target."""

    area: str
    subject: str
    reason: str
    missing: bool = False
    """True when it was asked for and could not be planned: the result is then not complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaId:
    """Where one version of a subject went. Records carry `old_id`; the last two are None as long as it is not there."""

    subject: str
    version: int
    old_id: int
    new_version: int | None
    new_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataPlan:
    origin: str
    target: str
    source_cluster: str
    target_cluster: str
    steps: tuple[Step, ...]
    """In the order in which they are done."""
    left_out: tuple[LeftOut, ...]
    unchanged: tuple[tuple[str, int], ...]
    """How many things of each area are on the target already as the point has them."""
    refusals: tuple[LeftOut, ...]
    """Why the plan cannot be applied as it is."""
    schema_ids: tuple[SchemaId, ...] = ()
    """Only with new ids: every schema of the point, and where those that are there already lie."""

    @property
    def removals(self) -> tuple[Step, ...]:
        """The steps that take something away."""
        return tuple(step for step in self.steps if step.action == REMOVE)
