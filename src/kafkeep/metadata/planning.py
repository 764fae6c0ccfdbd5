"""From the image of a cluster and what a target says of itself to the steps that make the target like it: pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from kafkeep.inventory import BROKER, CLIENT_METRICS, CLUSTER, GROUP, Quota, QuotaEntity, ResourceConfigs, ScramUser
from kafkeep.metadata import options as areas
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import APPLY_AREAS, ApplyOptions
from kafkeep.metadata.phrases import number, unread_configs
from kafkeep.metadata.plan import (
    ADD,
    REMOVE,
    SET,
    AddAcl,
    Change,
    MetadataPlan,
    RemoveAcl,
    RemoveUser,
    SetConfigs,
    SetQuota,
    SetUser,
)
from kafkeep.metadata.planning_connectors import plan_connectors
from kafkeep.metadata.planning_features import plan_features
from kafkeep.metadata.planning_schemas import plan_schemas
from kafkeep.metadata.planning_topics import plan_topics
from kafkeep.metadata.verdicts import Verdicts
from kafkeep.passing import PASSING_BROKER_SETTINGS, is_of_the_host
from kafkeep.records import dataclass

Planner = Callable[[ClusterImage, ClusterImage, ApplyOptions, "Abilities", Verdicts], None]

_KINDS = {
    areas.BROKER_CONFIGS: BROKER,
    areas.CLUSTER_CONFIGS: CLUSTER,
    areas.GROUP_CONFIGS: GROUP,
    areas.CLIENT_METRICS: CLIENT_METRICS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What applying can draw on."""

    unsupported: frozenset[tuple[str, str]] = frozenset()
    """Topic settings (name, value) that the target's brokers refuse."""
    features: Mapping[str, int] = field(default_factory=dict)
    """The highest level of each feature that the target's brokers know."""
    passwords: frozenset[str] = frozenset()
    """Users whose password is at hand."""


def plan_metadata(
    source: ClusterImage, target: ClusterImage, options: ApplyOptions, abilities: Abilities
) -> MetadataPlan:
    """Compares area by area. What could not be read of the target is refused rather than taken for absent."""
    verdicts = Verdicts(options)
    if areas.FEATURES in options.only and _readable(areas.FEATURES, source, target, verdicts):
        plan_features(source, target, abilities.features, verdicts)
    if options.only & {areas.TOPICS, areas.TOPIC_CONFIGS}:
        plan_topics(source, target, options, abilities.unsupported, verdicts)
    for area, planner in _PLANNERS.items():
        if area in options.only and _readable(area, source, target, verdicts):
            planner(source, target, options, abilities, verdicts)
    if areas.SCHEMAS in options.only:
        plan_schemas(source, target, options, verdicts)
    if areas.CONNECTORS in options.only:
        plan_connectors(source, target, options, verdicts)
    return MetadataPlan(
        origin=source.origin,
        target=target.origin,
        source_cluster=source.cluster_id,
        target_cluster=target.cluster_id,
        steps=tuple(sorted(verdicts.steps, key=lambda step: step.action == REMOVE)),
        left_out=tuple(verdicts.left_out),
        unchanged=tuple((area, verdicts.unchanged[area]) for area in APPLY_AREAS if verdicts.unchanged[area]),
        refusals=tuple(verdicts.refusals),
        schema_ids=tuple(verdicts.schema_ids),
    )


def _readable(area: str, source: ClusterImage, target: ClusterImage, verdicts: Verdicts) -> bool:
    part = {
        areas.FEATURES: "features",
        areas.QUOTAS: "quotas",
        areas.USERS: "scram-users",
        areas.ACLS: "acls",
    }.get(area)
    if part is not None and part in source.inventory.unreadable:
        verdicts.leave_out(area, part, f"{source.origin} does not hold them: they could not be read", missing=True)
        return False
    if part is not None and part in target.inventory.unreadable:
        verdicts.refuse(area, part, f"{part} of {target.origin} cannot be read by this login")
        return False
    return True


def _configs(area: str) -> Planner:
    kind = _KINDS[area]

    def plan(
        source: ClusterImage, target: ClusterImage, options: ApplyOptions, abilities: Abilities, verdicts: Verdicts
    ) -> None:
        there = {resource.name: resource for resource in target.inventory.configs_of(kind)}
        wanted = {resource.name: resource for resource in source.inventory.configs_of(kind) if resource.overrides}
        unknown = _unknown_resources(area, kind, source, target, verdicts)
        if unknown is None:
            return
        nodes = {str(broker.node_id) for broker in target.standing.brokers}
        if options.prune_extra:
            extra = [resource.name for resource in there.values() if resource.overrides]
            wanted |= {name: ResourceConfigs(kind, name, ()) for name in extra if name not in wanted}
        for name, resource in wanted.items():
            subject = f"{kind} {name}".rstrip()
            if subject in unknown:
                continue
            if kind == BROKER and name not in nodes:
                verdicts.leave_out(area, subject, "the target has no broker of that id", missing=True)
            else:
                _resource(area, subject, resource, there.get(name), options, verdicts)

    return plan


def _unknown_resources(
    area: str, kind: str, source: ClusterImage, target: ClusterImage, verdicts: Verdicts
) -> frozenset[str] | None:
    """Subjects that were not read on a side, said once each; None when that is all of the kind."""
    whole = {"configs", f"{kind} configs"}
    unread_here, unread_there = set(unread_configs(source, kind)), set(unread_configs(target, kind))
    for name in sorted(unread_here):
        verdicts.leave_out(area, name, f"{source.origin} does not hold it: it could not be read", missing=True)
    for name in sorted(unread_there):
        verdicts.refuse(area, name, f"it cannot be read on {target.origin} by this login")
    unread = unread_here | unread_there
    return None if unread & whole else frozenset(name.removeprefix("configs of ") for name in unread)


def _resource(
    area: str,
    subject: str,
    wanted: ResourceConfigs,
    there: ResourceConfigs | None,
    options: ApplyOptions,
    verdicts: Verdicts,
) -> None:
    now = {} if there is None else {entry.name: entry.value for entry in there.overrides}
    values: dict[str, str] = {}
    for entry in wanted.overrides:
        if entry.name in PASSING_BROKER_SETTINGS:
            verdicts.leave_out(area, f"{subject}: {entry.name}", "a throttle of a running reassignment")
        elif wanted.kind in (BROKER, CLUSTER) and is_of_the_host(entry.name):
            verdicts.leave_out(area, f"{subject}: {entry.name}", "belongs to the host, set it there", missing=True)
        elif entry.value is None:
            verdicts.leave_out(area, f"{subject}: {entry.name}", "brokers do not show its value", missing=True)
        else:
            values[entry.name] = entry.value
    named = {entry.name for entry in wanted.overrides}
    extra = [name for name in now if name not in named] if options.prune_extra else []
    changes = verdicts.changes(area, subject, values, now, extra)
    if changes:
        verdicts.steps.append(
            SetConfigs(area=area, action=SET, subject=subject, changes=changes, kind=wanted.kind, name=wanted.name)
        )


def _quotas(
    source: ClusterImage, target: ClusterImage, options: ApplyOptions, abilities: Abilities, verdicts: Verdicts
) -> None:
    there = {quota.entity: quota for quota in target.inventory.quotas}
    wanted = {quota.entity: quota for quota in source.inventory.quotas}
    extra = [quota.entity for quota in target.inventory.quotas if quota.entity not in wanted]
    for entity in [*wanted, *(extra if options.prune_extra else [])]:
        limits = _limits(wanted.get(entity))
        now = _limits(there.get(entity))
        gone = [key for key in now if key not in limits] if options.prune_extra else []
        changes = verdicts.changes(areas.QUOTAS, str(entity), _texts(limits), _texts(now), gone)
        if changes:
            values = tuple((change.key, limits.get(change.key)) for change in changes)
            verdicts.steps.append(_quota_step(entity, values, changes))


def _quota_step(
    entity: QuotaEntity, values: tuple[tuple[str, float | None], ...], changes: tuple[Change, ...]
) -> SetQuota:
    action = REMOVE if all(value is None for _, value in values) else SET
    return SetQuota(
        area=areas.QUOTAS, action=action, subject=str(entity), changes=changes, entity=entity, values=values
    )


def _limits(quota: Quota | None) -> dict[str, float]:
    return {} if quota is None else dict(quota.values)


def _texts(limits: Mapping[str, float]) -> dict[str, str]:
    return {key: number(value) for key, value in limits.items()}


def _users(
    source: ClusterImage, target: ClusterImage, options: ApplyOptions, abilities: Abilities, verdicts: Verdicts
) -> None:
    there = {(user.name, user.mechanism): user for user in target.inventory.scram_users}
    for user in source.inventory.scram_users:
        subject = f"{user.name} ({user.mechanism})"
        now = there.get((user.name, user.mechanism))
        before: dict[str, str | None] = {} if now is None else {"iterations": str(now.iterations)}
        changes = verdicts.changes(areas.USERS, subject, {"iterations": str(user.iterations)}, before, [])
        if not changes:
            continue
        if user.name not in abilities.passwords:
            verdicts.leave_out(
                areas.USERS, subject, "its password is needed and was not given: no cluster shows it", missing=True
            )
            continue
        verdicts.steps.append(SetUser(area=areas.USERS, action=SET, subject=subject, changes=changes, user=user))
    if options.prune_extra:
        known = {(user.name, user.mechanism) for user in source.inventory.scram_users}
        verdicts.steps += [_removed_user(user) for key, user in there.items() if key not in known]


def _removed_user(user: ScramUser) -> RemoveUser:
    subject = f"{user.name} ({user.mechanism})"
    changes = (Change("iterations", str(user.iterations), None),)
    return RemoveUser(area=areas.USERS, action=REMOVE, subject=subject, changes=changes, user=user)


def _acls(
    source: ClusterImage, target: ClusterImage, options: ApplyOptions, abilities: Abilities, verdicts: Verdicts
) -> None:
    if source.inventory.acls and not target.inventory.has_authorizer:
        verdicts.refuse(areas.ACLS, "acls", f"{target.origin} has no authorizer: it cannot hold ACLs")
        return
    there = set(target.inventory.acls)
    wanted = source.inventory.acls
    verdicts.unchanged[areas.ACLS] += sum(acl in there for acl in wanted)
    verdicts.steps += [
        AddAcl(area=areas.ACLS, action=ADD, subject=str(acl), acl=acl) for acl in wanted if acl not in there
    ]
    if options.prune_extra:
        kept = set(wanted)
        verdicts.steps += [
            RemoveAcl(area=areas.ACLS, action=REMOVE, subject=str(acl), acl=acl)
            for acl in target.inventory.acls
            if acl not in kept
        ]


_PLANNERS: Mapping[str, Planner] = {
    **{area: _configs(area) for area in _KINDS},
    areas.QUOTAS: _quotas,
    areas.USERS: _users,
    areas.ACLS: _acls,
}
