"""A switch that makes every journal's repository an encrypted one, for an identity that everybody may know.

@pytest.fixture(autouse=True, params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[None]:
    with encrypted(request.param == "encrypted"):
        yield
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from kafkeep.repository import keyring
from kafkeep.repository.identities import Identity
from kafkeep.repository.keyring import Access, NewEncryption

KINDS: Final = ("plain", "encrypted")
IDENTITY: Final = Identity(bytes(range(1, 33)))
OTHER: Final = Identity(bytes(range(101, 133)))
ACCESS: Final = Access((IDENTITY,))


@dataclass
class _Switch:
    on: bool = False


_switch = _Switch()


@contextmanager
def encrypted(on: bool = True) -> Iterator[None]:
    """Journals create repositories for `IDENTITY`, which whoever gives no key opens them with; `reader_of` too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_switch, "on", on)
        patch.setattr(keyring, "NO_ACCESS", ACCESS if on else Access())
        yield


def new_encryption() -> NewEncryption | None:
    """What a journal creates its repository with."""
    return NewEncryption((IDENTITY.recipient("tests"),)) if _switch.on else None


def secret() -> str:
    """What the second reader opens it with."""
    return IDENTITY.reveal() if _switch.on else ""
