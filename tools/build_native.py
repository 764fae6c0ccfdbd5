"""Builds kafkeep's C helper: a hook of hatchling, and `python tools/build_native.py` by hand, which shows what fails.

The helper is optional: without a C compiler, without Python's headers or with KAFKEEP_PURE=1 in the environment the
package is the same without it. One build serves every CPython from 3.11 on (the limited API).
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # by hand, in an environment without hatchling
    BuildHookInterface = object

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("src/kafkeep/native")
LIBRARY = FOLDER / "_native.abi3.so"
FLAGS = (
    "-O3",
    "-std=c11",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Werror=implicit-function-declaration",
    "-DNDEBUG",
)
PYTHON_TAG = "cp311-abi3"


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc, valid-type]
    """Puts the library into the wheel, which then belongs to one platform; an editable install has it in its place."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        problem = build(Path(self.root))
        if problem is not None:
            self.app.display_warning(f"kafkeep is built without its C helper: {problem.splitlines()[0]}")
        elif version != "editable":
            build_data["pure_python"] = False
            build_data["tag"] = f"{PYTHON_TAG}-{platform_tag()}"
            build_data["artifacts"].append(f"/{LIBRARY.as_posix()}")


def platform_tag() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def build(root: Path) -> str | None:
    """Compiles the library into its place; None when that worked, else why not. A library from before is removed then."""
    target = root / LIBRARY
    problem = _obstacle() or _compile(root / FOLDER, target)
    if problem is not None:
        target.unlink(missing_ok=True)
    return problem


def _obstacle() -> str | None:
    if os.environ.get("KAFKEEP_PURE", "") not in ("", "0"):
        return "KAFKEEP_PURE is set"
    if platform.python_implementation() != "CPython" or sys.platform == "win32":
        return f"{platform.python_implementation()} on {sys.platform} has none"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "a free-threaded Python has no limited API"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python's headers are not installed (on Debian and Ubuntu: apt-get install python3-dev)"
    if compiler() is None:
        return "there is no C compiler (on Debian and Ubuntu: apt-get install gcc)"
    return None


def compiler() -> list[str] | None:
    """The command of a C compiler: the environment's CC, the one Python was made with, or a usual one."""
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"):
        words = shlex.split(command) if command else []
        if words and shutil.which(words[0]):
            return words
    return None


def _compile(folder: Path, target: Path) -> str | None:
    """By way of a temporary name: a process that has the library mapped keeps the one it has."""
    made = target.with_name(f".{target.name}.{os.getpid()}")
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    sources = sorted(map(str, folder.glob("*.c")))
    include = f"-I{sysconfig.get_path('include')}"
    command = [*(compiler() or ["cc"]), *FLAGS, *link, include, *sources, "-o", str(made)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if ran.returncode != 0:
            return f"the C compiler fails: {shlex.join(command[:1])} ended with {ran.returncode}\n{ran.stderr}"
        made.replace(target)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the C compiler fails: {error}"
    finally:
        made.unlink(missing_ok=True)
    return None


if __name__ == "__main__":
    sys.exit(build(ROOT))
