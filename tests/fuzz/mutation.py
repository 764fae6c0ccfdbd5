"""Changes to inputs: bits, numbers, stretches and pieces of other inputs, and changes inside the tree of a JSON text."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from random import Random
from typing import Any, Final

LONGEST: Final = 64 * 1024
"""Bytes of an input."""

NUMBERS: Final = tuple(
    sorted(
        {
            sign * (1 << power) + near
            for power in (0, 3, 7, 8, 14, 15, 16, 21, 28, 31, 32, 35, 62, 63, 64)
            for near in (-1, 0, 1)
            for sign in (-1, 1)
        }
    )
)
_LAYOUTS: Final = ("b", ">h", ">i", ">q", "<h", "<i", "<q")
_TEXTS: Final = ("", "\x00", ".", "..", "é", "\U0001f600", "a" * 300, "2026-11-20T10:00:00Z", "0" * 64)


def mutated(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> bytes:
    """The input after one to sixteen changes."""
    changed = bytearray(data)
    for _ in range(1 << dice.randrange(5)):
        dice.choice(_CHANGES)(changed, others, tokens, dice)
    return bytes(changed[:LONGEST])


def _place(data: bytearray, dice: Random) -> int:
    return dice.randrange(len(data) + 1)


def _stretch(data: bytes | bytearray, dice: Random) -> tuple[int, int]:
    start = dice.randrange(len(data) + 1)
    return start, min(len(data), start + 1 + int(dice.paretovariate(0.7)))


def _flip(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _set_byte(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    if data:
        any_byte = dice.randrange(256)
        data[dice.randrange(len(data))] = dice.choice((0, 1, 2, 127, 128, 255, any_byte, any_byte, any_byte, any_byte))


def _number(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    """A number of a fixed size is replaced, or becomes a little larger or smaller."""
    layout = struct.Struct(dice.choice(_LAYOUTS))
    if len(data) < layout.size:
        return
    place = dice.randrange(len(data) - layout.size + 1)
    if dice.random() < 0.5:
        value = dice.choice(NUMBERS)
    else:
        value = layout.unpack_from(data, place)[0] + dice.randint(-16, 16)
    low = -(1 << 8 * layout.size - 1)
    layout.pack_into(data, place, (value - low) % -(2 * low) + low)


def _varint(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    value, out = abs(dice.choice(NUMBERS)), bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    place = _place(data, dice)
    data[place : place + dice.choice((0, 1, len(out)))] = out


def _remove(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    start, stop = _stretch(data, dice)
    del data[start:stop]


def _cut(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    del data[_place(data, dice) :]


def _insert(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    place = _place(data, dice)
    data[place:place] = dice.randbytes(1 + int(dice.paretovariate(1)) % 64)


def _repeat(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    """A stretch comes again, now and then until the input is as long as inputs get."""
    start, stop = _stretch(data, dice)
    piece = bytes(data[start:stop])
    if piece:
        often = LONGEST // len(piece) if dice.random() < 0.02 else dice.randrange(1, 8)
        data[stop:stop] = piece * often
        del data[LONGEST:]


def _splice(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    """A stretch of another input, put in or put over."""
    other = dice.choice(others) if others else b""
    start, stop = _stretch(other, dice)
    place = _place(data, dice)
    data[place : place + dice.choice((0, stop - start))] = other[start:stop]


def _join(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    if others and dice.random() < 0.5:
        data += dice.choice(others)
    elif others:
        data[_place(data, dice) :] = dice.choice(others)


def _token(data: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], dice: Random) -> None:
    if tokens:
        token, place = dice.choice(tokens), _place(data, dice)
        data[place : place + dice.choice((0, len(token)))] = token


_CHANGES: Final = (
    _flip,
    _set_byte,
    _set_byte,
    _number,
    _number,
    _varint,
    _remove,
    _cut,
    _insert,
    _repeat,
    _splice,
    _join,
    _token,
    _token,
)


def mutated_json(data: bytes, others: Sequence[bytes], dice: Random) -> bytes | None:
    """A JSON text after one to four changes in its tree, None when the input is not JSON or too deep."""
    try:
        tree = [json.loads(data)]
        stock = json.loads(dice.choice(others)) if others else None
    except (ValueError, RecursionError):
        return None
    for _ in range(dice.randint(1, 4)):
        _change_tree(tree, stock, dice)
    try:
        text = json.dumps(tree[0], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode(errors="replace")[:LONGEST]
    except (ValueError, RecursionError):  # a piece of the stock may have been put into itself
        return None


def _change_tree(tree: Any, stock: Any, dice: Random) -> None:
    """Walks down to some node and replaces, removes, repeats or renames it."""
    parent: Any = tree
    key: Any = 0
    while isinstance(parent[key], (dict, list)) and parent[key] and dice.random() < 0.85:
        parent = parent[key]
        key = dice.choice(sorted(parent)) if isinstance(parent, dict) else dice.randrange(len(parent))
    what = dice.randrange(6)
    if parent is tree or what < 3:
        parent[key] = _value(parent[key], stock, dice)
    elif what == 3:
        del parent[key]
    elif isinstance(parent, dict):
        parent[dice.choice(("x", "", key + "s"))] = parent[key]
    elif what == 4:
        parent.insert(key, parent[key])
    else:
        dice.shuffle(parent)


def _value(old: Any, stock: Any, dice: Random) -> Any:
    what = dice.randrange(8)
    if what == 0 and isinstance(old, int):
        return old + dice.randint(-3, 3)
    if what == 1 and isinstance(old, str):
        place = dice.randrange(len(old) + 1)
        return old[:place] + dice.choice(("", "0", "g", "-", "/", "é", "Z")) + old[place + 1 :]
    if what in (2, 3) and isinstance(stock, (dict, list)) and stock:
        return dice.choice(list(stock.values()) if isinstance(stock, dict) else stock)
    if what == 4:
        return [old] * dice.randrange(3)
    if what == 5:
        return {"from": old, "to": dice.choice(NUMBERS)}
    return dice.choice((None, True, False, dice.choice(NUMBERS), dice.choice(_TEXTS), 1.5, [], {}))
