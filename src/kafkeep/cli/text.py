"""Text that is safe to show: no terminal escapes, no secrets, and figures people can read. Pure."""

from __future__ import annotations

import base64
import json
import re
import threading
import unicodedata
from typing import Final
from urllib.parse import quote, quote_plus

from kafkeep.secret import Secret

STARS: Final = "***"
SHORTEST_REDACTED: Final = 4
"""Shorter secrets are not searched for: they would blank out ordinary text and hide nothing."""

_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_PLAIN = re.compile(r"[ -~]*")


def safe(text: str, *, keep_newlines: bool = False) -> str:
    """The text with control, format, bidirectional and surrogate characters as escapes (`\\x1b`, `\\u202e`)."""
    if _PLAIN.fullmatch(text):
        return text
    return "".join(_safe_character(character, keep_newlines) for character in text)


def _safe_character(character: str, keep_newlines: bool) -> str:
    if character == "\n" and keep_newlines:
        return character
    if unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class Redactor:
    """Puts stars in place of every secret it was told of, however that was encoded on its way into a text."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: tuple[str, ...] = ()

    def add(self, secret: Secret) -> Secret:
        """Remembers the secret and hands it back."""
        text = secret.reveal()
        if len(text) >= SHORTEST_REDACTED:
            with self._lock:
                self._forms = tuple(sorted({*self._forms, *_forms(text)}, key=len, reverse=True))
        return secret

    def __call__(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, STARS)
        return text


def _forms(text: str) -> set[str]:
    raw = text.encode("utf-8", "surrogateescape")
    encoded = {
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        raw.hex(),
        quote(text, safe=""),
        quote_plus(text),
    }
    escaped = {repr(text)[1:-1], json.dumps(text)[1:-1], repr(raw)[2:-1]}
    return {text, *encoded, *escaped}


def size_text(size_bytes: float) -> str:
    """`1.2 GB`: decimal units, as disks and networks are sold."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size_bytes /= 1000
        if size_bytes < 999.5:
            return f"{size_bytes:.3g} {unit}" if size_bytes < 100 else f"{size_bytes:.0f} {unit}"
    return f"{size_bytes / 1000:,.1f} PB"


def count_text(number: int) -> str:
    """`1 234 567`."""
    return f"{number:,}".replace(",", " ")


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 record`, `2 records`."""
    return f"{count_text(number)} {one if number == 1 else many or one + 's'}"


def duration_text(seconds: float) -> str:
    """`0:07`, `1:02:03`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
