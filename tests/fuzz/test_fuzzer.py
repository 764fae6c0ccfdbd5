"""The fuzzer finds what is planted, and a short run over every target of kafkeep finds nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fuzz import engine, planted
from tests.fuzz.coverage import Coverage, lines_of
from tests.fuzz.malformed import OPEN, corpus
from tests.fuzz.targets import TARGETS
from tests.support.faults import Figures

ROOT = Path(__file__).parent.parent.parent
EXECUTIONS = 1500
SEED = 431


def test_coverage_leads_to_a_defect_that_chance_does_not_meet() -> None:
    target = planted.target("deep")
    session = engine.fuzz(target, seed=1, executions=40_000)
    (finding,) = session.findings.values()
    assert finding.kind == "ZeroDivisionError in planted.py:_deep"
    assert finding.data == b"Kk\xfe7", "made as small as can be"
    assert not engine.fuzz(replace(target, modules=()), seed=1, executions=40_000).findings


def test_the_same_seed_gives_the_same_inputs() -> None:
    target = TARGETS["records"]
    runs = [engine.fuzz(target, seed=seed, executions=600) for seed in (5, 5, 6)]
    assert runs[0].corpus == runs[1].corpus
    assert runs[0].corpus != runs[2].corpus


def test_what_never_ends_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CPU_SECONDS", 0.05)
    session = engine.fuzz(replace(planted.target("endless"), seeds=lambda: [b"a", b"\x07"]), seed=1, executions=3)
    assert [finding.kind for finding in session.findings.values()] == ["TooSlow"]


@pytest.mark.parametrize(
    ("name", "kind"), [("fatal", "the process ended with SIGABRT"), ("greedy", "MemoryError in planted.py:_greedy")]
)
def test_what_takes_the_process_or_the_memory_is_kept(name: str, kind: str, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tests.fuzz import planted; from tests.fuzz.command import one;"
        f"print('findings', one(planted.target({name!r}), seed=1, seconds=None, executions=3000,"
        f" folder=Path({str(tmp_path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "findings 1" in done.stdout, done.stdout + done.stderr
    (kept,) = corpus(tmp_path)
    assert (kept.target, kept.why, kept.outcome, kept.data[:1]) == (f"planted-{name}", kind, OPEN, b"\x07")


@pytest.mark.fault("P1")
def test_a_short_run_over_every_target_finds_nothing(tmp_path: Path, fault: Figures) -> None:
    many = fault.count(quick=EXECUTIONS, full=5 * EXECUTIONS)
    command = [sys.executable, "-m", "tests.fuzz", "--executions", str(many), "--seed", str(SEED)]
    command += ["--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240 if not fault.full else 1500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"seed {SEED}\n")
    told = re.findall(
        r"^([a-z-]+): (\d+) executions .* (\d+) inputs kept, (\d+) arcs, .* 0 findings$", done.stdout, re.M
    )
    assert {name for name, *_ in told} == set(TARGETS)
    for name, executions, kept, arcs in told:
        assert int(executions) == many, name
        assert int(arcs) > 10, f"{name} reaches nothing"
        assert int(kept) > len(TARGETS[name].seeds()), f"{name} found nothing that its seeds do not reach"
    assert not list(tmp_path.iterdir())
    fault.figures(parsers=len(told), inputs=many * len(told))


def test_coverage_counts_the_lines_of_functions() -> None:
    coverage = Coverage((planted,))
    target = planted.target("deep")
    with pytest.raises(ZeroDivisionError):
        coverage.of(lambda: target.run(b"Kk\xfe7"))
    lines = coverage.lines(coverage.last)[planted.__name__]
    assert len(lines) == 5
    assert lines < lines_of(planted)
