"""Building the C helper, and doing without it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.support.native import without_helper
from tools import build_native

from kafkeep import native
from kafkeep.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
BUILDABLE = build_native._obstacle() is None


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a build needs, without a library."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


def functions(tree: Path) -> str:
    """Which functions kafkeep finds there."""
    code = "from kafkeep import native; print(native.available(), native.walk is not None)"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tree / 'src')!r}); {code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def wheel(tree: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tree / "out")]
    subprocess.run(command, cwd=tree, capture_output=True, check=True)
    (made,) = (tree / "out").iterdir()
    return zipfile.ZipFile(made)


def test_the_library_is_built_where_there_is_a_compiler(tree: Path) -> None:
    assert functions(tree) == "False False"
    assert (build_native.build(tree) is None) == BUILDABLE
    assert functions(tree) == f"{BUILDABLE} {BUILDABLE}"
    assert not list((tree / build_native.FOLDER).glob(".*"))


@pytest.mark.parametrize(("name", "value", "told"), [("CC", "false", "fails: false"), ("KAFKEEP_PURE", "1", "is set")])
def test_where_it_cannot_be_built_the_reason_is_told_and_python_takes_over(
    tree: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    build_native.build(tree)
    monkeypatch.setenv(name, value)
    problem = build_native.build(tree)
    assert problem is not None
    assert told in problem or not BUILDABLE
    assert functions(tree) == "False False"


def test_a_source_that_does_not_compile_is_no_helper(tree: Path) -> None:
    """Nor is one that calls what the limited API has not: the library would load and fall over."""
    for text in ("void broken(void) { unknown_function(); }", "#error no"):
        (tree / build_native.FOLDER / "broken.c").write_text(text)
        assert build_native.build(tree) is not None
        assert functions(tree) == "False False"


def test_a_library_from_other_sources_is_left_unused(tree: Path) -> None:
    init = tree / build_native.FOLDER / "__init__.py"
    build_native.build(tree)
    init.write_text(init.read_text().replace(f"API: Final = {native.API}", f"API: Final = {native.API + 1}"))
    assert functions(tree) == "False False"


def test_a_wheel_belongs_to_one_platform_only_with_the_library(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with wheel(tree) as made:
        assert (build_native.LIBRARY.relative_to("src").as_posix() in made.namelist()) == BUILDABLE
        assert not [name for name in made.namelist() if name.endswith((".c", ".h"))]
        assert (b"Tag: cp311-abi3-" in made.read("kafkeep-0.1.0.dist-info/WHEEL")) == BUILDABLE
    shutil.rmtree(tree / "out")
    monkeypatch.setenv("KAFKEEP_PURE", "1")
    with wheel(tree) as made:
        assert not [name for name in made.namelist() if name.endswith(".so")]
        assert b"Tag: py3-none-any" in made.read("kafkeep-0.1.0.dist-info/WHEEL")


def test_the_version_tells_which_way_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with without_helper():
        assert native.walk is None and native.crc32c is None
        assert main(["version"]) == 0
    assert "without the C helper" in capsys.readouterr().out
    assert main(["version"]) == 0
    assert ("with the C helper" in capsys.readouterr().out) == native.available()
