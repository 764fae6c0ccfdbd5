"""The nouns of Kafka Connect, and which values of a connector's config are secrets. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from kafkeep.records import dataclass
from kafkeep.secret import Secret

CONNECTORS: Final = "connectors"
"""What the whole of it is called where something could not be read."""
RUNNING, PAUSED, STOPPED = "RUNNING", "PAUSED", "STOPPED"

_SECRET_NAME: Final = re.compile(
    r"passw|passphrase|secret|token|credential|jaas|api[._-]?key|access[._-]?key|private[._-]?key|account[._-]?key|(?:^|[._-])key$",
    re.IGNORECASE,
)
_PLAIN_NAME: Final = re.compile(r"(?:^|\.)(?:key|header|value)\.converter$|\.field\.key$", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(
    r"://[^/\s@]*:[^/\s@]+@|(?:password|passwd|pwd|secret|token|key)\s*=\s*[\"']?[^\"'\s;&]", re.IGNORECASE
)
_REFERENCE: Final = re.compile(r"\$\{[^{}]+\}")


@dataclass(frozen=True, slots=True)
class ConnectorSetting:
    """One key of a connector's config. Neither `value` nor `secret`: a secret that is not kept, a hole."""

    name: str
    value: str | None
    secret: Secret | None = None

    @property
    def is_hole(self) -> bool:
        return self.value is None and self.secret is None


@dataclass(frozen=True, slots=True)
class ConnectorTask:
    task: int
    state: str


@dataclass(frozen=True, slots=True)
class ConnectorOffset:
    """How far a connector has come; both are JSON in text, keys sorted. What they mean is the connector's business."""

    partition: str
    offset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    name: str
    type: str
    """`source` or `sink`, `unknown` where Connect does not tell."""
    state: str
    """`RUNNING`, `PAUSED`, `STOPPED`, `FAILED`, `UNASSIGNED` …"""
    config: tuple[ConnectorSetting, ...]
    """Sorted by name, without the key `name`."""
    tasks: tuple[ConnectorTask, ...] = ()
    offsets: tuple[ConnectorOffset, ...] = ()

    @property
    def holes(self) -> tuple[str, ...]:
        return tuple(setting.name for setting in self.config if setting.is_hole)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connectors:
    """What a Connect cluster runs, sorted by name."""

    version: str
    """Of Connect."""
    connectors: tuple[Connector, ...] = ()
    unreadable: tuple[str, ...] = ()
    """What of it could not be read: `offsets of connector files` and the like."""


def is_secret(name: str, value: str) -> bool:
    """True when a config's name or its value looks like a secret.

    A reference to a config provider, `${file:/run/x:password}`, is none (KIP-297), and what holds nothing secret besides
    references is none either.
    """
    rest = _REFERENCE.sub("", value)
    if rest != value and not _SECRET_VALUE.search(rest):
        return rest.strip() != "" and bool(_SECRET_NAME.search(name)) and "jaas" not in name.lower()
    if _SECRET_VALUE.search(value):
        return True
    return bool(value) and bool(_SECRET_NAME.search(name)) and not _PLAIN_NAME.search(name)


def setting(name: str, value: str) -> ConnectorSetting:
    """A key with its value, which is wrapped when it looks like a secret."""
    return ConnectorSetting(name, None, Secret(value)) if is_secret(name, value) else ConnectorSetting(name, value)


def without_secrets(connectors: Connectors) -> Connectors:
    """The same with a hole in the place of each secret."""
    return replace(
        connectors,
        connectors=tuple(
            replace(one, config=tuple(replace(each, secret=None) for each in one.config))
            for one in connectors.connectors
        ),
    )
