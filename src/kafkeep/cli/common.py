"""What every verb shares: the run's context, ways to open a repository and a cluster, and the types of options."""

from __future__ import annotations

import functools
import math
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kafkeep.cli.render import RICH_VARIABLES, Output, Part, make_output
from kafkeep.cli.text import Redactor
from kafkeep.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from kafkeep.kafka.cluster import Cluster
    from kafkeep.repository.keyring import Access
    from kafkeep.repository.repository import Repository
    from kafkeep.repository.stores.base import Store
    from kafkeep.repository.stores.options import AsOf
    from kafkeep.settings import Loaded

Verb = TypeVar("Verb", bound=Callable[..., Any])


class Run:
    """One call of kafkeep: its environment, its output and its settings, which are read when first asked for."""

    def __init__(self, *, env: Mapping[str, str], cwd: Path, home: Path, json: bool = False) -> None:
        self.env = env
        self.cwd = cwd
        self.home = home
        self.redact = Redactor()
        self.config: Path | None = None
        self.verbosity = 0
        self.rng = random.SystemRandom()
        self.output = self._output(json)
        self.limits: dict[str, int] = {}
        """Bytes per second by `upload` and `download`, where the command line gives them."""
        self.key_files: dict[str, Path] = {}
        """Files with keys by kind (`key_sources.KINDS`), where the command line gives them."""
        self.accesses: dict[str, Access | None] = {}
        """What opens repositories that are encrypted, by what --repo says."""
        self.as_of: AsOf | None = None
        """When repositories are read as they were at a time."""
        self._loaded: Loaded | None = None

    def begin(self, *, config: Path | None, json: bool, verbosity: int) -> None:
        """Takes over the global options."""
        self.config = config
        self.verbosity = verbosity
        self.output = self._output(json)

    def _output(self, json: bool) -> Output:
        return make_output(
            json=json,
            out=sys.stdout,
            err=sys.stderr,
            verbosity=self.verbosity,
            redact=self.redact,
            clock=time.monotonic,
            dumb=self.env.get("TERM") == "dumb",
            colour=not self.env.get("NO_COLOR"),
            rich=any(variable in self.env for variable in RICH_VARIABLES),
        )

    def now(self) -> datetime:
        """The wall clock that operations are given."""
        return datetime.now(UTC)

    @property
    def settings(self) -> Loaded:
        from kafkeep import settings

        if self._loaded is None:
            self._loaded = settings.load(self.config, env=self.env, cwd=self.cwd, home=self.home)
        return self._loaded

    def start_logs(self) -> None:
        """Called before anything that may log; kept apart because --help needs no logs."""
        from kafkeep.cli import logs

        logs.configure(self.output, self.verbosity)


def finish(run: Run, verb: str, value: object, parts: tuple[Part, ...], status: int) -> int:
    """The end of a verb: what it tells people, what it tells programs, and its exit status."""
    run.output.close()
    run.output.show(*parts)
    run.output.summary(verb, value, status)
    return status


def pass_run(verb: Callable[..., int | None]) -> Callable[..., int | None]:
    """Hands the run to a command as its first argument."""

    def with_run(*args: Any, **kwargs: Any) -> int | None:
        context = click.get_current_context()
        run = context.find_object(Run)
        if run is None:
            raise TypeError("kafkeep's commands run below kafkeep.cli.main.main")
        return context.invoke(verb, run, *args, **kwargs)

    return functools.update_wrapper(with_run, verb)


def repo_option(verb: Verb) -> Verb:
    """--repo of a repository that is opened, and what opens it."""
    return place_option(key_options(verb))


def place_option(verb: Verb) -> Verb:
    """--repo alone."""
    return click.option(
        "--repo", "repo", required=True, metavar="R", help="Repository: a name from the settings, a URL or a folder."
    )(verb)


def key_options(verb: Verb) -> Verb:
    """--identity-file, --passphrase-file and --writer-key-file, which a repository that is encrypted is opened with."""

    def remember(context: click.Context, option: click.Parameter, value: Path | None) -> None:
        run = context.find_object(Run)
        if value is not None and run is not None:
            run.key_files[str(option.name).removesuffix("_file")] = value

    for kind, what in (
        ("writer-key", "Key with which an encrypted repository is written, pruned and copied; it opens no records."),
        ("passphrase", "Passphrase that opens an encrypted repository."),
        ("identity", "Identity that opens an encrypted repository."),
        ("signing-key", "Key with which commits are signed, where the repository wants them signed."),
    ):
        verb = click.option(
            f"--{kind}-file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            expose_value=False,
            callback=remember,
            help=f"{what}  [default: the setting, if there is one]",
        )(verb)
    return verb


def limit_options(verb: Verb) -> Verb:
    """--limit-upload and --limit-download, which the store that is opened goes by."""

    def remember(context: click.Context, option: click.Parameter, value: int | None) -> None:
        run = context.find_object(Run)
        if value is not None and run is not None:
            if value < 1:
                raise UsageError("a limit is above zero", hint="Leave the option out to have none.")
            run.limits[str(option.name).removeprefix("limit_")] = value

    for name, what in (("download", "read from"), ("upload", "write to")):
        verb = click.option(
            f"--limit-{name}",
            type=SIZE,
            expose_value=False,
            callback=remember,
            help=f"Most to {what} the store in a second, for example 20MiB.  [default: the setting, else no limit]",
        )(verb)
    return verb


def cluster_option(verb: Verb) -> Verb:
    return click.option(
        "--cluster",
        "cluster",
        required=True,
        metavar="C",
        help="Cluster: a name from the settings, or host:port[,host:port] of a plaintext listener.",
    )(verb)


def topics_options(verb: Verb) -> Verb:
    """--topics and --exclude."""
    verb = click.option(
        "--exclude", "exclude", multiple=True, type=PATTERNS, help="Topics to leave out, in the same form. Repeatable."
    )(verb)
    return click.option(
        "--topics",
        "topics",
        multiple=True,
        type=PATTERNS,
        help="Topics: globs with commas between them, or one regular expression after re:. Repeatable.  [default: *]",
    )(verb)


def metadata_route_options(verb: Verb) -> Verb:
    """--metadata-route and --include-credentials."""
    verb = click.option(
        "--include-credentials",
        is_flag=True,
        help="Also secrets in the configs of connectors, and with --metadata-route controller salts and keys of SCRAM "
        "users, with which passwords can be guessed at: keep them in a repository that is encrypted.",
    )(verb)
    return click.option(
        "--metadata-route",
        type=click.Choice(["admin", "controller"]),
        default="admin",
        show_default=True,
        help="Where settings and permissions come from: the brokers, part by part, or the controllers' own log, all at one "
        "moment. The latter needs the cluster's key `controllers` and the right CLUSTER_ACTION.",
    )(verb)


def check_metadata_route(route: str, credentials: bool) -> None:
    """UsageError for credentials that the brokers do not show."""
    if credentials and route != "controller":
        raise UsageError(
            "--include-credentials needs --metadata-route controller, or Kafka Connect in the cluster's settings",
            hint="Brokers show no credentials; only the controllers' own log and configs of connectors have them.",
        )


def warn_of_credentials(run: Run, route: str, credentials: bool) -> None:
    """Says once, before anything is read, what it means to keep users' credentials."""
    from kafkeep.events import Warned

    if credentials and route == "controller":
        run.output.event(
            Warned(
                "the repository will hold salts and keys of SCRAM users",
                "Whoever can read it can guess at their passwords and pose as the cluster before them. Encrypt it, or "
                "keep it where only those may read who may read the controllers' disks.",
            )
        )


def flat(values: tuple[tuple[str, ...], ...], default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Patterns of a repeated option in the order given."""
    return tuple(part for value in values for part in value) if values else default


# --- repositories and clusters ---------------------------------------------------------------------------------------


def store_url(run: Run, spec: str) -> str:
    """The URL or path behind --repo."""
    from kafkeep.settings import check_url, nearest

    known = run.settings.settings.repository
    if spec in known:
        return known[spec].url
    if not re.search(r"[/\\~]", spec) and spec not in (".", "..") and "://" not in spec:
        raise SettingsError(
            f"no repository is named '{spec}'",
            hint=f"{nearest(spec, list(known))} A folder is written with a slash, for example ./{spec}.",
        )
    try:
        url = check_url(spec)
    except ValueError as error:
        raise SettingsError(f"--repo {error}", hint="The store's own credentials are found without it.") from error
    return url if "://" in url else str(Path(url).expanduser())


@contextmanager
def opened_store(run: Run, spec: str, *, today: bool = False) -> Iterator[Store]:
    """The store behind --repo, as it was at --as-of where that was given; `today`: as it is whatever was given."""
    from kafkeep.cli.stores import open_configured

    url = store_url(run, spec)
    run.start_logs()
    store = open_configured(run, spec, url, as_of=None if today else run.as_of)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def opened_repository(run: Run, spec: str) -> Iterator[Repository]:
    from kafkeep.cli.key_sources import access_for, check_admins, pinned_admins, remember_opened
    from kafkeep.repository.repository import Repository

    with opened_store(run, spec) as store:
        access = access_for(run, spec, store)
        # a host that has read more before would take what was for a store that was rolled back
        cache = cache_folder(run) if run.as_of is None else None
        with Repository.open(
            store,
            now=run.now,
            rng=run.rng,
            cache_dir=cache,
            sink=run.output.event,
            access=access,
            admins=pinned_admins(run, spec),
        ) as repository:
            check_admins(run, spec, repository.about)
            remember_opened(run, spec, repository)
            if run.as_of is not None and run.as_of.reports:
                from kafkeep.cli.as_of import leave_out_garbage

                leave_out_garbage(run, repository, run.as_of)
            yield repository


def cache_folder(run: Run) -> Path:
    """Where what was read from repositories is kept: `KAFKEEP_CACHE`, else `kafkeep` in the XDG cache folder."""
    if own := run.env.get("KAFKEEP_CACHE"):
        return Path(own)
    base = run.env.get("XDG_CACHE_HOME")
    return (Path(base) if base else run.home / ".cache") / "kafkeep"


@contextmanager
def opened_cluster(run: Run, spec: str) -> Iterator[Cluster]:
    """The cluster behind --cluster. It is asked for its id first: a wrong address or login fails before any work."""
    from kafkeep.cli.connect import cluster_config
    from kafkeep.kafka.cluster import Cluster

    config = cluster_config(run, spec)
    run.start_logs()
    with Cluster(config, sink=run.output.event) as cluster:
        cluster.cluster_id()
        yield cluster


# --- signals ---------------------------------------------------------------------------------------------------------


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt it passes every handler of errors."""


def raise_terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


STOPPING: Final = "ending after what is being written; send the signal again to end at once"


class Stop:
    """Set by the first SIGINT or SIGTERM of a verb that can end early; `number` is that signal's."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.number: int | None = None


@contextmanager
def stop_on_signals(note: Callable[[str], None]) -> Iterator[Stop]:
    """The first SIGINT or SIGTERM asks for an early end; the second one interrupts as usual."""
    stop = Stop()

    def handler(number: int, frame: FrameType | None) -> None:
        if stop.number is None:
            stop.number = number
            stop.event.set()
            threading.Thread(target=note, args=(STOPPING,), daemon=True).start()  # a handler must not wait for a lock
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise Terminated

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)


# --- types of options ------------------------------------------------------------------------------------------------


_UNITS_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|s|m|h|d))+", re.ASCII)
_TAG_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kKMGT])(i?)B?|B)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds of `30s`, `5m`, `1h30m`, `500ms`; UsageError for anything else and for zero."""
    if not _DURATION.fullmatch(text):
        raise UsageError(f"{text!r} is not a duration", hint="Write it like 500ms, 30s, 5m, 1h30m or 2d.")
    seconds = sum(float(number) * _UNITS_SECONDS[unit] for number, unit in _PART.findall(text))
    if not 0 < seconds < math.inf:
        raise UsageError(f"{text!r} is not a duration above zero", hint="Write it like 30s or 5m.")
    return seconds


def parse_size(text: str) -> int:
    """Bytes of `8MiB`, `64M`, `1.5 GB`, `4096`; k, M, G, T count in 1000s and Ki, Mi, Gi, Ti in 1024s."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a size", hint="Write it like 4096, 64MiB or 1.5GB.")
    power = " kMGT".index((match[2] or " ").replace("K", "k"))
    factor: int = (1024 if match[3] else 1000) ** power
    size = float(match[1]) * factor
    if size >= 2**63:
        raise UsageError(f"{text[:40]!r} is no size that anything can have", hint="Write it like 4096, 64MiB or 1.5GB.")
    return round(size)


def parse_moment(text: str) -> datetime:
    """A time with its zone, in UTC: RFC 3339 such as `2026-11-20T10:00:00Z`. UsageError without date, time or zone."""
    try:
        moment = datetime.fromisoformat(text)
        utc = None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter at either end of the calendar
        utc = None
    if utc is None or "T" not in text.upper().replace(" ", "T"):
        raise UsageError(
            f"{text!r} is not a time with its zone",
            hint="Write it like 2026-11-20T10:00:00Z or 2026-11-20T11:00:00+01:00.",
        )
    return utc


def parse_tag(text: str) -> tuple[str, str]:
    """`key=value`; the value may be empty and may hold further `=`."""
    key, equals, value = text.partition("=")
    if not equals or not _TAG_KEY.fullmatch(key):
        raise UsageError(f"{text!r} is not key=value", hint="Write it like --tag change=4711.")
    return key, value


def parse_wanted_tag(text: str) -> str:
    """`key`, any value of which will do, or `key=value`."""
    if not _TAG_KEY.fullmatch(text.partition("=")[0]):
        raise UsageError(f"{text!r} is neither key nor key=value", hint="Write it like kind or kind=release.")
    return text


def parse_patterns(text: str) -> tuple[str, ...]:
    """Globs with commas between them, or one regular expression after `re:`, which may itself hold commas."""
    parts = (text,) if text.startswith("re:") else tuple(part.strip() for part in text.split(","))
    if "" in parts:
        raise UsageError(f"{text!r} holds an empty pattern", hint="Write it like 'orders,billing-*'.")
    return parts


class Parsed(click.ParamType[Any]):
    """An option's type made of a parser that raises UsageError; the option's name is put in front of the message."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except UsageError as error:
            where = f"{param.opts[0]}: " if param is not None and param.opts else ""
            raise UsageError(f"{where}{error.message}", hint=error.hint) from error


DURATION: Final = Parsed("duration", parse_duration)
SIZE: Final = Parsed("size", parse_size)
MOMENT: Final = Parsed("time", parse_moment)
TAG: Final = Parsed("key=value", parse_tag)
WANTED_TAG: Final = Parsed("key[=value]", parse_wanted_tag)
PATTERNS: Final = Parsed("globs", parse_patterns)
