"""`kafkeep restore --with`: which settings come back beside the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kafkeep.cli.common import Run, Stop
from kafkeep.cli.users import ASK, ask_passwords, read_passwords
from kafkeep.errors import UsageError
from kafkeep.metadata.options import EXISTING, USERS
from kafkeep.records import dataclass
from kafkeep.recovery.options import SETTINGS_AREAS, SettingsOptions

if TYPE_CHECKING:
    from kafkeep.elsewhere import Workforce
    from kafkeep.kafka.cluster import Cluster
    from kafkeep.model import RecoveryPoint
    from kafkeep.recovery.plan import RecoveryPlan
    from kafkeep.recovery.result import RecoveryResult
    from kafkeep.repository.repository import Repository
    from kafkeep.restore.options import RestoreOptions
    from kafkeep.restore.record import JobRecord
    from kafkeep.secret import Secret
    from kafkeep.services import Services

ALL: Final = "all"


def settings_options(verb: Any) -> Any:
    """--with, --existing-settings and --users-file."""
    for option in (
        click.option(
            "--users-file",
            "users_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="With --with users: passwords, a line for each user, the name, one tab, the password. - asks.",
        ),
        click.option(
            "--existing-settings",
            "existing_settings",
            type=click.Choice(EXISTING),
            default="keep",
            show_default=True,
            help="With --with: what is there with another value: keep it, align it with the point, or fail beforehand.",
        ),
        click.option(
            "--with",
            "areas",
            multiple=True,
            type=click.Choice((*SETTINGS_AREAS, ALL)),
            help="Also this part of the cluster's settings and permissions, or all of them. Repeatable.",
        ),
    ):
        verb = option(verb)
    return verb


def settings_wanted(given: Mapping[str, Any], *, resumed: bool) -> SettingsOptions | None:
    """What the options ask for; None without --with. UsageError for options that say nothing without it."""
    areas: tuple[str, ...] = given["areas"]
    if areas:
        chosen = SETTINGS_AREAS if ALL in areas else areas
        return SettingsOptions(areas=frozenset(chosen), existing=given["existing_settings"])
    if given["existing_settings"] != "keep" or (given["users_file"] is not None and not resumed):
        option = "--users-file" if given["users_file"] is not None else "--existing-settings"
        raise UsageError(
            f"{option} says how settings come back, and none are asked for", hint="Add --with all, or --with a part."
        )
    return None


def settings_due(job: JobRecord | None, wanted: SettingsOptions | None) -> SettingsOptions | None:
    """What is asked for, or what a job that is continued was begun with. Raises as `settings_from_beside`."""
    from kafkeep.recovery.plan import settings_from_beside

    return wanted if job is None else settings_from_beside(job.beside)


def passwords_of(
    file: Path | None, repository: Repository, point: RecoveryPoint, settings: SettingsOptions | None
) -> dict[str, Secret]:
    """Passwords by user name, from the file or asked for. Raises as `users.read_passwords`, and as the point's reader."""
    from kafkeep.point_documents import needed_inventory_of

    if file != ASK or settings is None or USERS not in settings.areas:
        return read_passwords(file)
    return ask_passwords(user.name for user in needed_inventory_of(repository, point).scram_users)


def check_offset_map(job: JobRecord | None, offset_map: Path | None) -> None:
    """UsageError when a map of records is asked for that an earlier process has restored to the end."""
    if job is not None and job.finished and offset_map is not None:
        raise UsageError(
            f"--offset-map {offset_map}: all records were restored before",
            hint=f"The maps lie in the repository, with the report of {job.name}.",
        )


@contextmanager
def services_for(run: Run, cluster: str, settings: SettingsOptions | None) -> Iterator[Services]:
    """The servers beside the cluster, where something of theirs is wanted: nobody else needs their secrets."""
    from kafkeep.cli.services import opened_services
    from kafkeep.services import NO_SERVICES

    if settings is None or not settings.of_services:
        yield NO_SERVICES
        return
    with opened_services(run, cluster) as services:
        yield services


@dataclass(frozen=True, slots=True)
class Sides:
    """What one call of `kafkeep restore` works on."""

    run: Run
    target: Cluster
    repository: Repository
    services: Services
    passwords: Mapping[str, Secret]

    def plan(
        self, point: RecoveryPoint, options: RestoreOptions, settings: SettingsOptions | None, job: JobRecord | None
    ) -> RecoveryPlan:
        """As `recovery.run.prepare`."""
        from kafkeep.recovery.run import prepare

        return prepare(
            self.target,
            self.repository,
            point,
            options,
            settings,
            passwords=self.passwords.keys(),
            now=self.run.now,
            services=self.services,
            job=job,
        )

    def recover(
        self,
        plan: RecoveryPlan,
        options: RestoreOptions,
        settings: SettingsOptions | None,
        stop: Stop,
        workers: Workforce,
    ) -> RecoveryResult:
        """As `recovery.run.recover`."""
        from kafkeep.recovery.run import recover

        return recover(
            self.target,
            self.repository,
            plan,
            options,
            settings,
            passwords=self.passwords,
            now=self.run.now,
            rng=self.run.rng,
            services=self.services,
            workers=workers,
            sink=self.run.output.event,
            stop=stop.event,
        )
