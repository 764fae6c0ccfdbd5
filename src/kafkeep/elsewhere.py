"""What workers in other processes need to reach cluster and repository: as a value on this side, opened on theirs.

Only the coordinator commits. A worker that captures gets the writer key, which opens no records; one that reads records
gets the identity besides.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kafkeep.errors import CorruptObject, SettingsError, UsageError
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.records import dataclass
from kafkeep.repository.format import SINGLE
from kafkeep.repository.remote_packs import PackMaker
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.factory import open_store
from kafkeep.repository.stores.options import AccessKey, AsOf, StoreOptions
from kafkeep.repository.stores.wrappers import Rate, ThrottledStore
from kafkeep.secret import Secret
from kafkeep.work.executor import Executor, ThreadExecutor

_THREADS_HINT: Final = "Take --executor threads."


def worker_now() -> datetime:
    """A worker's own clock: it is at the edge like the command line."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class KnownAccessKey:
    """An access key that was fetched where the command runs."""

    key: AccessKey

    def __call__(self) -> AccessKey:
        return self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePlace:
    """Where a repository lies, and how its store is spoken to."""

    url: str
    options: StoreOptions | None = None
    upload: int | None = None
    """Bytes per second, over all workers; likewise `download`."""
    download: int | None = None
    as_of: AsOf | None = None
    """Where the repository is read as it was at a time."""
    cache_dir: Path | None = None
    """Of the local cache, for workers on the coordinator's host: they need not fold the log anew."""

    def for_workers(self, workers: int) -> StorePlace:
        """One worker's part, in a form that travels. Raises `UsageError` where no other process can get to the store,
        `SettingsError` for a login that ends."""
        if self.url.lower().startswith("memory:"):
            raise UsageError(f"{self.url} lies in the memory of this process", hint=_THREADS_HINT)
        return replace(
            self,
            url=self.url if "://" in self.url else str(Path(self.url).absolute()),
            options=None if self.options is None else _travelling(self.options),
            upload=None if self.upload is None else max(1, self.upload // workers),
            download=None if self.download is None else max(1, self.download // workers),
        )

    def open(self) -> Store:
        """Raises as `open_store`."""
        store = open_store(self.url, self.options, as_of=self.as_of, jitter=random.SystemRandom().random)
        if self.upload is None and self.download is None:
            return store
        return ThrottledStore(
            store,
            upload=None if self.upload is None else Rate(self.upload),
            download=None if self.download is None else Rate(self.download),
        )


def _travelling(options: StoreOptions) -> StoreOptions:
    s3 = options.s3
    if s3.access_key is not None:
        key = s3.access_key()
        if key.expires is not None:
            raise SettingsError(
                "the store's access key ends at a time, and workers in other processes cannot renew it",
                hint="Leave it out of the settings, so that each worker finds a login of its own. " + _THREADS_HINT,
            )
        s3 = replace(s3, access_key=KnownAccessKey(key))
    if s3.object_lock is not None:
        s3 = replace(s3, object_lock=replace(s3.object_lock, now=worker_now))
    return replace(options, s3=s3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workforce:
    """Who does the tasks of an operation."""

    executor: Executor
    place: StorePlace | None = None
    """Of the repository; None where all workers are threads of this process."""

    @property
    def elsewhere(self) -> bool:
        return self.place is not None


HERE: Final = Workforce(executor=ThreadExecutor())


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a worker reaches cluster and repository by. Secrets in it are `Secret`, so it has a text to be seen."""

    cluster: ClusterConfig
    place: StorePlace
    repository_id: str
    writer_key: Secret | None
    identity: Secret | None
    """Only for workers that open records."""
    admins: frozenset[str] = frozenset()
    """Public keys of those at whose saved states reading may begin (`Repository.open`)."""

    @contextmanager
    def packs(self) -> Iterator[PackMaker]:
        """For writing packs."""
        store = self.place.open()
        try:
            yield PackMaker(store, self.repository_id, self.writer_key, now=worker_now, rng=random.SystemRandom())
        finally:
            store.close()

    @contextmanager
    def repository(self) -> Iterator[Repository]:
        """For reading records: with the commit log as it is when this is called."""
        access = None
        if self.writer_key is not None:
            from kafkeep.repository.identities import Identity, WriterKey
            from kafkeep.repository.keyring import Access

            identities = () if self.identity is None else (Identity.parse(self.identity),)
            access = Access(identities=identities, writer_key=WriterKey.parse(self.writer_key))
        store = self.place.open()
        try:
            with Repository.open(
                store,
                now=worker_now,
                rng=random.SystemRandom(),
                cache_dir=self.place.cache_dir,
                access=access,
                admins=self.admins,
            ) as repository:
                if repository.id != self.repository_id:
                    raise CorruptObject(
                        f"{store.url} holds repository {repository.id} where a worker looks, not {self.repository_id}",
                        hint="Workers must reach the repository at the same place as the coordinator.",
                    )
                yield repository
        finally:
            store.close()


def reach_of(workforce: Workforce, cluster: Cluster, repository: Repository, *, opens_records: bool) -> Reach:
    """For one worker. Raises `UsageError`, `SettingsError` where workers elsewhere cannot do it."""
    if workforce.place is None:
        raise ValueError("threads of this process need nothing to reach what they have")
    if repository.about.writers == SINGLE and not opens_records:
        raise UsageError(
            "the repository takes one writer at a time, and workers in other processes would be further ones",
            hint=_THREADS_HINT,
        )
    keyring = repository.keyring
    identity = None if keyring is None or not opens_records else keyring.identity
    return Reach(
        cluster=replace(cluster.config, controllers=None),
        place=workforce.place.for_workers(workforce.executor.workers),
        repository_id=repository.id,
        writer_key=None if keyring is None else Secret(keyring.writer_key.reveal()),
        identity=None if identity is None else Secret(identity.reveal()),
        admins=repository.acceptable,
    )
