"""Reading the settings: the file, then the environment over it, and what is wrong with them in words."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from kafkeep.errors import SettingsError
from kafkeep.settings.tables import SECRET_KEYS, SecretSource, Settings, model_of

ENV_PREFIX: Final = "KAFKEEP_"
CONFIG_VARIABLE: Final = "KAFKEEP_CONFIG"
MAX_FILE_BYTES: Final = 1 << 20
SECRET_HINT: Final = (
    'Say where the secret is instead: {file = "/run/secrets/x"} (readable by its owner alone), {env = "VARIABLE"} or'
    ' {command = ["program", "argument"]}.'
)


def nearest(word: str, known: Iterator[str] | tuple[str, ...] | list[str]) -> str:
    """A sentence that names the nearest known word, or all of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names)}." if names else "None is configured."


Path_ = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, for each key that was given, where it came from."""

    settings: Settings
    file: Path | None
    sources: Mapping[Path_, str]

    def leaves(self) -> Iterator[tuple[str, object, str]]:
        """(dotted key, value, source) of every key in effect, defaults included; a secret's value is its source."""
        yield from _leaves(self.settings, (), self.sources)


def _leaves(value: object, path: Path_, sources: Mapping[Path_, str]) -> Iterator[tuple[str, object, str]]:
    if isinstance(value, SecretSource):
        yield ".".join(path), value, _source_of(path, sources)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(getattr(value, name), (*path, name), sources)
    elif isinstance(value, dict):
        for name in sorted(value):
            yield from _leaves(value[name], (*path, name), sources)
    elif value is not None:
        yield ".".join(path), value, _source_of(path, sources)


def _source_of(path: Path_, sources: Mapping[Path_, str]) -> str:
    inside = [source for known, source in sources.items() if known[: len(path)] == path]
    return inside[0] if inside else "default"


def find_file(explicit: Path | None, *, env: Mapping[str, str], cwd: Path, home: Path) -> Path | None:
    """The settings file in use: the flag's, then KAFKEEP_CONFIG's, then ./kafkeep.toml, then the user's own."""
    if explicit is not None:
        return explicit
    if env.get(CONFIG_VARIABLE):
        return Path(env[CONFIG_VARIABLE]).expanduser()
    own = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
    candidates = (cwd / "kafkeep.toml", own / "kafkeep" / "kafkeep.toml")
    return next((path for path in candidates if path.exists()), None)


def load(explicit: Path | None, *, env: Mapping[str, str], cwd: Path, home: Path) -> Loaded:
    """Reads and checks all settings. SettingsError names the file or variable, the table and the key."""
    file = find_file(explicit, env=env, cwd=cwd, home=home)
    data = _read_toml(file) if file is not None else {}
    if file is not None:
        _make_absolute(data, file.absolute().parent)
    sources = {path: str(file) for path in _paths(data, ())}
    _overlay(data, sources, env)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        raise _translated(error, sources, file) from error
    return Loaded(settings, file, sources)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"settings file {file} cannot be read: {error.strerror}",
            hint="Give a readable file with --config or KAFKEEP_CONFIG, or none to go without.",
        ) from error
    if len(raw) > MAX_FILE_BYTES:
        raise SettingsError(f"settings file {file} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        where = re.search(r"\(at [^)]*\)", str(error))
        raise SettingsError(
            f"settings file {file} is not TOML {where[0] if where else ''}".rstrip(),
            hint="The line named is the first that could not be read.",
        ) from error


def _make_absolute(data: dict[str, Any], base: Path) -> None:
    """Paths in the file are meant from the file's folder, wherever kafkeep is started."""
    for key, value in data.items():
        if isinstance(value, dict):
            _make_absolute(value, base)
        elif isinstance(value, str) and value and _is_path(key, value):
            data[key] = str(base / Path(value).expanduser())


def _is_path(key: str, value: str) -> bool:
    return key in ("file", "ca_file", "cert_file", "key_file", "spool_folder") or (key == "url" and "://" not in value)


def _paths(value: object, path: Path_) -> Iterator[Path_]:
    if isinstance(value, dict) and value:
        for name in value:
            yield from _paths(value[name], (*path, name))
    else:
        yield path


def _overlay(data: dict[str, Any], sources: dict[Path_, str], env: Mapping[str, str]) -> None:
    """Puts the environment's keys over the file's. A variable with `__` in its name must be a known key."""
    for variable in sorted(env):
        if not variable.startswith(ENV_PREFIX) or "__" not in variable:
            continue
        parts = variable.removeprefix(ENV_PREFIX).split("__")
        table = parts[0].lower()
        if table not in Settings.model_fields or len(parts) < 3 or "" in parts:
            raise SettingsError(
                f"environment variable {variable} is not a setting",
                hint=f"Its form is KAFKEEP_TABLE__NAME__KEY. {nearest(table, list(Settings.model_fields))}",
            )
        name = _name_for(parts[1], data.get(table))
        _set(data, sources, (table, name, *(part.lower() for part in parts[2:])), variable, env[variable])


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
