"""Reading the settings: which file there is, and what it and the environment say.

What checks the tables (`checking`) is imported where something is configured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kafkeep.errors import SettingsError
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.settings.tables import ClusterSettings, RepositorySettings, Settings

ENV_PREFIX: Final = "KAFKEEP_"
CONFIG_VARIABLE: Final = "KAFKEEP_CONFIG"
MAX_FILE_BYTES: Final = 1 << 20
_MOST_DOTS: Final = 4096
"""In one line: the time that tomllib takes for a dotted key grows with the square of its parts."""
MAX_DEPTH: Final = 32
Path_ = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unconfigured:
    """What stands for `Settings` where neither file nor environment says anything."""

    cluster: dict[str, ClusterSettings] = field(default_factory=dict)
    repository: dict[str, RepositorySettings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, for each key that was given, where it came from."""

    settings: Settings | Unconfigured
    file: Path | None
    sources: Mapping[Path_, str]

    def leaves(self) -> Iterator[tuple[str, object, str]]:
        """(dotted key, value, source) of every key in effect, defaults included; a secret's value is its source."""
        if not isinstance(self.settings, Unconfigured):
            from kafkeep.settings.checking import leaves

            yield from leaves(self.settings, (), self.sources)


def find_file(explicit: Path | None, *, env: Mapping[str, str], cwd: Path, home: Path) -> Path | None:
    """The settings file in use: the flag's, then KAFKEEP_CONFIG's, then ./kafkeep.toml, then the user's own."""
    if explicit is not None:
        return explicit
    if env.get(CONFIG_VARIABLE):
        named = _at_home(env[CONFIG_VARIABLE])
        if named is None:
            raise SettingsError(f"{CONFIG_VARIABLE} names a home folder that is not known")
        return named
    own = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
    candidates = (cwd / "kafkeep.toml", own / "kafkeep" / "kafkeep.toml")
    return next((path for path in candidates if path.exists()), None)


def load(explicit: Path | None, *, env: Mapping[str, str], cwd: Path, home: Path) -> Loaded:
    """Reads and checks all settings. SettingsError names the file or variable, the table and the key."""
    file = find_file(explicit, env=env, cwd=cwd, home=home)
    data = _read_toml(file) if file is not None else {}
    if file is not None:
        _make_absolute(data, file, ())
    given = {name: value for name, value in env.items() if name.startswith(ENV_PREFIX) and "__" in name}
    if not data and not given:
        return Loaded(Unconfigured(), file, {})
    from kafkeep.settings.checking import checked

    sources = {path: str(file) for path in _paths(data, ())}
    return Loaded(checked(data, sources, given, file), file, sources)


def _read_toml(file: Path) -> dict[str, Any]:
    import re
    import tomllib

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
    if max(line.count(b".") for line in raw.split(b"\n")) > _MOST_DOTS:
        raise SettingsError(f"settings file {file} has more than {_MOST_DOTS} dots in a line")
    try:
        return tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:  # numbers beyond Python's limit of digits, too, are only a ValueError
        where = re.search(r"\(at [^)]*\)", str(error))
    # Raised out here, because such an error may hold what was read.
    raise SettingsError(
        f"settings file {file} is not TOML {where[0] if where else ''}".rstrip(),
        hint="The line named is the first that could not be read.",
    )


def _make_absolute(data: dict[str, Any], file: Path, path: Path_) -> None:
    """Paths in the file are meant from the file's folder, wherever kafkeep is started."""
    if len(path) > MAX_DEPTH:
        raise SettingsError(f"settings file {file} has tables more than {MAX_DEPTH} deep in each other")
    for key, value in data.items():
        if isinstance(value, dict):
            _make_absolute(value, file, (*path, key))
        elif isinstance(value, str) and value and _is_path(key, value):
            expanded = _at_home(value)
            if expanded is None:
                raise SettingsError(f"'{key}' in [{'.'.join(path)}] of {file}: the home folder in it is not known")
            data[key] = str(file.absolute().parent / expanded)


def _at_home(value: str) -> Path | None:
    """The path with `~` and `~USER` replaced; None if there is no such user."""
    try:
        return Path(value).expanduser()
    except (RuntimeError, ValueError):
        return None


def _is_path(key: str, value: str) -> bool:
    return key in ("file", "ca_file", "cert_file", "key_file", "spool_folder") or (key == "url" and "://" not in value)


def _paths(value: object, path: Path_) -> Iterator[Path_]:
    if isinstance(value, dict) and value:
        for name in value:
            yield from _paths(value[name], (*path, name))
    else:
        yield path
