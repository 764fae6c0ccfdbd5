"""--executor and what goes with it: who does the work of a backup or a restore."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kafkeep.cli.common import Run, Verb, cache_folder, store_url
from kafkeep.cli.secrets import read_secret
from kafkeep.cli.stores import store_options
from kafkeep.errors import UsageError
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.elsewhere import StorePlace, Workforce
    from kafkeep.settings import RepositorySettings, WorkersSettings
    from kafkeep.work.carrying import WorkerKey
    from kafkeep.work.executor import Executor

EXECUTORS: Final = ("threads", "processes", "dask")
OPTIONS: Final = frozenset({"executor", "workers", "scheduler", "worker_key_file"})
"""Names of the parameters: none of them decides what is read or written."""


def worker_options(verb: Verb) -> Verb:
    """--executor, --workers, --scheduler and --worker-key-file."""
    for option in (
        click.option(
            "--worker-key-file",
            "worker_key_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="With --scheduler: the key that seals what travels, 64 hexadecimal digits; workers have it in "
            "KAFKEEP_WORKER_KEY_FILE.  [default: the setting, else that variable here, if there is one]",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="With --executor dask: tcp://host:port or tls://host:port of the scheduler. Without it workers are "
            "started on this host and ended again.  [default: the setting, if there is one]",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1, 1024),
            help="How many workers share the work, for processes and dask.  [default: the setting, else one per core, or "
            "as many as the scheduler has]",
        ),
        click.option(
            "--executor",
            type=click.Choice(EXECUTORS),
            help="Who does the work: threads of this process, further processes on this host, or the workers of a Dask "
            "cluster; docs/workers.md says when that pays.  [default: the setting, else threads]",
        ),
    ):
        verb = option(verb)
    return verb


@dataclass(frozen=True, slots=True)
class _Wanted:
    executor: str
    workers: int | None
    scheduler: str | None


def _wanted(given: Mapping[str, Any], settings: WorkersSettings | None) -> _Wanted:
    """Options before settings; a setting that belongs to another executor than the option's is passed over. Raises
    `UsageError` for options that would have no effect."""
    executor = given["executor"]
    set_here = settings if settings is not None and executor in (None, settings.executor) else None
    if executor is None:
        executor = "threads" if settings is None else settings.executor
    for option, fitting in (("workers", ("processes", "dask")), ("scheduler", ("dask",))):
        if given[option] is not None and executor not in fitting:
            raise UsageError(
                f"--{option} has no effect with --executor {executor}", hint=f"Add --executor {' or '.join(fitting)}."
            )
    scheduler = given["scheduler"] if given["scheduler"] is not None or set_here is None else set_here.scheduler
    workers = given["workers"] if given["workers"] is not None or set_here is None else set_here.count
    if scheduler is not None and not scheduler.startswith(("tcp://", "tls://")):
        raise UsageError(f"{scheduler!r} is no address of a scheduler", hint="Write it as tcp://host:8786.")
    if given["worker_key_file"] is not None and scheduler is None:
        raise UsageError(
            "--worker-key-file has no effect without --scheduler", hint="Leave it out, or add --scheduler."
        )
    return _Wanted(executor, workers, scheduler)


@contextmanager
def opened_workers(run: Run, spec: str, given: Mapping[str, Any]) -> Iterator[Workforce]:
    """The workers for the repository behind --repo; those that are started here end with the `with`. Raises `UsageError`,
    `SettingsError`, `KeyRefused`, `MissingDependency`, `WorkerError`."""
    from kafkeep.elsewhere import HERE, Workforce

    settings = run.settings.settings.repository.get(spec)
    wanted = _wanted(given, None if settings is None else settings.workers)
    if wanted.executor == "threads":
        yield HERE
        return
    place = _place(run, spec, settings, on_this_host=wanted.scheduler is None)
    with _executor(wanted, _key(run, spec, given, settings) if wanted.scheduler is not None else None) as executor:
        yield Workforce(executor=executor, place=place)


def _executor(wanted: _Wanted, key: WorkerKey | None) -> Executor:
    count = len(os.sched_getaffinity(0)) if wanted.workers is None else wanted.workers
    if wanted.executor == "processes":
        from kafkeep.work.processes import ProcessExecutor

        return ProcessExecutor(count)
    from kafkeep.work.dask import DaskExecutor

    return DaskExecutor(wanted.scheduler, count if wanted.scheduler is None else wanted.workers, key=key)


def _place(run: Run, spec: str, settings: RepositorySettings | None, *, on_this_host: bool) -> StorePlace:
    from kafkeep.elsewhere import StorePlace

    url = store_url(run, spec)
    return StorePlace(
        url=url,
        options=store_options(run, spec, url, settings),
        upload=run.limits.get("upload", None if settings is None else settings.upload_bytes_per_second),
        download=run.limits.get("download", None if settings is None else settings.download_bytes_per_second),
        as_of=run.as_of,
        cache_dir=cache_folder(run) if on_this_host and run.as_of is None else None,
    )


def _key(run: Run, spec: str, given: Mapping[str, Any], settings: RepositorySettings | None) -> WorkerKey | None:
    from kafkeep.settings import SecretSource
    from kafkeep.work.carrying import WorkerKey
    from kafkeep.work.dask_worker import KEY_FILE_VARIABLE, KEY_VARIABLE

    workers = None if settings is None else settings.workers
    file: Path | None = given["worker_key_file"]
    if file is not None:
        source, name = SecretSource(file=str(file), env=None, command=None), "--worker-key-file"
    elif workers is not None and workers.worker_key is not None:
        source, name = workers.worker_key, f"repository.{spec}.workers.worker_key"
    elif run.env.get(KEY_FILE_VARIABLE):
        source, name = SecretSource(file=run.env[KEY_FILE_VARIABLE], env=None, command=None), KEY_FILE_VARIABLE
    elif run.env.get(KEY_VARIABLE):
        source, name = SecretSource(file=None, env=KEY_VARIABLE, command=None), KEY_VARIABLE
    else:
        return None
    return WorkerKey.parse(run.redact.add(read_secret(source, name, run.env)))
