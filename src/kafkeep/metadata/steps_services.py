"""The steps of a plan that change the servers beside the cluster: registry and Connect. Pure."""

from __future__ import annotations

from kafkeep.connectors import Connector
from kafkeep.metadata.plan import Step
from kafkeep.records import dataclass
from kafkeep.schemas import SchemaVersion, SubjectRules

KEEP, MAP = "keep", "map"
SCHEMA_IDS = (KEEP, MAP)
"""Ids of schemas stay what they are, or the registry gives new ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterSchema(Step):
    schema: SchemaVersion
    ids: str
    """Of `SCHEMA_IDS`."""
    beside: bool
    """True when the registry holds something already."""
    there: frozenset[int]
    """Versions that the subject has already: not ours to remove."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSubjectRules(Step):
    """Compatibility of a subject, or of the registry."""

    rules: SubjectRules


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSchema(Step):
    """Soft-deletes a version, as it was; found by its id all the same."""

    schema: SchemaVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSubjectMode(Step):
    """Mode of a subject, or of the registry."""

    subject_name: str
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateConnector(Step):
    """Makes a connector that is stopped: it reads and writes nothing until somebody starts it."""

    connector: Connector


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConnectorConfig(Step):
    """Gives a connector that is there other values of its config; the rest of it stays."""

    connector: Connector
    """With the values to be set, and no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConnectorOffsets(Step):
    """Tells a stopped source connector how far it has come."""

    connector: Connector
    """With the offsets to be set, and no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConnectorState(Step):
    """Brings a connector from `STOPPED` into the state that it had."""

    connector: Connector
