"""A small coverage-guided fuzzer: inputs that reach a new arc of the watched modules are kept and changed further.

An input must be parsed or refused with a `KafkeepError`, within `CPU_SECONDS` of processor time. Everything else is a
finding, and is made as small as it can be made while it stays the same finding.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import FrameType, ModuleType
from typing import Final

from tests.fuzz.coverage import Coverage
from tests.fuzz.mutation import LONGEST, mutated, mutated_json

from kafkeep.errors import KafkeepError

CPU_SECONDS: Final = 1.0
"""What one input of at most 64 KiB may take; the slowest that are right take a tenth."""
_TRACED: Final = 30
"""Times slower at most while coverage is collected."""
_MEND: Final = 0.8
"""Share of inputs whose checksums and lengths are made to fit, so that what lies behind the checks is reached."""
_SMALLER_TRIES: Final = 3000
PARSED: Final = "parsed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that takes bytes from outside."""

    name: str
    run: Callable[[bytes], None]
    """Parses; raises a KafkeepError to refuse; AssertionError where what was parsed is not what was written."""
    modules: tuple[ModuleType, ...]
    """Whose lines guide the search."""
    seeds: Callable[[], list[bytes]]
    mend: Callable[[bytes, Random], bytes] | None = None
    tokens: tuple[bytes, ...] = ()
    json: bool = False
    """Inputs are JSON texts, changed as trees as well."""


@dataclass(frozen=True, slots=True)
class Finding:
    target: str
    data: bytes
    kind: str
    """Class of the exception, and where in kafkeep it was raised."""
    trace: str


@dataclass(slots=True)
class Session:
    """What a run over one target gave."""

    target: Target
    executions: int = 0
    arcs: set[int] = field(default_factory=set)
    corpus: list[bytes] = field(default_factory=list)
    findings: dict[str, Finding] = field(default_factory=dict)
    seconds: float = 0.0
    lines: dict[str, set[int]] = field(default_factory=dict)


class TooSlow(BaseException):
    """Not an Exception: nothing under test may catch it."""


def _raise_too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


@contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    before = signal.signal(signal.SIGPROF, _raise_too_slow)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome(target: Target, data: bytes) -> str | Finding:
    """`PARSED`, the name of the KafkeepError, or the finding that this input is."""
    start = time.process_time()
    try:
        with _cpu_limit(4 * CPU_SECONDS):
            target.run(data)
    except KafkeepError as error:
        told = type(error).__name__
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of a Rust library is one
        return _finding(target, data, error)
    else:
        told = PARSED
    if time.process_time() - start > CPU_SECONDS:
        return Finding(target.name, data, "TooSlow", f"{time.process_time() - start:.1f} s of processor time")
    return told


def _finding(target: Target, data: bytes, error: BaseException) -> Finding:
    if isinstance(error, TooSlow):
        return Finding(target.name, data, "TooSlow", "".join(traceback.format_exception(error)[-6:]))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/kafkeep/" in frame.filename]
    frames = frames or list(traceback.extract_tb(error.__traceback__))
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].name}" if frames else "?"
    return Finding(target.name, data, f"{type(error).__name__} in {place}", "".join(traceback.format_exception(error)))


def smaller(target: Target, finding: Finding, *, tries: int = _SMALLER_TRIES) -> Finding:
    """The finding with as few bytes as can be had by leaving stretches out, then as many zeros as can be."""
    best = [finding]
    if finding.kind == "TooSlow":
        tries //= 100
    for candidate in _shorter(lambda: best[-1].data):
        if tries == 0:
            break
        tries -= 1
        told = outcome(target, candidate)
        if isinstance(told, Finding) and told.kind == finding.kind:
            best.append(told)
    return best[-1]


def _shorter(current: Callable[[], bytes]) -> Iterator[bytes]:
    width = max(len(current()) // 2, 1)
    while width:
        place = 0
        while place < len(current()):
            data = current()
            yield data[:place] + data[place + width :]
            if current() is data or len(current()) == len(data):
                place += width
        width //= 2
    for place in range(len(current())):
        data = current()
        if data[place]:
            yield data[:place] + b"\x00" + data[place + 1 :]


def fuzz(
    target: Target,
    *,
    seed: int,
    seconds: float | None = None,
    executions: int | None = None,
    corpus: Sequence[bytes] = (),
    before: Callable[[bytes], None] = lambda data: None,
) -> Session:
    """Runs one target for `seconds` of wall clock or a number of `executions`.

    `before` is told each input before it runs, for whoever survives when the process does not. With `executions` the
    same seed gives the same inputs.
    """
    session = Session(target)
    coverage = Coverage(target.modules)
    dice = Random(f"{target.name}/{seed}")
    start = time.monotonic()
    for data in [*target.seeds(), *corpus]:
        before(data)
        _try(session, coverage, data, keep=True)
    session.corpus = session.corpus or [b""]
    while (seconds is None or time.monotonic() - start < seconds) and (
        executions is None or session.executions < executions
    ):
        data = _next(session, dice)
        before(data)
        _try(session, coverage, data)
    session.seconds = time.monotonic() - start
    session.lines = coverage.lines(session.arcs)
    return session


def _next(session: Session, dice: Random) -> bytes:
    target, corpus = session.target, session.corpus
    late = dice.random() < 0.3
    first = len(corpus) * 4 // 5 if late else 0
    base = min(corpus[dice.randrange(first, len(corpus))], corpus[dice.randrange(first, len(corpus))], key=len)
    made = mutated_json(base, corpus, dice) if target.json and dice.random() < 0.7 else None
    if made is None:
        made = mutated(base, corpus, target.tokens, dice)
    if target.mend is not None and dice.random() < _MEND:
        made = target.mend(made, dice)
    return made[:LONGEST]


def _try(session: Session, coverage: Coverage, data: bytes, *, keep: bool = False) -> None:
    session.executions += 1
    start = time.process_time()
    error: BaseException | None = None
    try:
        with _cpu_limit(_TRACED * CPU_SECONDS):
            coverage.of(lambda: session.target.run(data))
    except (KafkeepError, KeyboardInterrupt) as told:
        if isinstance(told, KeyboardInterrupt):
            raise
    except BaseException as told:  # noqa: BLE001 - a panic of a Rust library is one
        error = told
    taken = time.process_time() - start
    if error is not None or taken > CPU_SECONDS:
        told_again = outcome(session.target, data)
        if isinstance(told_again, Finding):
            if told_again.kind not in session.findings:
                session.findings[told_again.kind] = smaller(session.target, told_again)
            return
    fresh = coverage.last - session.arcs
    if fresh or keep:
        session.arcs |= coverage.last
        session.corpus.append(data)
