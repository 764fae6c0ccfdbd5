"""Encrypted repositories on simulated clusters: who holds which key, and what each can open."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from tests.support.operations import back_up, now
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.repository import keyring
from kafkeep.repository.identities import Identity, encode_slot
from kafkeep.repository.keyring import Access, NewEncryption
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.topic_keys import TopicKey
from kafkeep.secret import Secret

PASSPHRASE = Secret("correct horse battery staple")
TOPICS = ("orders", "payments")


@contextmanager
def quick_slots() -> Iterator[None]:
    """Slots that cost a tenth of what they cost elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyring, "encode_slot", partial(encode_slot, n=2**14))
        yield


def access(identity: Identity | None = None, *, writer: Repository | None = None) -> Access:
    """Of an identity, or of somebody who has the writer key alone."""
    if writer is not None:
        assert writer.keyring is not None
        return Access(writer_key=writer.keyring.writer_key)
    return Access(identities=() if identity is None else (identity,))


def new_encrypted(store: Store, *identities: Identity, passphrase: Secret | None = None) -> Repository:
    """Opened by whoever created it: with the writer key."""
    recipients = tuple(identity.recipient(f"r{number}") for number, identity in enumerate(identities))
    return Repository.init(
        store, now=now, rng=random.Random(1), chunk_bytes=300, encryption=NewEncryption(recipients, passphrase)
    )


def opened_by(store: Store, *identities: Identity, writer: Repository | None = None, seed: int = 2) -> Repository:
    given = access(writer=writer) if writer is not None else Access(identities=identities)
    return Repository.open(store, now=now, rng=random.Random(seed), pause=lambda seconds: None, access=given)


def fill(cluster: SimulatedCluster, topics: tuple[str, ...] = TOPICS, *, start: int = 0) -> None:
    """Three records into each partition of these topics, of which there are two each."""
    for topic in topics:
        if topic not in cluster.topics:
            cluster.add_topic(topic, 2)
        for partition, log in enumerate(cluster.topics[topic].logs):
            log.append([record(f"{topic}/{partition}/{start + number}".encode()) for number in range(3)])


def filled(store: MemoryStore, *identities: Identity) -> tuple[SimulatedCluster, Repository]:
    """A repository with one point of two topics, written by somebody who has the writer key alone."""
    cluster = SimulatedCluster("source")
    fill(cluster)
    repository = new_encrypted(store, *identities)
    back_up(cluster, repository)
    return cluster, repository


def keys_for(store: MemoryStore, identity: Identity) -> set[str]:
    """Ids of the keys that lie wrapped for it."""
    own = identity.recipient().id
    return {name.split("/")[1] for name in store.objects if name.startswith("key/") and name.endswith(f"/{own}")}


def topic_keys(repository: Repository, topic: str) -> tuple[TopicKey, ...]:
    return tuple(key for key in repository.refresh().keys.topic_keys.values() if key.topic[0] == topic)
