"""How many examples a property test takes: a number for `make test`, twenty times as many for `make soak`."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import settings

PROFILE: Final = "kafkeep"
SOAK: Final = "soak"
_DEFAULT: Final = 100
_SOAK_FACTOR: Final = 20


def register() -> None:
    """Both profiles; conftest chooses the quick one, `--hypothesis-profile soak` the other."""
    # On a busy machine an example may take its time: pytest-timeout ends what hangs.
    settings.register_profile(PROFILE, deadline=None, max_examples=_DEFAULT)
    settings.register_profile(SOAK, deadline=None, max_examples=_DEFAULT * _SOAK_FACTOR)


def examples(count: int, **options: Any) -> settings:
    """Settings of a test that takes `count` examples in `make test`."""
    return settings(max_examples=count * settings.default.max_examples // _DEFAULT, **options)
