"""`kafkeep config show|check` and `kafkeep version`."""

from __future__ import annotations

import platform

import click

from kafkeep import __version__, native
from kafkeep.cli.common import Run, pass_run
from kafkeep.cli.render import Grid
from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """A key in effect. A secret's value says where the secret is, never what it is."""

    key: str
    value: str
    source: str
    """File, `environment VARIABLE` or `default`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What `config` looked at."""

    file: str | None
    clusters: tuple[str, ...]
    repositories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Version:
    version: str
    python: str
    c_helper: bool
    """Whether the helper of docs/architecture.md is in use."""


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command()
@pass_run
def show(run: Run) -> int:
    """List every setting in effect and where it comes from.

    Secrets are not fetched; only their sources are shown.
    """
    settings = tuple(Setting(key, _value(value), source) for key, value, source in run.settings.leaves())
    for setting in settings:
        run.output.item("setting", setting)
    if settings:
        rows = tuple((setting.key, setting.value, setting.source) for setting in settings)
        run.output.show(Grid(("key", "value", "from"), rows))
    else:
        run.output.show("nothing is configured")
    run.output.summary("config show", _checked(run), 0)
    return 0


@config.command()
@pass_run
def check(run: Run) -> int:
    """Check the settings file, the environment and that every secret can be had.

    No cluster and no repository is contacted.

    Exit status: 0 all is well, 2 something is not, and the message says what.
    """
    from kafkeep.cli.connect import configured
    from kafkeep.cli.key_sources import check_keys
    from kafkeep.cli.services import service_configs
    from kafkeep.cli.stores import store_options

    checked = _checked(run)
    for name, cluster in run.settings.settings.cluster.items():
        configured(run, name, cluster)
        service_configs(run, name)
    for name, repository in run.settings.settings.repository.items():
        store_options(run, name, repository.url, repository)
        check_keys(run, name)
    run.output.show(
        f"{checked.file or 'no settings file'}: {len(checked.clusters)} clusters, "
        f"{len(checked.repositories)} repositories, no errors"
    )
    run.output.summary("config check", checked, 0)
    return 0


@click.command()
@pass_run
def version(run: Run) -> int:
    """Print the version, and whether the optional C helper is in use."""
    helper = f"with the C helper (CRC by {native.crc32c_way})" if native.available() else "without the C helper"
    run.output.show(f"kafkeep {__version__}, Python {platform.python_version()}, {helper}")
    run.output.summary("version", Version(__version__, platform.python_version(), native.available()), 0)
    return 0


def _checked(run: Run) -> Checked:
    loaded = run.settings
    file = str(loaded.file) if loaded.file is not None else None
    return Checked(file, tuple(sorted(loaded.settings.cluster)), tuple(sorted(loaded.settings.repository)))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    return str(value)
