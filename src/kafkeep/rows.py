"""Files of rows that people write: CSV, or a JSON list of objects, read strictly. Pure.

Every error is a `UsageError` that names the file and the line or entry, with the caller's hint.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from kafkeep.errors import UsageError


def is_json(text: str, name: str) -> bool:
    """True when the file's name ends in `.json`, or its text begins with a bracket and its name does not say CSV."""
    return name.endswith(".json") or (not name.endswith(".csv") and text.lstrip().startswith("["))


def csv_rows(text: str, name: str, *, hint: str) -> Iterator[tuple[str, list[str]]]:
    """(where it stands, its columns) of every row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield f"{name} line {reader.line_num}", row
    except csv.Error as error:
        raise UsageError(f"{name} line {reader.line_num} is not CSV: {error}", hint=hint) from error


def json_entries(text: str, name: str, *, hint: str) -> Iterator[tuple[str, Any]]:
    """(where it stands, the entry) of every entry of a list."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON: {error}", hint=hint) from error
    if not isinstance(value, list):
        raise UsageError(f"{name} is not a list", hint=hint)
    for number, entry in enumerate(value, start=1):
        yield f"{name} entry {number}", entry


def digits(text: str, where: str, *, hint: str) -> int:
    """A whole number of 0 or above, of at most 19 digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise UsageError(f"{where}: {text[:40]!r} is not a number of 0 or above", hint=hint)
    return int(text)
