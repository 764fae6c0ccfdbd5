"""`kafkeep lab`: a throw-away real Kafka from the command line."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kafkeep.cli.common import Run, pass_run
from kafkeep.cli.render import Grid
from kafkeep.events import Stage
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.lab import Lab, LabOptions, LabStatus

# kafkeep.lab needs the extra of the same name; --help must work without it, so these are said here once more.
SECURITY: Final = ("plaintext", "tls", "sasl")
BROKERS: Final = ("1", "3")
NOTHING_RUNS: Final = 4


@dataclass(frozen=True, slots=True)
class LabVariables:
    """What `up` and `env` tell."""

    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class LabFolder:
    """What `down` and a `status` without a lab tell."""

    directory: str
    running: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """What `fetch` brought."""

    kafka: dict[str, str]
    java: str
    java_version: int


@click.group()
def lab() -> None:
    """A throw-away real Kafka on this machine, for trying things out and for tests."""


def _what(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `up` and `run` take alike."""
    for option in (
        click.option(
            "--security",
            type=click.Choice(SECURITY),
            default="plaintext",
            show_default=True,
            help="What clients must do: nothing, TLS, or TLS and a SCRAM login.",
        ),
        click.option("--kafka", metavar="VERSION", help="Kafka version.  [default: KAFKA_HOME's, else 4.3.1]"),
        click.option("--brokers", type=click.Choice(BROKERS), default="1", show_default=True, help="How many brokers."),
    ):
        command = option(command)
    return command


_where = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="The lab's folder.  [default: KAFKEEP_LAB_DIR, else ~/.local/state/kafkeep/lab]",
)


@lab.command()
@_what
@_where
@pass_run
def up(run: Run, brokers: str, kafka: str | None, security: str, directory: Path | None) -> int:
    """Start a lab and leave it running until `kafkeep lab down`.

    Prints the same shell variables as `kafkeep lab env`.
    """
    from kafkeep.lab import start

    run.start_logs()
    folder = _folder(run, directory)
    running = start(
        _options(brokers, kafka, security),
        directory=folder,
        env=run.env,
        now=run.now(),
        owned=False,
        progress=_fetch_progress(run),
    )
    return _show_variables(run, "lab up", running)


@lab.command()
@_where
@pass_run
def down(run: Run, directory: Path | None) -> int:
    """End a lab and remove its folder with all its data.

    A lab that is not there is no error.
    """
    from kafkeep.lab import Lab

    run.start_logs()
    folder = _folder(run, directory)
    running = Lab.find(folder, env=run.env)
    if running is not None:
        running.stop()
    run.output.note(f"no lab in {folder}" if running is None else f"lab in {folder} ended and removed")
    run.output.summary("lab down", LabFolder(str(folder), running=False), 0)
    return 0


@lab.command()
@_where
@pass_run
def status(run: Run, directory: Path | None) -> int:
    """Tell what runs.

    Exit status: 0 all nodes run, 4 there is no lab or a node does not run.
    """
    from kafkeep.lab import Lab

    folder = _folder(run, directory)
    found = Lab.find(folder, env=run.env)
    if found is None:
        run.output.show(f"no lab in {folder}")
        run.output.summary("lab status", LabFolder(str(folder), running=False), NOTHING_RUNS)
        return NOTHING_RUNS
    told = found.status()
    run.output.show(f"kafka {told.kafka}, {told.security}, cluster {told.cluster_id}, in {told.directory}", _grid(told))
    code = 0 if told.running else NOTHING_RUNS
    run.output.summary("lab status", told, code)
    return code


@lab.command()
@_where
@pass_run
def env(run: Run, directory: Path | None) -> int:
    """Print the lab's shell variables.

    For example: eval "$(kafkeep lab env)"
    """
    from kafkeep.lab import Lab

    return _show_variables(run, "lab env", Lab.attach(_folder(run, directory), env=run.env))


@lab.command(name="run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_what
@_where
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_run
def run_(
    run: Run, brokers: str, kafka: str | None, security: str, directory: Path | None, command: tuple[str, ...]
) -> int:
    """Start a lab, run COMMAND with its shell variables, end the lab.

    The lab is new and ends with COMMAND, whichever way that ends. It lies in a temporary folder unless --dir names
    one. Write -- before COMMAND.

    Exit status: COMMAND's.
    """
    from kafkeep.lab import run_command, start

    run.start_logs()
    options = _options(brokers, kafka, security)
    folder = Path(tempfile.mkdtemp(prefix="kafkeep-lab-")) if directory is None else run.cwd / directory
    with start(options, directory=folder, env=run.env, now=run.now(), progress=_fetch_progress(run)) as running:
        return run_command(command, env={**run.env, **running.environment()})


@lab.command()
@click.option(
    "--kafka", "versions", metavar="VERSION", multiple=True, help="Repeatable.  [default: all that are pinned]"
)
@pass_run
def fetch(run: Run, versions: tuple[str, ...]) -> int:
    """Bring Kafka into the cache and check that there is a Java.

    Later starts need no network then. The cache is KAFKEEP_CACHE, else kafkeep in the user's cache folder.
    """
    from kafkeep.lab import PINNED_VERSIONS
    from kafkeep.lab import fetch as fetch_kafka
    from kafkeep.lab.java import find_java

    run.start_logs()
    progress = _fetch_progress(run)
    wanted = versions if versions else PINNED_VERSIONS
    folders = {version: str(fetch_kafka(version, env=run.env, progress=progress)) for version in wanted}
    java = find_java(run.env)
    for version, folder in folders.items():
        run.output.show(f"kafka {version}: {folder}")
    run.output.show(f"java {java.major}: {java.executable}")
    run.output.summary("lab fetch", Fetched(folders, str(java.executable), java.major), 0)
    return 0


def _folder(run: Run, directory: Path | None) -> Path:
    from kafkeep.lab import default_folder

    return default_folder(run.env, home=run.home) if directory is None else run.cwd / directory


def _options(brokers: str, kafka: str | None, security: str) -> LabOptions:
    from kafkeep.lab import LabOptions

    return LabOptions(brokers=int(brokers), kafka=kafka, security=security)


def _fetch_progress(run: Run) -> Callable[[int, int], None]:
    """A line at the beginning, every 20 jars and at the end of a download."""

    def tell(done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            run.output.event(Stage("fetching kafka", f"{done} of {total} jars"))

    return tell


def _show_variables(run: Run, verb: str, running: Lab) -> int:
    variables = running.environment()
    for name, value in variables.items():
        run.output.show(f"export {name}={shlex.quote(value)}")
    run.output.summary(verb, LabVariables(variables), 0)
    return 0


def _grid(told: LabStatus) -> Grid:
    rows = tuple(
        (
            str(node.node_id),
            node.roles,
            "not running" if node.pid is None else f"pid {node.pid}",
            ", ".join(f"{name} {port}" for name, port in node.ports.items()),
        )
        for node in told.nodes
    )
    return Grid((">node", "roles", "process", "ports"), rows)
