"""Where logs go: one line each on stderr, redacted and escaped, of kafkeep itself and of the standard library."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from kafkeep import logger
from kafkeep.cli.jsonable import to_json
from kafkeep.cli.render import Output

LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)
CAPPED: Final = ("kafka", "asyncio", "urllib3", "botocore", "distributed")
"""Libraries whose debug lines may hold secrets or bodies: never below INFO, whatever was asked for."""


class _LineHandler(logging.Handler):
    """The standard library's records as the same lines."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname.lower():7} {record.getMessage()} logger={record.name}"
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        try:
            self._output.block(text)
        except (OSError, ValueError):  # stderr is gone: that must not end the thread that has something to tell
            self.handleError(record)


def configure(output: Output, verbosity: int) -> None:
    """Sets the level by the number of `-v`: warnings, info, debug."""
    level = LEVELS[min(verbosity, len(LEVELS) - 1)]
    logger.send_to(functools.partial(_tell, output), level)
    root = logging.getLogger()
    root.handlers = [_LineHandler(output)]
    root.setLevel(level)
    for name in CAPPED:
        logging.getLogger(name).setLevel(max(level, logging.INFO))


def _tell(output: Output, name: str, level: str, message: str, values: Mapping[str, object]) -> None:
    output.block(line(datetime.now(UTC), level, message, values))


def line(moment: datetime, level: str, message: str, values: Mapping[str, object]) -> str:
    """`2026-11-20T10:00:00Z info    pack stored  pack=… runs=3`."""
    fields = " ".join(f"{name}={_value(value)}" for name, value in values.items())
    return f"{moment.isoformat().replace('+00:00', 'Z')} {level:7} {message}  {fields}".rstrip()


def _value(value: object) -> str:
    if isinstance(value, str):
        return value if value and " " not in value else repr(value)
    try:
        return str(to_json(value))
    except TypeError:
        return str(value)
