"""Which lines of some modules a call runs through, and from which line to which."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Final

_LINE_BITS: Final = 16
_LINE: Final = (1 << _LINE_BITS) - 1


class Coverage:
    """Collects arcs: an arc is a code object, the line before and the line after, packed into one number."""

    def __init__(self, modules: Sequence[ModuleType]) -> None:
        self._files = {str(module.__file__): module.__name__ for module in modules}
        self._bases: dict[CodeType, int | None] = {}
        self._names: list[str] = []
        self._arcs: set[int] = set()

    def of(self, call: Callable[[], Any]) -> set[int]:
        """The arcs of one call, which may raise: what it met until then counts, ask `last` for it."""
        self._arcs = set()
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            call()
        finally:
            sys.settrace(before)
        return self._arcs

    @property
    def last(self) -> set[int]:
        """The arcs of the last call."""
        return self._arcs

    def lines(self, arcs: set[int]) -> dict[str, set[int]]:
        """The lines that arcs lead to, by module."""
        found: dict[str, set[int]] = {name: set() for name in self._files.values()}
        for arc in arcs:
            found[self._names[arc >> 2 * _LINE_BITS]].add(arc & _LINE)
        return found

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        code = frame.f_code
        base = self._bases[code] if code in self._bases else self._learn(code)
        if base is None:
            return None
        add, before = self._arcs.add, 0

        def step(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal before
            if event == "line":
                line = frame.f_lineno
                add(base | before << _LINE_BITS | line)
                before = line
            return step

        return step

    def _learn(self, code: CodeType) -> int | None:
        name = self._files.get(code.co_filename)
        if name is None:
            self._bases[code] = None
            return None
        self._names.append(name)
        base = len(self._names) - 1 << 2 * _LINE_BITS
        self._bases[code] = base
        return base


def lines_of(module: ModuleType) -> set[int]:
    """The lines inside the functions of a module that can be run."""
    path = str(module.__file__)
    whole = compile(Path(path).read_text(), path, "exec")
    return {line for code in _functions(whole) for line in _own_lines(code)}


def _functions(code: CodeType) -> Iterator[CodeType]:
    for item in code.co_consts:
        if isinstance(item, CodeType):
            if item.co_flags & 0x2:  # CO_NEWLOCALS: a function, not the body of a class
                yield item
            yield from _functions(item)


def _own_lines(code: CodeType) -> set[int]:
    return {line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno}
