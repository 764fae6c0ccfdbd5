"""From a repository document to the keys of an encrypted repository. Others never load cryptography."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kafkeep.model import Generation
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.layout import RunSeal
from kafkeep.repository.stores.base import Store
from kafkeep.repository.topic_keys import KeyRing

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Access, Keyring
    from kafkeep.repository.sealing import DocumentSeal, RunCipher


def unlocked(store: Store, document: RepositoryDocument, access: Access | None) -> Keyring | None:
    """The keys of an encrypted repository, None for any other (`keyring.unlock`)."""
    if document.encryption is None and access is None:
        return None
    from kafkeep.repository.keyring import NO_ACCESS, unlock

    return unlock(store, document, NO_ACCESS if access is None else access)


class StateSealer:
    """Seals runs under the topic keys that the commits tell of at that moment."""

    def __init__(self, keyring: Keyring, keys: Callable[[], KeyRing]) -> None:
        self._keyring = keyring
        self._keys = keys

    @property
    def seal(self) -> DocumentSeal:
        return self._keyring.seal

    def seal_run(self, generation: Generation, start: int) -> tuple[RunCipher, RunSeal]:
        return self._keyring.seal_run(self._keys(), generation, start)
