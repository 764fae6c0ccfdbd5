"""Kafka's classes as the JVM has them in memory, kept in a file: brokers and tools of a test run start in half the time.

Java calls it a dynamic archive (JEP 350). It is made once for a runtime and a Kafka version by a lab that writes it when it
ends, and lies in the cache. A JVM that it does not fit starts without it and says nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from kafkeep.errors import LabError
from kafkeep.lab import LabOptions, cache_folder, start
from kafkeep.lab.config import SASL
from kafkeep.lab.java import find_java, find_kafka

WRITING_SECONDS: Final = 120.0
"""How long a broker may take to write the archive at its end."""
NONE: Final = b"none can be made here"


def jvm_options(kafka: str | None) -> tuple[str, ...]:
    """What a lab's JVMs are given; nothing while another process makes the archive, or where none can be made."""
    archive = _archive(kafka)
    if not archive.exists():
        _make(archive, kafka)
    if not archive.exists() or archive.stat().st_size == len(NONE):
        return ()
    return (f"-XX:SharedArchiveFile={archive}", "-Xlog:disable")


@cache
def _archive(kafka: str | None) -> Path:
    """Named by all that an archive depends on."""
    java, home = find_java(os.environ).executable.resolve(), find_kafka(kafka, env=os.environ)
    jars = sorted((path.name, path.stat().st_mtime_ns) for path in home.libs.glob("*.jar"))
    named = hashlib.sha256(repr((str(java), java.stat().st_mtime_ns, str(home.libs), jars)).encode()).hexdigest()
    return cache_folder(os.environ) / "classes" / f"{home.version}-{named[:16]}.jsa"


def _make(archive: Path, kafka: str | None) -> None:
    """By one process; others do without meanwhile."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with (archive.parent / f"{archive.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if archive.exists():
            return
        with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
            made = Path(scratch) / "made"
            # with logins and TLS, whose classes are a third of what there is to load
            options = LabOptions(kafka=kafka, security=SASL, jvm_options=(f"-XX:ArchiveClassesAtExit={made}",))
            try:
                lab = start(options, directory=Path(scratch) / "lab", env=os.environ, now=datetime.now(UTC))
                lab.stop(grace_seconds=WRITING_SECONDS)
            except LabError:
                pass  # a runtime that does not know the option: tests go on as they would without
            if not made.exists():
                made.write_bytes(NONE)
            made.replace(archive)
