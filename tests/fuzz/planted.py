"""Parsers with a known defect each: what the fuzzer must find."""

from __future__ import annotations

import os
import sys

from tests.fuzz.engine import Target

from kafkeep.errors import CorruptObject


def _deep(data: bytes) -> None:
    """The defect lies behind four bytes: by chance alone it takes some four thousand million tries."""
    if data[:1] != b"K":
        raise CorruptObject("no K")
    if data[1:2] != b"k":
        raise CorruptObject("no k")
    if data[2:3] != b"\xfe":
        raise CorruptObject("no fe")
    if data[3:4] != b"7":
        raise CorruptObject("no 7")
    raise ZeroDivisionError


def _endless(data: bytes) -> None:
    while data[:1] == b"\x07":
        pass


def _greedy(data: bytes) -> None:
    if data[:1] == b"\x07":
        bytearray(1 << 40)


def _fatal(data: bytes) -> None:
    if data[:1] == b"\x07":
        os.abort()


def target(name: str) -> Target:
    """One of deep, endless, greedy, fatal."""
    run = {"deep": _deep, "endless": _endless, "greedy": _greedy, "fatal": _fatal}[name]
    return Target(name=f"planted-{name}", run=run, modules=(sys.modules[__name__],), seeds=lambda: [b"seed"])
