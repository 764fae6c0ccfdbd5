"""The recipe of a whole recovery: one plan of both halves, and one way to carry it out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from kafkeep.elsewhere import HERE, Workforce
from kafkeep.errors import KafkaError, PlanRefused
from kafkeep.events import EventSink, Warned, ignore
from kafkeep.kafka.cluster import Cluster
from kafkeep.metadata import run as metadata
from kafkeep.metadata.apply import Random, apply_metadata
from kafkeep.model import RecoveryPoint
from kafkeep.recovery.options import SettingsOptions
from kafkeep.recovery.plan import RecoveryPlan, recovery_warnings, settings_to_beside
from kafkeep.recovery.result import RecoveryResult
from kafkeep.repository.repository import Repository
from kafkeep.restore import run as records
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.record import JobRecord
from kafkeep.secret import Secret
from kafkeep.services import NO_SERVICES, Services

_TOLD = 20
"""So many refusals are named in an error; the plan has all."""


def prepare(
    cluster: Cluster,
    repository: Repository,
    point: RecoveryPoint,
    options: RestoreOptions,
    settings: SettingsOptions | None,
    *,
    passwords: Collection[str] = (),
    now: Callable[[], datetime],
    services: Services = NO_SERVICES,
    sink: EventSink = ignore,
    job: JobRecord | None = None,
) -> RecoveryPlan:
    """Looks at the repository and at the target and plans both halves; changes nothing on either side.

    A finished `job` has its records on the target: its settings alone are planned again. Raises `PlanRefused` when the
    point holds no records, or no settings although they are asked for, and what the rooms raise.
    """
    image = None if settings is None else metadata.image_of_point(repository, point)
    planned = None
    if job is None or not job.finished:
        planned = records.prepare(cluster, repository, point, options, now=now, sink=sink, job=job)
    if settings is None or image is None:
        return RecoveryPlan(records=planned, settings=None)
    wanted = metadata.prepare(
        cluster,
        image,
        settings.apply_options,
        passwords=passwords,
        now=now,
        services=services if settings.of_services else NO_SERVICES,
        sink=sink,
    )
    return RecoveryPlan(records=planned, settings=wanted, warnings=recovery_warnings(settings, options.renames))


def recover(
    cluster: Cluster,
    repository: Repository,
    plan: RecoveryPlan,
    options: RestoreOptions,
    settings: SettingsOptions | None,
    *,
    passwords: Mapping[str, Secret],
    now: Callable[[], datetime],
    rng: Random,
    services: Services = NO_SERVICES,
    workers: Workforce = HERE,
    sink: EventSink = ignore,
    stop: threading.Event | None = None,
) -> RecoveryResult:
    """Applies a plan made by `prepare` with the same arguments.

    Order: topics, records and positions as `restore.run.restore` has it, then settings in the order of
    `metadata.options.APPLY_AREAS`. Quotas come behind the records, which they would slow down; users and ACLs behind
    everything, because from then on others can come, and this login may be kept out. Parts that fail stop no others. A
    recovery that is asked to end with records outstanding leaves the settings to whoever continues it.

    Raises as `restore.run.restore`, and `PlanRefused` when either half holds refusals: nothing is touched then.
    """
    refuse_if_needed(plan)
    for warning in plan.warnings:
        sink(Warned(warning))
    restored = None
    if plan.records is not None:
        beside = None if settings is None else settings_to_beside(settings)
        restored = records.restore(
            cluster, repository, plan.records, options, now=now, workers=workers, sink=sink, stop=stop, beside=beside
        )
    if plan.settings is None or (restored is not None and restored.interrupted):
        due = plan.settings is not None
        return RecoveryResult(records=restored, settings=None, settings_due=due, warnings=plan.warnings)
    try:
        applied = apply_metadata(cluster, plan.settings, passwords=passwords, rng=rng, services=services, sink=sink)
    except KafkaError:
        sink(Warned("records, topics and positions are in, and not all settings: --resume brings the rest"))
        raise
    return RecoveryResult(records=restored, settings=applied, settings_due=False, warnings=plan.warnings)


def refuse_if_needed(plan: RecoveryPlan) -> None:
    """Raises `PlanRefused` for refusals of the settings, with those of the records if there are any, else as
    `restore.run.refuse_if_needed` for those of the records alone.
    """
    found = [f"{refusal.subject}: {refusal.reason}" for refusal in plan.settings_refusals]
    if found:
        found += [refusal.message for refusal in plan.records.refusals] if plan.records is not None else []
        more = f"; and {len(found) - _TOLD} more, which --dry-run prints" if len(found) > _TOLD else ""
        raise PlanRefused("; ".join(found[:_TOLD]) + more)
    if plan.records is not None:
        records.refuse_if_needed(plan.records)
