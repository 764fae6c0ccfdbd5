"""The pinned jar lists: which files make up a Kafka version, and what their bytes must be."""

from __future__ import annotations

import re
from importlib import resources

from kafkeep.errors import LabError
from kafkeep.records import dataclass

DEFAULT_VERSION = "4.3.1"
PINNED_VERSIONS = ("4.3.1", "3.9.2")

_LINE = re.compile(
    r"(?P<group>[A-Za-z0-9_.-]+):(?P<artifact>[A-Za-z0-9_.-]+):(?P<version>[A-Za-z0-9_.-]+)"
    r"(?::(?P<classifier>[A-Za-z0-9_.-]+))? (?P<sha256>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Jar:
    """One Maven artefact of packaging `jar`; `classifier` is empty for the main one."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The name Maven gives the file; unique within a list (checked by `parse`)."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{suffix}.jar"

    def __str__(self) -> str:
        return ":".join(part for part in (self.group, self.artifact, self.version, self.classifier) if part)


def parse(text: str, *, source: str) -> tuple[Jar, ...]:
    """The jars of a list: `group:artifact:version[:classifier] sha256` a line, `#` starts a comment line.

    Raises LabError that names `source` and the line when a line is malformed, a file name comes twice or none is there.
    """
    jars: dict[str, Jar] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise LabError(f"jar list {source} is malformed in line {number}")
        jar = Jar(match["group"], match["artifact"], match["version"], match["classifier"] or "", match["sha256"])
        if jar.file_name in jars:
            raise LabError(f"jar list {source} names {jar.file_name} twice, again in line {number}")
        jars[jar.file_name] = jar
    if not jars:
        raise LabError(f"jar list {source} is empty")
    return tuple(jars.values())


def pinned(version: str) -> tuple[Jar, ...]:
    """The jars of one of `PINNED_VERSIONS`; LabError for another version."""
    if version not in PINNED_VERSIONS:
        raise LabError(
            f"kafka {version} is not pinned in this package",
            hint=f"Take one of {', '.join(PINNED_VERSIONS)}, or set KAFKA_HOME to an unpacked Kafka {version}.",
        )
    name = f"kafka-{version}.txt"
    return parse(resources.files("kafkeep.lab").joinpath(name).read_text(encoding="utf-8"), source=name)
