"""Strict settings: kafkeep.toml, then the environment, then flags; the later one wins.

`kafkeep.toml` has `[cluster.NAME]` and `[repository.NAME]`. The environment overrides single keys with
`KAFKEEP_CLUSTER__NAME__KEY=value` (two underscores between the parts, one more pair for each table inside, the name in
upper case with `_` for every other character). Unknown keys, unknown security options and security options that would
have no effect are refused. A secret is never written down here: only where to find it (`SecretSource`).
"""

from __future__ import annotations

import difflib
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from kafkeep.errors import SettingsError

ENV_PREFIX: Final = "KAFKEEP_"
ALLOW_INSECURE: Final = "KAFKEEP_ALLOW_INSECURE"
CONFIG_VARIABLE: Final = "KAFKEEP_CONFIG"
MAX_FILE_BYTES: Final = 1 << 20
SECURITY_NAMES: Final = {
    "plaintext": "PLAINTEXT",
    "tls": "SSL",
    "ssl": "SSL",
    "sasl_plaintext": "SASL_PLAINTEXT",
    "sasl_tls": "SASL_SSL",
    "sasl_ssl": "SASL_SSL",
}
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM")
SECRET_HINT: Final = (
    'Say where the secret is instead: {file = "/run/secrets/x"} (readable by its owner alone), {env = "VARIABLE"} or'
    ' {command = ["program", "argument"]}.'
)
_BOOTSTRAP = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def nearest(word: str, known: Iterator[str] | tuple[str, ...] | list[str]) -> str:
    """A sentence that names the nearest known word, or all of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names)}." if names else "None is configured."


def split_bootstrap(value: str) -> tuple[str, ...]:
    """`host:port,host:port` as a tuple; ValueError names what is wrong without repeating a possible secret."""
    servers = tuple(part.strip() for part in value.split(",") if part.strip())
    if not servers:
        raise ValueError("names no server")
    for server in servers:
        if "@" in server:
            raise ValueError("holds a user or secret before '@'; logins belong into the sasl table")
        match = _BOOTSTRAP.fullmatch(server)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError(f"{server!r} is not host:port")
    return servers


def _bootstrap(value: object) -> object:
    if isinstance(value, str):
        return split_bootstrap(value)
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return split_bootstrap(",".join(value))
    raise ValueError("should be a list of host:port, or one string with commas between them")


def _security(value: object) -> object:
    name = SECURITY_NAMES.get(value.lower().replace("-", "_")) if isinstance(value, str) else None
    if name is None:
        raise ValueError("should be plaintext, tls, sasl_plaintext or sasl_tls")
    return name


def _mechanism(value: object) -> object:
    if isinstance(value, str) and value.upper() in MECHANISMS:
        return value.upper()
    raise ValueError(f"should be one of {', '.join(MECHANISMS)}")


def _command(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def check_url(value: str) -> str:
    """The URL or path itself; ValueError when it carries a user name or a secret."""
    if not value.strip() or "\0" in value:
        raise ValueError("should be a path or a URL")
    if "://" in value and "@" in urlsplit(value).netloc:
        raise ValueError("holds a user or secret before '@'; secrets do not belong into a URL")
    return value


def _token_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in ("localhost", "127.0.0.1", "::1")):
        raise ValueError("should begin with https://")
    return check_url(value)


Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """Frozen, and a key it does not know is an error; values never show up in error texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SecretSource(Strict):
    """Where a secret is found: exactly one of the three."""

    file: Text | None = Field(None, description="file with the secret; refused when others may read it")
    env: Text | None = Field(None, description="environment variable with the secret")
    command: Annotated[tuple[str, ...], BeforeValidator(_command)] | None = Field(
        None, description="program and arguments that print the secret; no shell is involved"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_literal(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("a secret is not written into the settings")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(source is not None for source in (self.file, self.env, self.command)) != 1 or self.command == ():
            raise ValueError("should have exactly one of file, env, command")
        return self

    def __str__(self) -> str:
        """The source without the arguments of a command, which may hold secrets themselves."""
        if self.file is not None:
            return f"file {self.file}"
        if self.env is not None:
            return f"environment variable {self.env}"
        return f"command {self.command[0]}" if self.command else "command"


class ClientCredentials(Strict):
    """OAuth 2.0 client credentials: the token is asked for where it is needed and renewed in time."""

    token_url: Annotated[Text, AfterValidator(_token_url)] = Field(description="token endpoint, https")
    client_id: Text = Field(description="client id")
    client_secret: SecretSource = Field(description="client secret")
    scope: Text | None = Field(None, description="scope to ask for")
    ca_file: Text | None = Field(None, description="certificates that the token endpoint is checked against")


class TlsSettings(Strict):
    """How TLS connections are made; verification is on unless two places say otherwise."""

    ca_file: Text | None = Field(
        None, description="PEM file of the certificates brokers are checked against; default: the system's"
    )
    cert_file: Text | None = Field(None, description="PEM file of the client certificate (mTLS)")
    key_file: Text | None = Field(
        None,
        description="PEM file of the client's key; default: cert_file holds it too; refused when others may read it",
    )
    key_password: SecretSource | None = Field(None, description="secret that opens the client's key")
    verify: bool = Field(True, description=f"false trusts any broker; needs {ALLOW_INSECURE}=1 too and warns each time")
    check_hostname: bool = Field(True, description="false accepts a certificate of another host name, with a warning")

    @model_validator(mode="after")
    def _no_idle_options(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is set without cert_file")
        if self.key_password is not None and self.cert_file is None:
            raise ValueError("key_password is set without cert_file")
        if not self.verify and self.ca_file is not None:
            raise ValueError("ca_file has no effect when verify is false")
        return self


class SaslSettings(Strict):
    """The login at a broker. Each mechanism takes its own keys; others are refused."""

    mechanism: Annotated[str, BeforeValidator(_mechanism)] = Field(description=", ".join(MECHANISMS))
    username: Text | None = Field(None, description="PLAIN and SCRAM: user name; GSSAPI: principal")
    password: SecretSource | None = Field(None, description="PLAIN and SCRAM: password")
    token: SecretSource | None = Field(None, description="OAUTHBEARER: a token, read again before each login")
    client_credentials: ClientCredentials | None = Field(None, description="OAUTHBEARER: where to get tokens")
    service_name: Text | None = Field(None, description="GSSAPI: Kerberos service name of the brokers; default kafka")
    region: Text | None = Field(None, description="AWS_MSK_IAM: region of the cluster; default: botocore's own")

    @model_validator(mode="after")
    def _fits_mechanism(self) -> Self:
        allowed, needed = _MECHANISM_KEYS[self.mechanism]
        given = {name for name in type(self).model_fields if name != "mechanism" and getattr(self, name) is not None}
        for name in sorted(given - allowed):
            raise ValueError(f"{name} has no effect with {self.mechanism}")
        for name in sorted(needed - given):
            raise ValueError(f"{name} is missing; {self.mechanism} needs it")
        if self.mechanism == "OAUTHBEARER" and len(given) != 1:
            raise ValueError("OAUTHBEARER needs exactly one of token, client_credentials")
        if self.token is not None and self.token.env is not None:
            raise ValueError("a token ends and is read again: give its file or its command, not a variable")
        return self


_MECHANISM_KEYS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    **{
        name: (frozenset({"username", "password"}), frozenset({"username", "password"}))
        for name in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    },
    "OAUTHBEARER": (frozenset({"token", "client_credentials"}), frozenset()),
    "GSSAPI": (frozenset({"username", "service_name"}), frozenset()),
    "AWS_MSK_IAM": (frozenset({"region"}), frozenset()),
}


class ClusterSettings(Strict):
    """`[cluster.NAME]`: a Kafka cluster and how to log in."""

    bootstrap: Annotated[tuple[str, ...], BeforeValidator(_bootstrap)] = Field(
        description="host:port of some brokers, as a list or with commas between them"
    )
    security: Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_security)] = Field(
        "PLAINTEXT", description="plaintext, tls, sasl_plaintext or sasl_tls; Kafka's own names are understood"
    )
    tls: TlsSettings | None = Field(None, description="TLS details; only with tls and sasl_tls")
    sasl: SaslSettings | None = Field(
        None, description="login; needed with sasl_plaintext and sasl_tls, refused otherwise"
    )
    client_id: Text = Field("kafkeep", description="client id that brokers see, for their logs and quotas")
    connect_timeout_seconds: Seconds = Field(
        10.0, description="longest wait for one connection, up to its first answer"
    )
    request_timeout_seconds: Seconds = Field(30.0, description="longest wait for one answer")

    @model_validator(mode="after")
    def _no_idle_tables(self) -> Self:
        if self.tls is not None and self.security not in ("SSL", "SASL_SSL"):
            raise ValueError(f"a tls table has no effect with security {self.security}")
        if self.sasl is not None and not self.security.startswith("SASL_"):
            raise ValueError(f"a sasl table has no effect with security {self.security}")
        if self.sasl is None and self.security.startswith("SASL_"):
            raise ValueError(f"security {self.security} needs a sasl table")
        if self.sasl is not None and self.sasl.mechanism == "AWS_MSK_IAM" and self.security != "SASL_SSL":
            raise ValueError("AWS_MSK_IAM needs security sasl_tls")
        return self


class RepositorySettings(Strict):
    """`[repository.NAME]`: a place for backups."""

    url: Annotated[Text, AfterValidator(check_url)] = Field(
        description="a folder's path or a URL such as file:///backups/prod"
    )
    compression: Literal["zstd", "none"] = Field(
        "zstd", description="what `init` sets for chunks of uncompressed batches: zstd or none"
    )


class Settings(Strict):
    """The whole of kafkeep.toml."""

    cluster: dict[str, ClusterSettings] = Field(default_factory=dict, description="clusters by name")
    repository: dict[str, RepositorySettings] = Field(default_factory=dict, description="repositories by name")

    @field_validator("cluster", "repository", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        for name in value if isinstance(value, dict) else ():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name: letters, digits and . _ - only, at most 64 of them")
        return value


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
    return key in ("file", "ca_file", "cert_file", "key_file") or (key == "url" and "://" not in value)


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


def models(model: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    """Every settings model that is reachable, outermost first: what docs/settings.md lists."""
    yield model
    for field in model.model_fields.values():
        inner = model_of(field.annotation)
        if inner is not None:
            yield from models(inner)


def model_of(annotation: object) -> type[BaseModel] | None:
    """The settings model inside an annotation such as `X | None` or `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for part in getattr(annotation, "__args__", ()) if (m := model_of(part)) is not None), None)


SECRET_KEYS: Final = frozenset(
    name
    for model in models()
    for name, field in model.model_fields.items()
    if model_of(field.annotation) is SecretSource
)


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
    return not path or (len(path) == 2 and path[0] in Settings.model_fields) or path[-1] in ("tls", "sasl")


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
