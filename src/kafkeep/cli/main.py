"""`kafkeep VERB …`: global options, the list of verbs, and the only way from an error to an exit status."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from kafkeep import __version__
from kafkeep.cli.common import Run, Terminated, pass_run, raise_terminated
from kafkeep.errors import Interrupted, KafkeepError, UnexpectedError, UsageError

VERBS: Final = {
    "init": ("kafkeep.cli.init", "Create a repository."),
    "backup": ("kafkeep.cli.backup", "Make a recovery point of a cluster, or many with --follow."),
    "points": ("kafkeep.cli.points", "List the recovery points of a repository, oldest first."),
    "show": ("kafkeep.cli.points", "Describe a recovery point."),
    "diff": ("kafkeep.cli.points", "List what changed from one recovery point to another."),
    "restore": ("kafkeep.cli.restore", "Put a recovery point into a cluster."),
    "groups": (
        "kafkeep.cli.groups",
        "Set the positions of consumer groups as a recovery point or a file says, and take it back.",
    ),
    "metadata": (
        "kafkeep.cli.metadata",
        "Keep, compare, export and apply topics, settings and permissions, without records.",
    ),
    "compare": ("kafkeep.cli.compare", "Prove that a cluster holds what a recovery point holds."),
    "verify": ("kafkeep.cli.verify", "Check that a repository is whole."),
    "prune": ("kafkeep.cli.prune", "Let go of recovery points that no rule keeps, and of their data."),
    "pin": ("kafkeep.cli.prune", "Keep a recovery point whatever the rules of retention say."),
    "unpin": ("kafkeep.cli.prune", "Leave a recovery point to the rules of retention again."),
    "tag": ("kafkeep.cli.prune", "Set or remove tags of a recovery point."),
    "locks": ("kafkeep.cli.locks", "Keep what recovery points need locked in its bucket."),
    "compact": ("kafkeep.cli.compact", "Gather many small packs in few large ones."),
    "trim": ("kafkeep.cli.trim", "Shorten the log of a repository whose commits are signed."),
    "repair": ("kafkeep.cli.repair", "Mend a repository that is damaged."),
    "rebuild": ("kafkeep.cli.rebuild", "Build a lost log anew from packs."),
    "trust": ("kafkeep.cli.trust", "Make keys that commits are signed with, and say who is trusted with what."),
    "keys": ("kafkeep.cli.keys", "Say who may open an encrypted repository, and shred topics."),
    "doctor": ("kafkeep.cli.doctor", "Try out what kafkeep depends on."),
    "copy": ("kafkeep.cli.copy", "Keep a repository a second time, byte for byte."),
    "lab": ("kafkeep.cli.lab", "Run a throw-away real Kafka on this machine."),
    "config": ("kafkeep.cli.config", "Show and check the settings."),
    "version": ("kafkeep.cli.config", "Print the version."),
}
"""Each verb, the module whose command of the same name it is, and its line in the list of verbs. A module is imported
when its verb is asked for, so that the list shows at once."""

GLOBAL_OPTIONS: Final = ("--json", "--config", "-v", "--verbose")
EXIT_PIPE: Final = 128 + 13
_OBJECTS_BETWEEN_COLLECTIONS: Final = 400_000
"""More than a first backup of 10 000 partitions has at a time; each look takes longer the more there are."""


class Verbs(click.Group):
    """Finds verbs in `VERBS`, in that order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(VERBS[cmd_name][0]), cmd_name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from kafkeep.settings import nearest

            raise UsageError(f"no verb is named {args[0]!r}", hint=nearest(args[0], list(VERBS)))
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings file.  [default: KAFKEEP_CONFIG, ./kafkeep.toml, ~/.config/kafkeep/kafkeep.toml]",
)
@click.option("--json", is_flag=True, help="JSON lines on stdout: events, then one summary or error.")
@click.option("-v", "--verbose", count=True, help="More on stderr; twice for debug logs.")
@click.version_option(__version__, prog_name="kafkeep", message="%(prog)s %(version)s")
@pass_run
def cli(run: Run, config: Path | None, json: bool, verbose: int) -> None:
    """Back up, prove and restore Apache Kafka.

    \b
    Exit status: 0 done, 1 unexpected, 2 usage or settings, 3 done with gaps or
    refused parts, 4 nothing to do, 10 no repository, 11 held by another writer,
    12 key refused, 13 store, 14 Kafka or login, 20 corruption, 21 restored with
    declared loss, 22 differences or damage found, 23 unknown format, 24 a guard
    refused, 128+N ended by signal N.
    """
    run.begin(config=config, json=json, verbosity=verbose)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run = Run(env=os.environ, cwd=Path.cwd(), home=Path.home(), json="--json" in arguments)
    if argv is None:
        _own_process(run)
    try:
        status = _invoke(run, arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_PIPE
    return status


def _invoke(run: Run, arguments: list[str]) -> int:
    """The verb's own status, or the error's after it was told."""
    try:
        with cli.make_context("kafkeep", arguments, obj=run) as context:
            status = cli.invoke(context)
            return status if isinstance(status, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, click.Abort, Terminated) as end:
        return _interrupted(run, _signal_of(end))
    except click.ClickException as error:
        return _tell(run, _usage(error), error)
    except KafkeepError as error:
        return _tell(run, error, error)
    except Exception as error:  # noqa: BLE001 - the one place where everything else becomes exit status 1
        number = _signal_behind(error)
        return _tell(run, _unexpected(error), error) if number is None else _interrupted(run, number)


def _tell(run: Run, error: KafkeepError, cause: BaseException) -> int:
    if run.verbosity >= _traceback_from(error):
        run.output.block("".join(traceback.format_exception(cause)))
    run.output.error(error, error.exit_code)
    return error.exit_code


def _traceback_from(error: KafkeepError) -> float:
    """How many `-v` it takes to see where an error came from; wrong usage has no such place."""
    if isinstance(error, UnexpectedError):
        return 1
    return math.inf if isinstance(error, UsageError) else 2


def _signal_of(end: BaseException) -> signal.Signals:
    return signal.SIGTERM if isinstance(end, Terminated) else signal.SIGINT


def _signal_behind(error: Exception) -> signal.Signals | None:
    """The signal that an unexpected error hides: one that arrives between two steps of a `with` over a lock (a wait of
    `threading` has such places) leaves the lock as its end does not expect it, and that end raises RuntimeError.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | Terminated):
            return _signal_of(cause)
        cause = cause.__context__
    return None


def _interrupted(run: Run, number: signal.Signals) -> int:
    status = 128 + int(number)
    run.output.error(Interrupted(f"ended by {number.name}"), status)
    return status


def _usage(error: click.ClickException) -> UsageError:
    text = error.format_message().rstrip(".")
    option = getattr(error, "option_name", None)
    if option in GLOBAL_OPTIONS:
        return UsageError(f"{option} stands behind the verb", hint=f"Write it before the verb: `kafkeep {option} …`.")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "kafkeep"
    return UsageError(text[:1].lower() + text[1:], hint=f"Run `{path} --help` to see what it takes.")


def _unexpected(error: Exception) -> UnexpectedError:
    text = str(error).strip()
    return UnexpectedError(f"unexpected {type(error).__name__}" + (f": {text[:300]}" if text else ""))


def _own_process(run: Run) -> None:
    """Only as a program of its own: files private, no core dumps (they hold keys), SIGTERM ends cleanly, and what a
    thread could not handle passes the redactor like everything else. Garbage is looked for less often.
    """
    os.umask(0o077)
    # Modules that are being loaded make hundreds of thousands of objects, hardly any of them garbage: looking through
    # them every 700, and all of them once more at the end, would be a fifth of a short command's time.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    gc.enable()
    atexit.register(gc.freeze)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGTERM, raise_terminated)
    threading.excepthook = lambda lost: run.output.block(
        "".join(traceback.format_exception(lost.exc_type, lost.exc_value, lost.exc_traceback))
    )
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """The reader of stdout has gone; nothing more may be written there, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
