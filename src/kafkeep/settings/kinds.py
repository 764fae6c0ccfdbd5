"""Kinds of values that the keys of kafkeep.toml take, and what is said of a value that is none.

A kind is a type with bounds (`msgspec.Meta`), which `msgspec.convert` checks, and perhaps a function of ours before it or
behind it. What is said of a value that does not fit is made from the kind alone, so that it cannot hold the value. Text is
taken for numbers and truth too, because variables of the environment hold nothing else.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields

from kafkeep.records import dataclass
from kafkeep.settings.words import (
    MECHANISMS,
    SECURITY_NAMES,
    check_endpoint,
    check_service_url,
    check_url,
    split_bootstrap,
)

_TRUTH: Final = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}


class Strict(Struct, frozen=True):
    """A table of kafkeep.toml: frozen. `__post_init__` raises ValueError for keys that do not go together, without values."""


class Before:
    """In a kind: what makes the value in front of the check. ValueError says what is wrong, without the value."""

    def __init__(self, read: Callable[[object], object]) -> None:
        self.read = read


class After:
    """In a kind: what makes text that passed the check into the value. ValueError as for `Before`."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self.read = read


def _servers(value: object) -> object:
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


Text = Annotated[str, Meta(min_length=1)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Rate = Annotated[int, Meta(gt=0)]
Servers = Annotated[tuple[str, ...], Before(_servers)]
Security = Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Before(_security)]
Mechanism = Annotated[str, Before(_mechanism)]
Command = Annotated[tuple[str, ...], Before(_command)]
StoreUrl = Annotated[Text, After(check_url)]
SecureUrl = Annotated[Text, After(check_endpoint)]
ServiceUrl = Annotated[Text, After(check_service_url)]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table."""

    base: Any
    """The type of its values when it is set, bounds left out."""
    extras: tuple[object, ...]
    """What belongs to the type: bounds, and functions before and behind the check."""
    description: str
    default: object
    """None, too, where it is `needed` or a table that is made anew."""
    needed: bool

    @property
    def named(self) -> type[Strict] | None:
        """The table that stands under each name, as in `[cluster.NAME]`."""
        table: type[Strict] | None = get_args(self.base)[1] if get_origin(self.base) is dict else None
        return table

    @property
    def table(self) -> type[Strict] | None:
        """The table that stands under the key, or under each name in it."""
        here = self.base if isinstance(self.base, type) and issubclass(self.base, Strict) else None
        return self.named if here is None else here

    def read(self, value: object) -> object:
        """The value as the key has it. ValueError says what is wrong, without the value."""
        for extra in self.extras:
            if isinstance(extra, Before):
                value = extra.read(value)
        if isinstance(value, str):
            value = _out_of_text(value, self.base)
        bounds = [extra for extra in self.extras if isinstance(extra, Meta)]
        try:
            found = convert(value, Annotated[(self.base, *bounds)] if bounds else self.base, strict=False)
        except (ValidationError, UnicodeEncodeError):  # the second for bytes of a variable that are no text
            raise ValueError(_refusal(value, self.base, bounds)) from None
        for extra in self.extras:
            if isinstance(extra, After):
                found = extra.read(found)
        return found


@functools.cache
def keys(table: type[Strict]) -> Mapping[str, Key]:
    """The keys of a table by name, in the order of the documentation."""
    return {key.name: _key(key) for key in fields(table)}


def _key(field: FieldInfo) -> Key:
    base: Any = field.type
    extras: tuple[object, ...] = ()
    while (origin := get_origin(base)) in (Annotated, Union, UnionType):
        if origin is Annotated:
            base, *more = get_args(base)
            extras = (*more, *extras)
        else:
            (base,) = (part for part in get_args(base) if part is not type(None))
    description = next((meta.description for meta in extras if isinstance(meta, Meta) and meta.description), "")
    default = None if field.default is NODEFAULT else field.default
    return Key(base, extras, description, default, field.required)


def _out_of_text(value: str, base: object) -> object:
    """What numbers and truth are spelled as; anything else as it is."""
    if base is bool:
        return _TRUTH.get(value.lower(), value)
    return value.strip().replace("_", "").removeprefix("+") if base in (int, float) else value


def _refusal(value: object, base: Any, bounds: Iterable[Meta]) -> str:
    if base is str:
        return "should not be empty" if value == "" else "should be text"
    if get_origin(base) is Literal:
        return f"should be one of {', '.join(get_args(base))}"
    if get_origin(base) is tuple:
        return "should be a list of text"
    within = [
        f"{words} {limit}"
        for bound in bounds
        for words, limit in (("greater than", bound.gt), ("at least", bound.ge), ("at most", bound.le))
        if limit is not None
    ]
    kind = {bool: "true or false", int: "a whole number", float: "a number"}[base]
    return f"should be {kind} {' and '.join(within)}".rstrip()
