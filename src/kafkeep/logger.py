"""Log lines of kafkeep's own code: a message and named values, to wherever the program says.

The command line sends them to stderr (`cli.logs`). Where nobody said anything, as in a program that imports kafkeep,
they go to the standard library's loggers of the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30}
"""Numbers as in the standard library."""

Outlet = Callable[[str, str, str, Mapping[str, object]], None]
"""Takes the logger's name, the level's name, the message and the values."""


def _to_standard_library(name: str, level: str, message: str, values: Mapping[str, object]) -> None:
    import logging

    fields = " ".join(f"{key}={value!r}" for key, value in values.items())
    logging.getLogger(name).log(LEVELS[level], "%s  %s" if fields else "%s%s", message, fields)


class _Way:
    """Where all lines go."""

    __slots__ = ("least", "outlet")

    def __init__(self) -> None:
        self.outlet: Outlet = _to_standard_library
        self.least = 0


_way = _Way()


def send_to(outlet: Outlet | None, least: int = 0) -> None:
    """From now on lines of this level and above go to `outlet`, which any thread may call; None: to the standard library."""
    _way.outlet, _way.least = _to_standard_library if outlet is None else outlet, least


def send_nowhere() -> None:
    """From now on nothing is told."""
    send_to(lambda *_: None)


class Logger:
    """Tells what happens in one module; values stand beside the message under their names."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def debug(self, message: str, /, **values: object) -> None:
        """What helps to follow a single request or object."""
        self._tell("debug", message, values)

    def info(self, message: str, /, **values: object) -> None:
        """What was done, or went another way than usual."""
        self._tell("info", message, values)

    def warning(self, message: str, /, **values: object) -> None:
        """What somebody should look at, although the work goes on."""
        self._tell("warning", message, values)

    def _tell(self, level: str, message: str, values: Mapping[str, object]) -> None:
        if LEVELS[level] >= _way.least:
            _way.outlet(self.name, level, message, values)


def get_logger(name: str) -> Logger:
    """The logger of a module, by its `__name__`."""
    return Logger(name)
