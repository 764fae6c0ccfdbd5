"""Makes or completes the virtual environment: `python3 tools/setup_environment.py .venv`. Needs no more than Python.

Installs exactly what requirements.lock names, each file checked against its hash, and kafkeep itself in place.
Where Python comes without ensurepip (Debian leaves it to the package python3-venv), pip is taken from what the machine
has; where it has none, root gets the package installed, and anybody else is told what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    if sys.version_info < OLDEST:
        version = ".".join(map(str, sys.version_info[:3]))
        stop(f"kafkeep needs Python 3.11 or later, this is {version}", "Name another: make setup PYTHON=python3.12")
    folder = Path(sys.argv[1])
    python = folder / "bin" / "python"
    if not runs(python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
        venv.create(folder, clear=True, symlinks=True, with_pip=False)
    if not (runs(python, "-m", "pip", "--version") or bring_pip(python)):
        stop(
            f"{sys.executable} has neither ensurepip nor pip",
            "Install it, on Debian and Ubuntu: apt-get install python3-venv",
        )
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    run(*pip, "--require-hashes", "--requirement", str(ROOT / "requirements.lock"))
    run(*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    if not runs(python, "-c", "import sys; from kafkeep import native; sys.exit(not native.available())"):
        why = f"{python} tools/build_native.py tells why"
        print(f"setup: without the C helper kafkeep works, and takes more processor time; {why}", file=sys.stderr)


def bring_pip(python: Path) -> bool:
    """Puts pip into the environment by the first way that works."""
    ways = [
        [str(python), "-m", "ensurepip"],
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "pip"],
    ]
    if uv := shutil.which("uv"):
        ways.append([uv, "pip", "install", "--quiet", "--python", str(python), "pip"])
    return any(runs(*way) for way in ways) or (install_ensurepip() and runs(*ways[0]))


def install_ensurepip() -> bool:
    """On a Debian whose Python lacks ensurepip, as root: installs the package that holds it, and says so."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return False
    print("setup: this Python has neither ensurepip nor pip; installing Debian's python3-venv", file=sys.stderr)
    return runs(apt, "update") and runs(apt, "install", "--yes", "--no-install-recommends", "python3-venv")


def runs(*command: str | Path) -> bool:
    """True when a command exists and ends well; what it prints is left out."""
    try:
        return subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def run(*command: str) -> None:
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode != 0:
        stop(f"this failed: {' '.join(command)}", "The lines above say why; nothing needs to be undone.")


def stop(message: str, hint: str) -> None:
    sys.exit(f"setup: {message}\n  hint: {hint}")


if __name__ == "__main__":
    main()
