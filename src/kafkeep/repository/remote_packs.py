"""Writing packs in a process that does not commit them: what the one that does must tell it, and how it goes by that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from kafkeep.errors import CorruptObject
from kafkeep.model import Generation
from kafkeep.records import dataclass
from kafkeep.repository.objects import read_repository_document
from kafkeep.repository.pack import PackWriter
from kafkeep.repository.packing import Randomness
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.topic_keys import KeyRing, TopicKey, topic_of, with_topic_keys
from kafkeep.repository.unlocking import StateSealer
from kafkeep.secret import Secret

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Keyring


@dataclass(frozen=True, slots=True)
class PackTerms:
    """What a pack must keep to so that the committing process can commit it."""

    epoch: int
    topic_keys: tuple[TopicKey, ...]
    """Public halves of the keys that its runs are sealed under; none where nothing is encrypted."""


def terms_for(repository: Repository, generations: Iterable[Generation]) -> PackTerms:
    """For packs with runs of these generations. Raises `UnknownFormat`, `KeyRefused`, `StoreError`."""
    repository.check_may_add()
    state, keyring = repository.state, repository.keyring
    keys = () if keyring is None else keyring.keys_for(state.keys, map(topic_of, generations))
    return PackTerms(state.epoch, keys)


class PackMaker:
    """Opens packs in a store, for a repository that another process has open. Safe for many threads."""

    def __init__(
        self,
        store: Store,
        repository_id: str,
        writer_key: Secret | None,
        *,
        now: Callable[[], datetime],
        rng: Randomness,
    ) -> None:
        """Raises `RepositoryNotFound`, `StoreError`, `KeyRefused`, and `CorruptObject` where another repository lies."""
        self._store = store
        self._document = read_repository_document(store)
        if self._document.id != repository_id:
            raise CorruptObject(
                f"{store.url} holds repository {self._document.id} where a worker looks, not {repository_id}",
                hint="Workers must reach the repository at the same place as the coordinator.",
            )
        self._keyring = None if writer_key is None else _keyring(store, repository_id, writer_key)
        self._now = now
        self._rng = rng

    def writer(self, terms: PackTerms) -> PackWriter:
        """A new pack. Raises `StoreError`."""
        sealer = None
        if self._keyring is not None:
            keys = with_topic_keys(KeyRing(), terms.topic_keys)
            sealer = StateSealer(self._keyring, lambda: keys)
        return PackWriter(
            self._store.open_new(), self._document, epoch=terms.epoch, now=self._now, rng=self._rng, sealer=sealer
        )


def _keyring(store: Store, repository_id: str, writer_key: Secret) -> Keyring:
    from kafkeep.repository.identities import WriterKey
    from kafkeep.repository.keyring import Keyring

    return Keyring(store, repository_id, WriterKey.parse(writer_key), None)
