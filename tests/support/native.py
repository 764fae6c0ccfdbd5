"""kafkeep with and without its C helper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from kafkeep import native

WAYS = ("helper", "python")


@contextmanager
def without_helper() -> Iterator[None]:
    """As where no C compiler was there when kafkeep was installed."""
    functions = [
        name for name, value in vars(native).items() if getattr(value, "__module__", "") == "kafkeep.native._native"
    ]
    with patch.multiple(native, _api=0, **dict.fromkeys(functions)):
        yield


@contextmanager
def in_way(way: str) -> Iterator[None]:
    """One of `WAYS`; where there is no helper both are the same."""
    if way == "helper":
        yield
    else:
        with without_helper():
            yield
