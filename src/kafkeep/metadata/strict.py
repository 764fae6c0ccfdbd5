"""Reading a document that a person has edited: every complaint names the file, the path inside and what was expected.
Pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from typing import Final, NoReturn

from kafkeep.errors import UsageError
from kafkeep.records import dataclass

_HINT: Final = "Correct the named place; `kafkeep metadata export` writes the form that is read."
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Place:
    """A value of a document and where it stands. Its methods raise `UsageError` for anything but what they are called."""

    value: object
    file: str
    path: str = ""

    def refuse(self, expected: str) -> NoReturn:
        """Says what is wrong here."""
        raise UsageError(f"{self.file}: {self.path or 'the document'}: {expected}", hint=_HINT)

    def _wrong(self, expected: str) -> NoReturn:
        kinds = {
            dict: "an object",
            list: "a list",
            str: "text",
            bool: "true or false",
            int: "a number",
            float: "a number",
        }
        got = "nothing" if self.value is None else kinds.get(type(self.value), type(self.value).__name__)
        plain = self.value is not None and not isinstance(self.value, (dict, list))
        quoted = "; put it into quotes" if expected == "text" and plain else ""
        self.refuse(f"expected {expected}, got {got}{quoted}")

    def inside(self, key: str | int) -> str:
        """The path of something inside of this."""
        if isinstance(key, int):
            return f"{self.path}[{key}]"
        name = key if _PLAIN.fullmatch(key) else repr(key)
        return f"{self.path}.{name}" if self.path else name

    def fields(self, known: Collection[str], needed: Collection[str]) -> dict[str, Place]:
        """An object's values; its keys are all of `needed` and others of `known`."""
        found = dict(self.entries())
        for name in found:
            if name not in known:
                near = difflib.get_close_matches(name, list(known), n=1)
                told = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                self.refuse(f"unknown key {name[:_SHOWN]!r}, {told}")
        for name in needed:
            if name not in found:
                self.refuse(f"the key {name} is missing")
        return found

    def entries(self) -> Iterator[tuple[str, Place]]:
        """An object's names and values."""
        if not isinstance(self.value, dict):
            self._wrong("an object")
        for name, value in self.value.items():
            if not isinstance(name, str):
                self.refuse(f"expected text as key, got {name!r}; put it into quotes")
            yield name, Place(value, self.file, self.inside(name))

    def items(self) -> tuple[Place, ...]:
        """A list's values."""
        if not isinstance(self.value, list):
            self._wrong("a list")
        return tuple(Place(item, self.file, self.inside(index)) for index, item in enumerate(self.value))

    def text(self) -> str:
        if not isinstance(self.value, str):
            self._wrong("text")
        try:
            self.value.encode()
        except UnicodeEncodeError:
            self.refuse("expected text, got something that is no Unicode")
        return self.value

    def text_or_none(self) -> str | None:
        return None if self.value is None else self.text()

    def word(self, known: Collection[str]) -> str:
        """A text of `known`."""
        text = self.text()
        if text not in known:
            self.refuse(f"expected one of {', '.join(known)}, got {text[:_SHOWN]!r}")
        return text

    def whole(self, least: int, bits: int = 64) -> int:
        """A whole number from `least` on that fits into a signed number of so many bits."""
        if type(self.value) is not int:
            self._wrong("a whole number")
        if not least <= self.value < 2 ** (bits - 1):
            self.refuse(f"expected a whole number from {least} to {2 ** (bits - 1) - 1}, got {self.value}")
        return self.value

    def real(self) -> float:
        """A number; a text where JSON has no number for it (`inf`)."""
        if isinstance(self.value, str) and self.value in ("inf", "-inf"):
            return float(self.value)
        if type(self.value) not in (int, float):
            self._wrong("a number")
        try:
            number = float(self.value)  # type: ignore[arg-type]
        except OverflowError:
            self.refuse("expected a number, got one that is too large")
        if number != number:
            self.refuse("expected a number, got nan")
        return number

    def truth(self) -> bool:
        if not isinstance(self.value, bool):
            self._wrong("true or false")
        return self.value
