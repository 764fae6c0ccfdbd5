"""Fuzzes the parsers: `python -m tests.fuzz --seconds 60 [--seed N] [--executions N] [TARGET ...]`.

Prints the seed, and for each target what was tried and which lines were reached. The first findings of each kind go,
made small, to `tests/golden/malformed/`, where the test suite runs them from then on. Ends with 1 when there are any.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
from pathlib import Path

from tests.fuzz.coverage import lines_of
from tests.fuzz.engine import Finding, Session, Target, fuzz
from tests.fuzz.malformed import FOLDER, add
from tests.fuzz.targets import TARGETS

from kafkeep import logger

MEMORY_BYTES = 1024 * 1024 * 1024
"""What a target may use on top of what the process has at its start."""
_STATUS_DIED = 70


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    unknown = sorted(set(options.targets) - set(TARGETS))
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    logger.send_nowhere()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    chosen = [TARGETS[name] for name in options.targets or TARGETS]
    seconds = None if options.executions else options.seconds / len(chosen)
    found = 0
    for target in chosen:
        found += one(target, seed=seed, seconds=seconds, executions=options.executions, folder=options.folder)
    return 1 if found else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes the parsers.")
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all of them by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="over all targets")
    parser.add_argument("--executions", type=int, help="of each target, in place of seconds: repeatable")
    parser.add_argument("--seed", type=int, help="a new one each time by default")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where findings go")
    return parser.parse_args(arguments)


def one(target: Target, *, seed: int, seconds: float | None, executions: int | None, folder: Path) -> int:
    """Fuzzes one target in a process of its own, which a fault of a native library may take down. Findings."""
    with tempfile.NamedTemporaryFile() as last:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            status = _STATUS_DIED
            try:
                status = _in_child(target, seed, seconds, executions, folder, Path(last.name))
            finally:
                sys.stdout.flush()
                os._exit(status)
        _, waited = os.waitpid(child, 0)
        if os.WIFEXITED(waited) and os.WEXITSTATUS(waited) != _STATUS_DIED:
            return os.WEXITSTATUS(waited)
        how = signal.Signals(os.WTERMSIG(waited)).name if os.WIFSIGNALED(waited) else "an error of the fuzzer"
        data = Path(last.name).read_bytes()
        _tell(Finding(target.name, data, f"the process ended with {how}", ""), folder)
        return 1


def _in_child(
    target: Target, seed: int, seconds: float | None, executions: int | None, folder: Path, last: Path
) -> int:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, resource.RLIM_INFINITY))
    with last.open("wb", buffering=0) as file:

        def before(data: bytes) -> None:
            os.pwrite(file.fileno(), data, 0)
            os.ftruncate(file.fileno(), len(data))

        session = fuzz(target, seed=seed, seconds=seconds, executions=executions, before=before)
    _report(session)
    for finding in session.findings.values():
        _tell(finding, folder)
    return min(len(session.findings), _STATUS_DIED - 1)


def _report(session: Session) -> None:
    reached = []
    for module in session.target.modules:
        lines = lines_of(module)
        hit = len(session.lines[module.__name__] & lines)
        reached.append(f"{module.__name__.removeprefix('kafkeep.')} {hit}/{len(lines)}")
    print(
        f"{session.target.name}: {session.executions} executions in {session.seconds:.1f} s, {len(session.corpus)} inputs"
        f" kept, {len(session.arcs)} arcs, lines {', '.join(reached)}, {len(session.findings)} findings",
        flush=True,
    )


def _tell(finding: Finding, folder: Path) -> None:
    path = add(finding.target, finding.data, finding.kind, folder)
    print(f"FOUND by {finding.target}: {finding.kind}, {len(finding.data)} bytes, kept in {path}\n{finding.trace}")
