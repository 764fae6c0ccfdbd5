"""Checking the settings: the environment over the file, the tables by their models, and what is wrong in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from kafkeep.errors import SettingsError
from kafkeep.settings.loading import ENV_PREFIX, Path_
from kafkeep.settings.tables import SECRET_KEYS, SecretSource, Settings, model_of
from kafkeep.settings.words import nearest

SECRET_HINT: Final = (
    'Say where the secret is instead: {file = "/run/secrets/x"} (readable by its owner alone), {env = "VARIABLE"} or'
    ' {command = ["program", "argument"]}.'
)


def checked(data: dict[str, Any], sources: dict[Path_, str], given: Mapping[str, str], file: Path | None) -> Settings:
    """The settings that the file's `data` and the variables in `given` make; `data` and `sources` take the variables in.
    Raises `SettingsError`.
    """
    _overlay(data, sources, given)
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise _translated(error, sources, file) from error


def _overlay(data: dict[str, Any], sources: dict[Path_, str], given: Mapping[str, str]) -> None:
    """Puts the environment's keys over the file's. Each of these variables must be a known key."""
    for variable in sorted(given):
        parts = variable.removeprefix(ENV_PREFIX).split("__")
        table = parts[0].lower()
        if table not in Settings.model_fields or len(parts) < 3 or "" in parts:
            raise SettingsError(
                f"environment variable {variable} is not a setting",
                hint=f"Its form is KAFKEEP_TABLE__NAME__KEY. {nearest(table, list(Settings.model_fields))}",
            )
        name = _name_for(parts[1], data.get(table))
        _set(data, sources, (table, name, *(part.lower() for part in parts[2:])), variable, given[variable])


def _name_for(spelled: str, tables: object) -> str:
    """The configured name that is spelled like this in a variable, or a new one in lower case."""
    for name in tables if isinstance(tables, dict) else ():
        if re.sub(r"[^A-Za-z0-9]", "_", name).upper() == spelled.upper():
            return str(name)
    return spelled.lower()


def _set(data: dict[str, Any], sources: dict[Path_, str], path: Path_, variable: str, value: str) -> None:
    """Sets one key. A secret's source is replaced as a whole; a secret given right here is read from this variable."""
    secret_at = next((at for at in range(2, len(path)) if path[at] in SECRET_KEYS), None)
    here: dict[str, Any] = data
    for at, part in enumerate(path[:-1]):
        if not isinstance(here.get(part), dict) or at == secret_at:
            here[part] = {}
        here = here[part]
    is_secret = secret_at == len(path) - 1
    here[path[-1]] = {"env": variable} if is_secret else value
    top = path if secret_at is None else path[: secret_at + 1]
    for known in [known for known in sources if known[: len(top)] == top]:
        del sources[known]
    sources[(*path, "env") if is_secret else path] = f"environment {variable}"


def leaves(value: object, path: Path_, sources: Mapping[Path_, str]) -> Iterator[tuple[str, object, str]]:
    if isinstance(value, SecretSource):
        yield ".".join(path), value, _source_of(path, sources)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from leaves(getattr(value, name), (*path, name), sources)
    elif isinstance(value, dict):
        for name in sorted(value):
            yield from leaves(value[name], (*path, name), sources)
    elif value is not None:
        yield ".".join(path), value, _source_of(path, sources)


def _source_of(path: Path_, sources: Mapping[Path_, str]) -> str:
    inside = [source for known, source in sources.items() if known[: len(path)] == path]
    return inside[0] if inside else "default"


def _translated(error: ValidationError, sources: Mapping[Path_, str], file: Path | None) -> SettingsError:
    """The first finding as ours; the rest are counted, so that one correction at a time stays readable."""
    findings = error.errors(include_input=False, include_url=False)
    first = min(findings, key=lambda finding: finding["type"] != "extra_forbidden")
    path = tuple(str(part) for part in first["loc"])
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    table, key = _table(path[:-1]), path[-1] if path else ""
    if first["type"] == "extra_forbidden":
        known = list(_model_at(path[:-1]).model_fields)
        return SettingsError(
            f"unknown key '{key}' in {table} of {_where(path, sources, file)}{more}", hint=nearest(key, known)
        )
    if first["type"] == "missing":
        return SettingsError(f"key '{key}' is missing in {table} of {_where(path[:-1], sources, file)}{more}")
    cause = first.get("ctx", {}).get("error")
    text = str(cause) if isinstance(cause, ValueError) else first["msg"][:1].lower() + first["msg"][1:]
    hint = SECRET_HINT if path and path[-1] in SECRET_KEYS else None
    what = _table(path) if _is_table(path) else f"'{key}' in {table}"
    return SettingsError(f"{what} of {_where(path, sources, file)}: {text}{more}", hint=hint)


def _table(path: Path_) -> str:
    return f"[{'.'.join(path)}]" if path else "the top level"


def _is_table(path: Path_) -> bool:
    return (
        not path
        or (len(path) == 2 and path[0] in Settings.model_fields)
        or path[-1] in ("tls", "sasl", "registry", "connect", "s3", "gcs", "azure", "workers")
    )


def _where(path: Path_, sources: Mapping[Path_, str], file: Path | None) -> str:
    source = _source_of(path, sources)
    return source if source != "default" else str(file) if file is not None else "the settings"


def _model_at(path: Path_) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for at, part in enumerate(path):
        if at == 1:
            continue  # the NAME in [cluster.NAME]
        model = model_of(model.model_fields[part].annotation) or model
    return model
