"""Checking the settings: the environment over the file, the tables by their keys, and what is wrong in words.

What is wrong is gathered as findings, which never hold a value, and the first of them becomes the error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from kafkeep.errors import SettingsError
from kafkeep.records import dataclass
from kafkeep.settings.kinds import Key, Strict, keys
from kafkeep.settings.loading import ENV_PREFIX, Path_
from kafkeep.settings.tables import SecretSource, Settings
from kafkeep.settings.words import nearest

SECRET_HINT: Final = (
    'Say where the secret is instead: {file = "/run/secrets/x"} (readable by its owner alone), {env = "VARIABLE"} or'
    ' {command = ["program", "argument"]}.'
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_Table = TypeVar("_Table", bound=Strict)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: with the value at `path`, with its being there, or with its being absent."""

    path: Path_
    text: str
    table: type[Strict] | None = None
    """What should be at `path`, if that is a table."""
    known: tuple[str, ...] | None = None
    """The keys that there are, where the last of `path` is none of them."""
    missing: bool = False


def checked(data: dict[str, Any], sources: dict[Path_, str], given: Mapping[str, str], file: Path | None) -> Settings:
    """The settings that the file's `data` and the variables in `given` make; `data` and `sources` take the variables in.
    Raises `SettingsError`.
    """
    _overlay(data, sources, given)
    return read_table(Settings, data, sources, file)


def read_table(
    table: type[_Table], data: object, sources: Mapping[Path_, str] | None = None, file: Path | None = None
) -> _Table:
    """A table out of what a file says. Raises `SettingsError`, whose text names no value."""
    findings: list[Finding] = []
    found = _read(table, data, (), findings)
    if found is None:
        raise _error(findings, {} if sources is None else sources, file)
    return found


def _read(table: type[_Table], value: object, path: Path_, findings: list[Finding]) -> _Table | None:
    """The table, or None and what is wrong."""
    if not isinstance(value, dict):
        literal = table is SecretSource and isinstance(value, str)
        text = "a secret is not written into the settings" if literal else "should be a table"
        findings.append(Finding(path, text, table))
        return None
    known, so_far, read = keys(table), len(findings), {}
    for name, key in known.items():
        if name in value:
            read[name] = _read_value(key, value[name], (*path, name), findings)
        elif key.needed:
            findings.append(Finding((*path, name), "is missing", missing=True))
    findings += [Finding((*path, name), "is unknown", known=tuple(known)) for name in value if name not in known]
    if len(findings) > so_far:
        return None
    try:
        return table(**read)
    except ValueError as error:
        findings.append(Finding(path, str(error), table))
        return None


def _read_value(key: Key, value: object, path: Path_, findings: list[Finding]) -> object:
    """What stands under a key; None, too, where something is wrong."""
    if key.table is None:
        try:
            return key.read(value)
        except ValueError as error:
            findings.append(Finding(path, str(error)))
            return None
    if key.named is None:
        return _read(key.table, value, path, findings)
    if not isinstance(value, dict):
        findings.append(Finding(path, "should be a table"))
        return None
    wrong = next((name for name in value if not _NAME.fullmatch(name)), None)
    if wrong is not None:
        text = f"{wrong!r} is not a name: letters, digits and . _ - only, at most 64 of them"
        findings.append(Finding(path, text))
        return None
    return {name: _read(key.table, inner, (*path, name), findings) for name, inner in value.items()}


def _overlay(data: dict[str, Any], sources: dict[Path_, str], given: Mapping[str, str]) -> None:
    """Puts the environment's keys over the file's. Each of these variables must be a known key."""
    for variable in sorted(given):
        parts = variable.removeprefix(ENV_PREFIX).split("__")
        table = parts[0].lower()
        if table not in keys(Settings) or len(parts) < 3 or "" in parts:
            raise SettingsError(
                f"environment variable {variable} is not a setting",
                hint=f"Its form is KAFKEEP_TABLE__NAME__KEY. {nearest(table, list(keys(Settings)))}",
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
    secret_at = _secret_at(path)
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


def _secret_at(path: Path_) -> int | None:
    """Which part of `(table, name, key, …)` is the key of a secret."""
    table = keys(Settings)[path[0]].table
    for at, part in enumerate(path[2:], 2):
        table = keys(table)[part].table if table is not None and part in keys(table) else None
        if table is SecretSource:
            return at
    return None


def leaves(value: object, path: Path_, sources: Mapping[Path_, str]) -> Iterator[tuple[str, object, str]]:
    """(dotted key, value, source) of all that is set in `value`, which stands at `path`."""
    if isinstance(value, SecretSource):
        yield ".".join(path), value, _source_of(path, sources)
    elif isinstance(value, Strict):
        for name in value.__struct_fields__:
            yield from leaves(getattr(value, name), (*path, name), sources)
    elif isinstance(value, dict):
        for name in sorted(value):
            yield from leaves(value[name], (*path, name), sources)
    elif value is not None:
        yield ".".join(path), value, _source_of(path, sources)


def _source_of(path: Path_, sources: Mapping[Path_, str]) -> str:
    inside = [source for known, source in sources.items() if known[: len(path)] == path]
    return inside[0] if inside else "default"


def _error(findings: list[Finding], sources: Mapping[Path_, str], file: Path | None) -> SettingsError:
    """One finding as an error, unknown keys first; the rest are counted, so that one correction at a time stays readable."""
    first = next((finding for finding in findings if finding.known is not None), findings[0])
    path = first.path
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    table, key = _named(path[:-1]), path[-1] if path else ""
    if first.known is not None:
        text = f"unknown key '{key}' in {table} of {_where(path, sources, file)}{more}"
        return SettingsError(text, hint=nearest(key, first.known))
    if first.missing:
        return SettingsError(f"key '{key}' is missing in {table} of {_where(path[:-1], sources, file)}{more}")
    secret = first.table is SecretSource
    what = _named(path) if not path or (first.table is not None and not secret) else f"'{key}' in {table}"
    text = f"{what} of {_where(path, sources, file)}: {first.text}{more}"
    return SettingsError(text, hint=SECRET_HINT if secret else None)


def _named(path: Path_) -> str:
    return f"[{'.'.join(path)}]" if path else "the top level"


def _where(path: Path_, sources: Mapping[Path_, str], file: Path | None) -> str:
    source = _source_of(path, sources)
    return source if source != "default" else str(file) if file is not None else "the settings"
