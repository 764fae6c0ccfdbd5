"""The only place that prints: for people or as JSON lines, the same calls.

Data goes to stdout, talk and progress to stderr. Everything shown has passed `text.safe` and the redactor. The
sinks may be called from any thread.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from kafkeep.cli.jsonable import error_fields, line, to_json
from kafkeep.cli.progress import Tally
from kafkeep.cli.text import Redactor, safe
from kafkeep.errors import KafkeepError
from kafkeep.events import (
    Committed,
    Event,
    GapFound,
    GenerationChanged,
    PackStored,
    PartFailed,
    PartitionDone,
    Progress,
    Retried,
    Stage,
    Warned,
    WorkPlanned,
)
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PERIODIC_SECONDS: Final = 10.0
COALESCE_SECONDS: Final = 1.0
WIDE: Final = 10_000
"""Width of tables that go into a file or a pipe: nothing is cut or wrapped there."""
RICH_VARIABLES: Final = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""With one of them in the environment rich draws into files as on a terminal."""
_BETWEEN: Final = "  "
_BESIDE_PROGRESS: Final = (PartitionDone, PackStored)
"""Events that come while records flow, perhaps by the thousand: they do not make progress told earlier."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table for people. Columns whose head starts with `>` are aligned to the right."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    styles: tuple[str, ...] = ()
    """Of the rows (rich's words), where colours are wanted; none for all when empty."""


Part = str | Grid


class Output(ABC):
    """Where a verb's results, events and errors go. `event` is the `EventSink` for operations."""

    def __init__(
        self, out: TextIO, err: TextIO, *, verbosity: int, redact: Redactor, clock: Callable[[], float]
    ) -> None:
        self.out = out
        self.err = err
        self.verbosity = verbosity
        self.redact = redact
        self.clock = clock
        self.lock = threading.RLock()

    def clean(self, text: str) -> str:
        """Redacted and free of terminal escapes."""
        return safe(self.redact(text))

    def event(self, event: Event) -> None:
        """Shows or writes one event of an operation. A reader that went away does not stop the operation."""
        with self.lock, contextlib.suppress(OSError):
            self._event(event)

    @abstractmethod
    def _event(self, event: Event) -> None:
        """The same, with the lock held."""

    @abstractmethod
    def show(self, *parts: Part) -> None:
        """The result for people, on stdout; `--json` leaves it out."""

    def data(self, text: str) -> None:
        """A file's content on stdout, as it is; on a terminal free of its escapes. Not for `--json`."""
        with self.lock:
            self.out.write(safe(text, keep_newlines=True) if self.out.isatty() else text)
            self.out.flush()

    @property
    def json(self) -> bool:
        """True when stdout is for JSON lines."""
        return isinstance(self, JsonOutput)

    @abstractmethod
    def item(self, kind: str, value: object) -> None:
        """One object of a listing: a JSON line of this type; people see what `show` was given."""

    @abstractmethod
    def summary(self, verb: str, value: object, exit_code: int) -> None:
        """The last line of `--json`."""

    def error(self, error: KafkeepError, exit_code: int) -> None:
        """What failed and what to do next, on stderr."""
        self.close()
        self._error_text(error.message, error.hint)

    def note(self, text: str) -> None:
        """One line of talk on stderr."""
        with self.lock:
            self.err.write(self.clean(text) + "\n")
            self.err.flush()

    def block(self, text: str) -> None:
        """Several lines on stderr, such as a traceback."""
        with self.lock:
            self.err.write(safe(self.redact(text), keep_newlines=True).rstrip("\n") + "\n")
            self.err.flush()

    def _error_text(self, message: str, hint: str) -> None:
        self.note(f"kafkeep: {message}")
        if hint:
            self.note(f"  hint: {hint}")

    @abstractmethod
    def close(self) -> None:
        """Ends progress displays and writes what was held back; safe to call twice."""


class JsonOutput(Output):
    """JSON lines on stdout: events as they come, then exactly one `summary` or `error`."""

    def __init__(
        self, out: TextIO, err: TextIO, *, verbosity: int, redact: Redactor, clock: Callable[[], float]
    ) -> None:
        super().__init__(out, err, verbosity=verbosity, redact=redact, clock=clock)
        self._pending: dict[str, Progress] = {}
        self._flushed = clock()

    def _event(self, event: Event) -> None:
        if not isinstance(event, Progress):
            if not isinstance(event, _BESIDE_PROGRESS):
                self._flush_progress()
            self._event_line(event)
            return
        self._add(event)
        if self.clock() - self._flushed >= COALESCE_SECONDS:
            self._flush_progress()

    def _add(self, event: Progress) -> None:
        before = self._pending.get(event.operation)
        if before is not None:
            event = Progress(event.operation, before.records + event.records, before.size_bytes + event.size_bytes)
        self._pending[event.operation] = event

    def _flush_progress(self) -> None:
        for event in self._pending.values():
            self._event_line(event)
        self._pending.clear()
        self._flushed = self.clock()

    def _event_line(self, event: Event) -> None:
        self._line(event.type, to_json(event, self.redact))

    def _line(self, kind: str, fields: dict[str, Any]) -> None:
        with self.lock:
            self.out.write(line({"type": kind, **fields}) + "\n")
            self.out.flush()

    def show(self, *parts: Part) -> None:
        return None

    def item(self, kind: str, value: object) -> None:
        self._line(kind, to_json(value, self.redact))

    def summary(self, verb: str, value: object, exit_code: int) -> None:
        fields = to_json(value, self.redact)
        self.close()
        self._line("summary", {"verb": verb, "exit_code": exit_code, **fields})

    def error(self, error: KafkeepError, exit_code: int) -> None:
        super().error(error, exit_code)
        self._line("error", {**error_fields(error, self.redact), "exit_code": exit_code})

    def close(self) -> None:
        with self.lock:
            self._flush_progress()


class HumanOutput(Output):
    """Tables and lines; a progress bar when stderr is a terminal, else a line every ten seconds."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        verbosity: int,
        redact: Redactor,
        clock: Callable[[], float],
        colour: bool = True,
        live: bool = False,
        rich: bool = False,
    ) -> None:
        """`rich`: tables are drawn by rich also where they are plain, because the environment may ask it for more."""
        super().__init__(out, err, verbosity=verbosity, redact=redact, clock=clock)
        self.colour = colour
        self.live = live
        self.rich = rich
        self._tallies: dict[str, Tally] = {}
        self._told: dict[str, float] = {}
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def _event(self, event: Event) -> None:
        if isinstance(event, WorkPlanned):
            self._planned(event)
        elif isinstance(event, Progress):
            self._progress(event)
        elif (text := event_text(event, self.verbosity)) is not None:
            self.note(text)

    def show(self, *parts: Part) -> None:
        with self.lock:
            for part in parts:
                if isinstance(part, Grid):
                    self.out.writelines(row + "\n" for row in self._rows(part))
                else:
                    self.out.write(self.clean(part) + "\n")
            self.out.flush()

    def _rows(self, grid: Grid) -> Sequence[str]:
        """Into a file or a pipe plain text goes without rich, which takes longer to load than many a command works."""
        plain = None if self.rich or self.out.isatty() else plain_rows(grid, self.clean)
        if plain is not None:
            return plain
        console = self._console(self.out)
        with console.capture() as captured:
            console.print(_table(grid, self.clean, colour=self.colour))
        return [row.rstrip() for row in captured.get().splitlines()]

    def item(self, kind: str, value: object) -> None:
        return None

    def summary(self, verb: str, value: object, exit_code: int) -> None:
        self.close()

    def note(self, text: str) -> None:
        with self.lock:
            if self._bars is None:
                super().note(text)
            else:
                self._bars.console.print(_text(self.clean(text)), soft_wrap=True)

    def close(self) -> None:
        with self.lock:
            if self._bars is not None:
                self._bars.stop()
                self._bars = None
                self._tasks.clear()
            self._tallies.clear()

    def _planned(self, event: WorkPlanned) -> None:
        now = self.clock()
        tally = Tally.of(event, now)
        self._tallies[event.operation] = tally
        self._told[event.operation] = now
        if self.live:
            bars = self._live_bars()
            if event.operation in self._tasks:
                bars.remove_task(self._tasks[event.operation])
            total = 1.0 if tally.share() is not None else None
            self._tasks[event.operation] = bars.add_task(self.clean(event.operation), total=total, figures="")

    def _progress(self, event: Progress) -> None:
        now = self.clock()
        tally = self._tallies.get(event.operation)
        if tally is None:
            tally = self._tallies[event.operation] = Tally(operation=event.operation, began=now)
        tally.add(event)
        if self._bars is not None and event.operation in self._tasks:
            share = tally.share()
            self._bars.update(self._tasks[event.operation], completed=share or 0.0, figures=tally.text(now))
        elif not self.live and now - self._told.get(event.operation, now - PERIODIC_SECONDS) >= PERIODIC_SECONDS:
            self._told[event.operation] = now
            self.note(f"{event.operation}: {tally.text(now)}")

    def _live_bars(self) -> Bars:
        if self._bars is None:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[figures]}", markup=False),
                console=self._console(self.err),
                transient=True,
                refresh_per_second=5,
            )
            self._bars.start()
        return self._bars

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        terminal = stream.isatty()
        return Console(
            file=stream,
            width=None if terminal else WIDE,
            no_color=not self.colour,
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
        )


def event_text(event: Event, verbosity: int) -> str | None:
    """What people read of an event; None for events that only `-v` shows."""
    match event:
        case Stage():
            return f"{event.name}: {event.detail}" if event.detail else event.name
        case Warned():
            return f"warning: {event.message}" + (f" ({event.hint})" if event.hint else "")
        case GapFound():
            gap = event.gap
            return f"gap: {gap.generation} {gap.offsets} lost to {gap.reason}: {gap.evidence}"
        case PartFailed():
            return f"failed: {event.subject}: {event.message} ({event.reason})"
        case Retried():
            return f"retry {event.attempt} of {event.what} in {event.delay_seconds:.1f} s: {event.reason}"
        case GenerationChanged():
            change = event.change
            return f"{change.generation}: {type(change).__name__.removeprefix('Generation').lower()}, {change.why}"
        case _:
            return _detail_text(event) if verbosity > 0 else None


def _detail_text(event: Event) -> str | None:
    match event:
        case PackStored():
            return f"pack {event.name} stored: {event.runs} runs, {event.size_bytes} bytes"
        case Committed():
            return f"commit {event.number} ({event.kind}): {event.packs} packs, {event.records} records"
        case PartitionDone():
            return f"{event.topic_partition} done: {event.records} records, {event.size_bytes} bytes"
        case _:
            return None


def _text(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(text, style=style)


def plain_rows(grid: Grid, clean: Callable[[str], str]) -> list[str] | None:
    """The rows as rich draws them without colours and with room enough; None for what is not that plain: a title,
    characters that may be wider than one column, spaces at an end, and rows that are too long for one line."""
    heads = [clean(head.removeprefix(">")) for head in grid.heads]
    rows = [heads, *([clean(cell) for cell in row] for row in grid.rows)]
    if grid.title or not heads or any(len(row) != len(heads) for row in rows):
        return None
    if not all(cell.isascii() and cell == cell.strip() for row in rows for cell in row):
        return None
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sum(widths) + len(_BETWEEN) * len(widths) > WIDE:
        return None
    right = [head.startswith(">") for head in grid.heads]
    drawn = ((c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) for row in rows)
    return [_BETWEEN.join(row).rstrip() for row in drawn]


def _table(grid: Grid, clean: Callable[[str], str], *, colour: bool) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=clean(grid.title) or None, title_justify="left", title_style="")
    for head in grid.heads:
        right = head.startswith(">")
        table.add_column(
            _text(clean(head.removeprefix(">")), "bold" if colour else ""),
            justify="right" if right else "left",
            overflow="fold",
        )
    styles = grid.styles if grid.styles and colour else ("",) * len(grid.rows)
    for row, style in zip(grid.rows, styles, strict=True):
        table.add_row(*(_text(clean(cell), style) for cell in row))
    return table


def make_output(
    *,
    json: bool,
    out: TextIO,
    err: TextIO,
    verbosity: int,
    redact: Redactor,
    clock: Callable[[], float],
    dumb: bool,
    colour: bool,
    rich: bool = False,
) -> Output:
    """The output that the global options ask for; `dumb` terminals get lines instead of bars."""
    if json:
        return JsonOutput(out, err, verbosity=verbosity, redact=redact, clock=clock)
    live = err.isatty() and not dumb
    return HumanOutput(out, err, verbosity=verbosity, redact=redact, clock=clock, colour=colour, live=live, rich=rich)


__all__: Final[Sequence[str]] = ("Grid", "HumanOutput", "JsonOutput", "Output", "Part", "event_text", "make_output")
