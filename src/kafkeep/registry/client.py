"""A schema registry as operations hold it: what it holds, and how it is changed.

The interface is Confluent's (`/subjects`, `/schemas`, `/config`, `/mode`); other registries offer it in part, so nothing is
taken to have happened because a request was accepted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from kafkeep.errors import ServiceError, ServiceNotFound, ServiceProtocolError
from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.rest import Json, Parts, RestClient, as_list, as_number, as_object, as_text, segment
from kafkeep.schemas import AVRO, SCHEMAS, Place, SchemaReference, Schemas, SchemaVersion, SubjectRules

MEDIA: Final = "application/vnd.schemaregistry.v1+json"
_DELETED: Final = {"deleted": "true"}
_DEFAULT_CONTEXT: Final = "."
_CONTRACT: Final = ("metadata", "ruleSet")


@dataclass(frozen=True, slots=True)
class SchemaReading:
    """`schemas` is None when nothing could be read."""

    schemas: Schemas | None
    failures: tuple[Failure, ...]


class SchemaRegistry:
    """Raises the errors of `RestClient`."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest

    @property
    def name(self) -> str:
        return self._rest.config.name

    def read(self) -> SchemaReading:
        """Everything the registry holds, part by part: what cannot be read is named. Raises nothing of the server."""
        try:
            live, every = set(self._subjects({})), self._subjects(_DELETED)
            own = self._rules("")
        except ServiceError as error:
            return SchemaReading(None, (Failure(SCHEMAS, error.slug, error.message),))
        parts = Parts()
        parts.read("schema contexts", self._check_contexts, None)
        versions: list[SchemaVersion] = []
        rules = [own]
        for subject in sorted({*every, *live}):
            versions += self._versions(subject, parts)
            rules.append(parts.read(f"rules of {subject}", partial(self._rules, subject), SubjectRules(subject="")))
        schemas = Schemas(
            versions=tuple(versions),
            rules=tuple(rule for rule in rules if rule != SubjectRules(subject=rule.subject)),
            unreadable=tuple(failure.subject for failure in parts.failures),
        )
        return SchemaReading(schemas, tuple(parts.failures))

    def _versions(self, subject: str, parts: Parts) -> list[SchemaVersion]:
        nothing: tuple[tuple[int, ...], frozenset[int]] = (), frozenset()
        every, live = parts.read(f"schemas of {subject}", partial(self._numbers, subject), nothing)
        found: list[SchemaVersion] = []
        for number in every:
            absent: SchemaVersion | None = None
            read = partial(self.version, (subject, number), deleted=number not in live)
            version = parts.read(f"schema {subject} version {number}", read, absent)
            found += [] if version is None else [version]
        return found

    def _subjects(self, query: Mapping[str, str]) -> list[str]:
        return [as_text(item) for item in as_list(self._rest.get("/subjects", query))]

    def _check_contexts(self) -> None:
        """Subjects of other contexts are not in the lists of the default one."""
        try:
            contexts = [as_text(item).strip(":") for item in as_list(self._rest.get("/contexts"))]
        except (ServiceNotFound, ServiceProtocolError):
            return  # a registry without contexts
        others = sorted({*contexts} - {_DEFAULT_CONTEXT})
        if others:
            raise ServiceProtocolError(f"{self.name} has other contexts, which are not kept: {', '.join(others[:5])}")

    def _numbers(self, subject: str) -> tuple[tuple[int, ...], frozenset[int]]:
        """All versions of a subject, and those that are not deleted."""
        path = f"/subjects/{segment(subject)}/versions"
        every = tuple(sorted(as_number(item) for item in as_list(self._rest.get(path, _DELETED))))
        try:
            live = frozenset(as_number(item) for item in as_list(self._rest.get(path)))
        except ServiceNotFound:
            live = frozenset()
        return every, live

    def version(self, place: Place, *, deleted: bool) -> SchemaVersion:
        """One version; `deleted` is what its subject says of it. Raises `ServiceNotFound` when it is not there."""
        subject, number = place
        value = as_object(self._rest.get(f"/subjects/{segment(subject)}/versions/{number}", _DELETED))
        references = tuple(_reference(as_object(item)) for item in as_list(_or(value.get("references"), [])))
        return SchemaVersion(
            subject=as_text(value.get("subject")),
            version=as_number(value.get("version")),
            id=as_number(value.get("id")),
            type=as_text(_or(value.get("schemaType"), AVRO)),
            schema=as_text(value.get("schema")),
            references=references,
            deleted=deleted,
            contract=_rest_of(value, [name for name in _CONTRACT if value.get(name) is not None]),
        )

    def _rules(self, subject: str) -> SubjectRules:
        tail = f"/{segment(subject)}" if subject else ""
        config = self._own(f"/config{tail}")
        mode = self._own(f"/mode{tail}")
        more = [
            name for name in config if name not in ("compatibilityLevel", "compatibility") and config[name] is not None
        ]
        level = config.get("compatibilityLevel", config.get("compatibility"))
        return SubjectRules(
            subject=subject,
            compatibility=None if level is None else as_text(level),
            mode=None if mode.get("mode") is None else as_text(mode["mode"]),
            more=_rest_of(config, more),
        )

    def _own(self, path: str) -> dict[str, Json]:
        try:
            return as_object(self._rest.get(path))
        except ServiceNotFound:
            return {}

    # --- changing ---------------------------------------------------------------------------------------------------

    def register(self, version: SchemaVersion, *, keep: bool) -> int:
        """Registers it and returns the id that it got. With `keep` its own id and number are asked for, which only a
        registry in mode IMPORT grants: the caller compares.
        """
        body: dict[str, Json] = {"schema": version.schema, "schemaType": version.type}
        if version.references:
            body["references"] = [
                {"name": ref.name, "subject": ref.subject, "version": ref.version} for ref in version.references
            ]
        if version.contract:
            body |= as_object(json.loads(version.contract))
        if keep:
            body |= {"id": version.id, "version": version.version}
        path = f"/subjects/{segment(version.subject)}/versions"
        return as_number(as_object(self._rest.send("POST", path, body, repeatable=True)).get("id"))

    def newest_with_id(self, subject: str, schema_id: int) -> SchemaVersion | None:
        """The newest version of the subject that has this id."""
        for number in sorted(self._numbers(subject)[1], reverse=True):
            found = self.version((subject, number), deleted=False)
            if found.id == schema_id:
                return found
        return None

    def delete(self, place: Place, *, permanent: bool = False) -> None:
        """Takes a version out of what is offered, or with `permanent` away altogether; nothing when it is not there."""
        path = f"/subjects/{segment(place[0])}/versions/{place[1]}"
        self._delete(path, {})
        if permanent:
            self._delete(path, {"permanent": "true"})

    def _delete(self, path: str, query: Mapping[str, str]) -> None:
        try:
            self._rest.send("DELETE", path, query=query, repeatable=True)
        except ServiceNotFound:
            return

    def set_compatibility(self, rules: SubjectRules) -> None:
        """The compatibility of a subject, or of the registry, and what stands beside it."""
        body = {"compatibility": rules.compatibility} | (as_object(json.loads(rules.more)) if rules.more else {})
        tail = f"/{segment(rules.subject)}" if rules.subject else ""
        self._rest.send("PUT", f"/config{tail}", body, repeatable=True)

    def mode(self) -> str | None:
        """The registry's own mode; None when it has none."""
        return self._rules("").mode

    def set_mode(self, subject: str, mode: str, *, force: bool = False) -> None:
        """The mode of a subject, or of the registry when `subject` is empty. `force`: also where schemas are."""
        tail = f"/{segment(subject)}" if subject else ""
        query = {"force": "true"} if force else {}
        self._rest.send("PUT", f"/mode{tail}", {"mode": mode}, query=query, repeatable=True)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _reference(value: dict[str, Json]) -> SchemaReference:
    return SchemaReference(as_text(value.get("name")), as_text(value.get("subject")), as_number(value.get("version")))


def _rest_of(value: Mapping[str, Json], names: list[str]) -> str:
    return json.dumps({name: value[name] for name in names}, sort_keys=True, ensure_ascii=False) if names else ""
