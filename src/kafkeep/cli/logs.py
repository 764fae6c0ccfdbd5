"""Where logs go: one line each on stderr, redacted and escaped, of structlog and of the standard library alike."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from kafkeep.cli.jsonable import to_json
from kafkeep.cli.render import Output

LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)
CAPPED: Final = ("kafka", "asyncio", "urllib3", "botocore", "distributed")
"""Libraries whose debug lines may hold secrets or bodies: never below INFO, whatever was asked for."""

Event = MutableMapping[str, Any]


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


class _Printer:
    """The last processor's target: structlog calls `msg` with the rendered line."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def msg(self, text: str) -> None:
        self._output.block(text)

    log = debug = info = warn = warning = error = critical = exception = fatal = msg


def configure(output: Output, verbosity: int) -> None:
    """Sets the level by the number of `-v`: warnings, info, debug."""
    level = LEVELS[min(verbosity, len(LEVELS) - 1)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _as_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Printer(output),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_LineHandler(output)]
    root.setLevel(level)
    for name in CAPPED:
        logging.getLogger(name).setLevel(max(level, logging.INFO))


def _as_line(logger: object, method: str, event: Event) -> str:
    """`2026-11-20T10:00:00Z info    pack stored  pack=… runs=3`."""
    moment, level, message = event.pop("timestamp", ""), event.pop("level", method), event.pop("event", "")
    trace = event.pop("exception", "")
    fields = " ".join(f"{name}={_value(value)}" for name, value in event.items())
    return f"{moment} {level:7} {message}  {fields}".rstrip() + (f"\n{trace}" if trace else "")


def _value(value: object) -> str:
    if isinstance(value, str):
        return value if value and " " not in value else repr(value)
    try:
        return str(to_json(value))
    except TypeError:
        return str(value)
