"""Texts inside a POSIX shell script and inside a Java .properties file. Pure."""

from __future__ import annotations

import re
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:,@%+-]+")


def quote(text: str) -> str:
    """One word of a shell command. Raises ValueError for a text with a zero byte: no argument can hold one."""
    if "\0" in text:
        raise ValueError("a shell's word cannot hold a zero byte")
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\\''") + "'"


def property_line(key: str, value: str) -> str:
    """A line of a .properties file, ASCII only (java.util.Properties.load reads Latin-1)."""
    return f"{_escaped(key, key=True)}={_escaped(value, key=False)}"


def _escaped(text: str, *, key: bool) -> str:
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(_unit(code, special=key or first) for first, code in zip(_firsts(codes), codes, strict=True))


def _firsts(codes: list[int]) -> list[bool]:
    """True for the spaces that a value begins with: they would be taken for those around the equals sign."""
    told: list[bool] = []
    for code in codes:
        told.append(code == 0x20 and all(told))
    return told


def _unit(code: int, *, special: bool) -> str:
    if not 0x20 <= code < 0x7F:
        return f"\\u{code:04x}"
    if code == 0x5C or (special and not chr(code).isalnum() and chr(code) not in "._-"):
        return "\\" + chr(code)
    return chr(code)
