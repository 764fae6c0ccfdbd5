"""What kafkeep's own loggers are told, for tests that look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kafkeep import logger


@contextmanager
def lines_told() -> Iterator[list[dict[str, object]]]:
    """Every line of the `with`: its values by name, and `message`, `level` and `logger`."""
    lines: list[dict[str, object]] = []

    def take(name: str, level: str, message: str, values: Mapping[str, object]) -> None:
        lines.append({**values, "message": message, "level": level, "logger": name})

    logger.send_to(take)
    try:
        yield lines
    finally:
        logger.send_to(None)
