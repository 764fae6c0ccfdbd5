"""The machine in general words: enough to read figures by, nothing that names it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from kafkeep import __version__
from kafkeep.lab import Lab


def facts(folder: Path, lab: Lab | None = None) -> dict[str, str]:
    """What figures depend on; `folder` is where the data lies."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    release = ".".join(platform.release().split(".")[:2])
    kafka = {} if lab is None else {"kafka": f"{lab.kafka}, one broker on the same machine, plaintext over loopback"}
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {release} {platform.machine()}",
        "file system": file_system(folder),
        "python": platform.python_version(),
        **kafka,
        "kafkeep": __version__,
    }


def file_system(folder: Path) -> str:
    """The type of file system a folder lies on, `unknown` where the system does not list its mounts."""
    mounts = Path("/proc/self/mounts")
    if not mounts.is_file():
        return "unknown"
    found = ("", "unknown")
    for line in mounts.read_text(encoding="utf-8").splitlines():
        _, point, kind, *_ = line.split()
        if folder.resolve().is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]
