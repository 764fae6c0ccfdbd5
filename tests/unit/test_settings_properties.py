"""Whatever stands in kafkeep.toml or in variables: it loads, or `SettingsError` says what is wrong and repeats no value."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from kafkeep import settings
from kafkeep.errors import SettingsError
from kafkeep.settings import Loaded, keys, load, models

CANARY = "canary4711hunter2"
NAMES = sorted({name for model in models() for name in keys(model)})
SHOWN = frozenset(("bootstrap", "controllers"))
"""Keys whose values messages repeat: a server that is not host:port, once it is known to have no login in it."""


def toml(value: object) -> str:
    """The value as TOML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value).replace("inf", "inf")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(toml(part) for part in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{quoted(key)} = {toml(inner)}' for key, inner in value.items())}}}"
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    """Every character that could mean something is written as its number."""
    return '"' + "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in text) + '"'


TEXT = st.one_of(
    st.sampled_from(
        [
            *("", CANARY, f"~{CANARY}/x", f"https://u:{CANARY}@h", f"https://u:{CANARY}\u2100@h", f"https://[{CANARY}"),
            *(
                f"user:{CANARY}@k:1",
                f"s3://{CANARY}\0",
                f"'{CANARY}",
                "k:1",
                "tls",
                "sasl_tls",
                "PLAIN",
                "s3://bucket/a",
            ),
            *("https://host", "dask", "zstd", "1", "no", "1e999", "governance"),
        ]
    ),
    st.text(max_size=8).map(lambda text: f"{text}{CANARY}"),
)
PLAIN = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.dates(),
    st.times().map(lambda found: found.replace(microsecond=0)),
    st.datetimes(timezones=st.just(UTC)),
)
SECRET = st.one_of(
    st.builds(dict, file=TEXT),
    st.builds(dict, env=TEXT),
    st.builds(dict, command=st.one_of(TEXT, st.lists(TEXT, max_size=2))),
    TEXT,
)


def table(model: type[settings.Strict], depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """A table with keys that it has, most of what is needed among them, and values that often do not fit."""
    needed, others = {}, {}
    for name, key in keys(model).items():
        (needed if key.needed else others)[name] = value_of(name, key, depth)
    return st.builds(
        lambda first, second, third: {**third, **first, **second},
        st.fixed_dictionaries(needed),
        st.lists(st.sampled_from(sorted(others)), max_size=4, unique=True).flatmap(
            lambda chosen: st.fixed_dictionaries({name: others[name] for name in chosen})
        ),
        st.one_of(st.just({}), st.dictionaries(st.sampled_from(NAMES), TREES, max_size=2)),
    )


def value_of(name: str, key: settings.Key, depth: int) -> st.SearchStrategy[Any]:
    if name in SHOWN:
        return st.sampled_from(["k:1", ["k:1", "[::1]:2"], [], f"u:{CANARY}@k:1", 5])
    if key.table is settings.SecretSource:
        return SECRET
    if key.table is not None and depth:
        return st.one_of(table(key.table, depth - 1), PLAIN)
    if key.base is str:
        return TEXT
    return st.one_of(PLAIN, st.integers(1, 9), st.booleans(), st.lists(TEXT, max_size=2))


TREES: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from([n for n in NAMES if n not in SHOWN]), st.text(max_size=3)), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "cluster": st.dictionaries(st.sampled_from(["p", "eu-west.1"]), table(settings.ClusterSettings, 3), max_size=2),
        "repository": st.dictionaries(st.sampled_from(["r", "s"]), table(settings.RepositorySettings, 3), max_size=2),
    },
)
VARIABLES = st.dictionaries(
    st.builds(
        lambda head, parts: f"KAFKEEP_{head}__" + "__".join(parts).upper(),
        st.sampled_from(["CLUSTER__P", "REPOSITORY__R", "CLUSTER", "X"]),
        st.lists(st.sampled_from([name for name in NAMES if name not in SHOWN]), min_size=1, max_size=4),
    ),
    st.one_of(TEXT, st.just(f"{CANARY}\udc80")),
    max_size=4,
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def held(folder: Path, document: str, env: Mapping[str, str]) -> Loaded | None:
    """What comes of it; None for an error, which is of the right kind, names what it is about and repeats no value."""
    (folder / "kafkeep.toml").write_text(document)
    try:
        loaded = load(None, env=env, cwd=folder, home=folder)
    except SettingsError as error:
        told = error.message + error.hint
        assert CANARY not in told, "a value is repeated"
        assert "kafkeep.toml" in told or "KAFKEEP_" in told
        linked: list[BaseException | None] = [error.__cause__, error.__context__]
        assert linked == [None, None], "what lies behind an error may hold a value"
        return None
    assert [key for key, _, source in loaded.leaves() if not source] == []
    return loaded


@given(
    st.one_of(SHAPED, st.dictionaries(st.sampled_from(["cluster", "repository", "x"]), TREES, max_size=3)), VARIABLES
)
@example({"cluster": {"p": {"bootstrap": ["k:1"], "sasl": {"mechanism": CANARY}}}}, {})
@example({"repository": {"r": {"url": f"https://u:{CANARY}\u2100@h"}}}, {})
@example({"repository": {"r": {"url": f"~{CANARY}\0/x"}}}, {})
@example({"repository": {"r": {"url": "/x", "compression": CANARY, "connections": 10**400}}}, {})
@example({}, {"KAFKEEP_REPOSITORY__R__COMPRESSION": f"{CANARY}\udc80"})
def test_any_document_loads_or_says_what_is_wrong(
    folder: Path, document: dict[str, Any], variables: dict[str, str]
) -> None:
    text = "".join(f"{quoted(key)} = {toml(value)}\n" for key, value in document.items())
    event("loaded" if held(folder, text, variables) is not None else "refused")


@given(st.text(alphabet=st.sampled_from("[]{}=\"'\\\n.#, a1-_:+eTZ\t\x00é"), max_size=60))
@example("cluster.p.x = 1" + "0" * 5000)
@example("cluster" + ".p" * 3000 + " = 1")
@example(f'[cluster.p]\nbootstrap = "{CANARY}')
def test_any_text_loads_or_says_what_is_wrong(folder: Path, text: str) -> None:
    held(folder, text, {})


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        *(("TLS__VERIFY", text, False) for text in ("0", "no", "N", "off", "False", "f")),
        *(("TLS__VERIFY", text, True) for text in ("1", "YES", "y", "on", "true", "t")),
        *(("CONNECT_TIMEOUT_SECONDS", text, 15.0) for text in ("15", "15.0", " 15 ", "1.5e1", "+15", "1_5")),
        *(("READ_BYTES_PER_SECOND", text, 1000) for text in ("1000", "1_000", " 1000", "+1000", "1000.0")),
        ("BOOTSTRAP", "a:1, b:2,", ("a:1", "b:2")),
        ("TLS__KEY_PASSWORD__COMMAND", "pass show 'my key'", ("pass", "show", "my key")),
        ("SECURITY", "SASL-SSL", "SASL_SSL"),
        ("CLIENT_ID", "12", "12"),
    ],
)
def test_variables_are_read_as_what_their_key_takes(folder: Path, variable: str, value: str, read: object) -> None:
    text = '[cluster.p]\nbootstrap = "k:1"\nsecurity = "tls"\n[cluster.p.tls]\ncert_file = "/c"\n'
    env = {f"KAFKEEP_CLUSTER__P__{variable}": value}
    if variable == "SECURITY":
        env |= {"KAFKEEP_CLUSTER__P__SASL__MECHANISM": "gssapi"}
    loaded = held(folder, text, env)
    assert loaded is not None
    found: Any = loaded.settings.cluster["p"]
    for part in variable.lower().split("__"):
        found = getattr(found, part)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("connections", "0", "should be a whole number at least 1 and at most 256"),
        ("connections", "257", "should be a whole number at least 1 and at most 256"),
        ("connections", "1.5", "should be a whole number"),
        ("connections", "true", "should be a whole number"),
        ("upload_bytes_per_second", "-1", "should be a whole number greater than 0"),
        ("timeout_seconds", "3601", "should be a number greater than 0 and at most 3600"),
        ("timeout_seconds", "2020-01-01", "should be a number"),
        ("compression", '"gzip"', "should be one of zstd, none"),
        ("compression", "[]", "should be one of zstd, none"),
        ("ca_file", '""', "should not be empty"),
        ("ca_file", "1", "should be text"),
        ("ca_file", '"~nobody-of-this-name/x"', "the home folder in it is not known"),
        ("admins", '"a"', "should be a list of text"),
        ("admins", "[1]", "should be a list of text"),
        ("identity", "5", "should be a table"),
        ("identity", '{ command = "\'" }', "No closing quotation"),
        ("s3", "5", "should be a table"),
    ],
)
def test_what_a_key_takes_is_said(folder: Path, key: str, value: str, said: str) -> None:
    (folder / "kafkeep.toml").write_text(f'[repository.r]\nurl = "s3://b"\n{key} = {value}\n')
    with pytest.raises(SettingsError) as caught:
        load(None, env={}, cwd=folder, home=folder)
    assert said in caught.value.message
    assert "(and" not in caught.value.message


def test_several_findings_are_counted_and_unknown_keys_come_first(folder: Path) -> None:
    (folder / "kafkeep.toml").write_text('[repository.r]\ncompression = "x"\nconnections = 0\ncompresion = "zstd"\n')
    with pytest.raises(SettingsError) as caught:
        load(None, env={}, cwd=folder, home=folder)
    assert caught.value.message.startswith("unknown key 'compresion' in [repository.r] of ")
    assert caught.value.message.endswith("(and 3 more)")


def test_tables_are_values(folder: Path) -> None:
    """Nobody changes them, equal ones are equal, and what they print holds no argument of a command."""
    source = settings.SecretSource(command=("pass", CANARY))
    assert source == settings.SecretSource(command=("pass", CANARY)) and hash(source) == hash(source)
    with pytest.raises(AttributeError):
        source.file = "/x"  # type: ignore[misc]
    assert CANARY not in f"{source} {source!r} {settings.ClusterSettings(bootstrap=('k:1',), tls=None)!r}"
