"""Schemas and connectors of a cluster image as text and JSON for people, and as values to compare. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from kafkeep.connectors import Connector, Connectors
from kafkeep.metadata.form import to_form
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.phrases import shown, table
from kafkeep.schemas import AVRO, JSON, Schemas, SchemaVersion

HIDDEN = "(not shown)"
OTHER = "(another, not shown)"


def service_files(image: ClusterImage) -> dict[str, str]:
    """Files by name; none for a server that the image knows nothing of. No secret is in any of them."""
    files: dict[str, str] = {}
    if image.schemas is not None:
        files |= {"schemas.txt": _schemas_text(image.schemas), "schemas.json": _json(image, "schemas")}
    if image.connectors is not None:
        files |= {"connectors.txt": _connectors_text(image.connectors), "connectors.json": _json(image, "connectors")}
    return files


def _json(image: ClusterImage, part: str) -> str:
    return json.dumps(to_form(image)[part], indent=2, ensure_ascii=False) + "\n"


def _schemas_text(schemas: Schemas) -> str:
    rows = [
        (
            shown(one.subject),
            str(one.version),
            str(one.id),
            one.type,
            "deleted" if one.deleted else "",
            ", ".join(f"{shown(ref.subject)} version {ref.version}" for ref in one.references),
        )
        for one in schemas.versions
    ]
    rules = [
        (_subject(rule.subject), _or_none(rule.compatibility), _or_none(rule.mode), rule.more) for rule in schemas.rules
    ]
    lines = table(("SUBJECT", "VERSION", "ID", "TYPE", "DELETED", "REFERS TO"), rows)
    lines += ["", *table(("SUBJECT", "COMPATIBILITY", "MODE", "MORE"), rules)]
    return "\n".join([*lines, *_unread(schemas.unreadable)]) + "\n"


def _connectors_text(connectors: Connectors) -> str:
    lines = [f"Kafka Connect {connectors.version}"]
    for one in connectors.connectors:
        lines += ["", f"{shown(one.name)}: {one.type}, {one.state}, tasks: {_tasks(one)}"]
        lines += [f"  {each.name}={HIDDEN if each.value is None else shown(each.value)}" for each in one.config]
        lines += [f"  offset {row.partition} {row.offset}" for row in one.offsets]
    return "\n".join([*lines, *_unread(connectors.unreadable)]) + "\n"


def _tasks(connector: Connector) -> str:
    return ", ".join(f"{task.task} {task.state}" for task in connector.tasks) or "none"


def _unread(names: tuple[str, ...]) -> list[str]:
    return ["", *(f"could not be read: {shown(name)}" for name in names)] if names else []


def _subject(name: str) -> str:
    return shown(name) if name else "(the registry)"


def _or_none(text: str | None) -> str:
    return "-" if text is None else text


# --- to compare ------------------------------------------------------------------------------------------------------


def schema_values(schemas: Schemas) -> Mapping[str, Mapping[str, str]]:
    """Keys and values of each version and of each subject's rules, by the name of either."""
    found: dict[str, dict[str, str]] = {
        str(one): {
            "id": str(one.id),
            "type": one.type,
            "schema": _fingerprint(one),
            "references": ", ".join(f"{ref.name}={ref.subject} version {ref.version}" for ref in one.references),
            "deleted": "true" if one.deleted else "false",
            "contract": one.contract,
        }
        for one in schemas.versions
    }
    for rule in schemas.rules:
        told = {"compatibility": rule.compatibility, "mode": rule.mode, "more": rule.more or None}
        found[f"rules of {_subject(rule.subject)}"] = {key: value for key, value in told.items() if value is not None}
    return found


def unread_schemas(schemas: Schemas) -> frozenset[str]:
    """What of `schema_values` cannot be compared because it could not be read."""
    return frozenset(name.removeprefix("schema ") for name in schemas.unreadable)


def _fingerprint(one: SchemaVersion) -> str:
    """The same for texts that mean the same; long texts are not for a table."""
    text = one.schema
    if one.type in (AVRO, JSON):
        try:
            text = json.dumps(json.loads(one.schema), sort_keys=True)
        except (ValueError, RecursionError):
            text = one.schema
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def connector_values(one: Connector, other: Connector) -> tuple[Mapping[str, str | None], Mapping[str, str | None]]:
    """Config and state of both sides; of a secret that both have, only whether the two are the same. How far a connector
    has come changes all the time and is not compared.
    """
    left, right = ({each.name: each for each in side.config} for side in (one, other))
    found: list[dict[str, str | None]] = [{}, {}]
    for told, side, against in zip(found, (left, right), (right, left), strict=True):
        for name, each in side.items():
            both = each.secret is not None and name in against and against[name].secret is not None
            told[f"config {name}"] = HIDDEN if both else each.value
    for name in {*left} & {*right}:
        if found[0][f"config {name}"] == HIDDEN and left[name].secret != right[name].secret:
            found[1][f"config {name}"] = OTHER
    for told, connector in zip(found, (one, other), strict=True):
        told |= {"type": connector.type, "state": connector.state}
    return found[0], found[1]
