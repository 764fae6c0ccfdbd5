"""How the golden encrypted repositories of format 1 were made: `python -m tests.golden.make_encrypted FOLDER`.

The committed ones are never made again: keys are random, and they are what released versions have written.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Final

from tests.golden.make_repositories import COMPRESSED, EVENTS, MESSAGES, OLD, ORDERS, described
from tests.support.repositories import (
    CLUSTER,
    TIME,
    Clock,
    cut,
    draft,
    gap,
    open_repository,
    opened,
    piece,
    write_pack,
)
from tests.support.sealed import ACCESS, IDENTITY, OTHER

from kafkeep.model import GenerationOpened
from kafkeep.repository.identities import Recipient
from kafkeep.repository.keyring import NewEncryption, wrap_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.topic_keys import AddRecipient, RecipientEntry, RemoveRecipient, RotateKeys, Shred, topic_of
from kafkeep.secret import Secret

PASSPHRASE: Final = "correct horse battery stäple"
METADATA: Final = {
    "cluster_id": CLUSTER,
    "groups": [
        {
            "group_id": "billing",
            "offsets": [["orders", 0, 6, 1, ""]],
            "protocol_type": "consumer",
            "state": "Stable",
            "type": "classic",
        }
    ],
    "topics": [{"configs": [], "internal": False, "name": "orders", "partitions": [[1]], "topic_id": ORDERS.topic_id}],
}


def _created(root: Path, compression: str) -> Repository:
    store = LocalStore(root / "repository")
    Repository.init(
        store,
        now=Clock(),
        rng=random.Random(f"format 1 encrypted {compression}"),
        compression=compression,
        chunk_bytes=400,
        encryption=NewEncryption((IDENTITY.recipient("the team"),), Secret(PASSPHRASE)),
    ).close()
    for name, text in (("identity", IDENTITY.reveal()), ("other-identity", OTHER.reveal()), ("passphrase", PASSPHRASE)):
        (root / name).write_text(text + "\n")
    return open_repository(store, access=ACCESS)


def make_encrypted(root: Path) -> None:
    """A repository with every kind of commit about keys but shredding: for an identity, for a passphrase, and for a while
    for another identity."""
    repository = _created(root, "zstd")
    assert repository.keyring is not None and repository.about.encryption is not None
    documents = [("metadata", repository.put_document("metadata", METADATA))]
    pack = write_pack(repository, [piece(ORDERS, 0, 6, size=150), COMPRESSED])
    begun = (*opened(ORDERS), GenerationOpened(EVENTS, 5, "first-seen"))
    cuts = [cut(ORDERS, 18), cut(EVENTS, 20, 5)]
    repository.commit(draft(packs=[pack], open_=begun, cuts=cuts, name="first", documents=documents))
    repository.decide(RotateKeys(), started=TIME)
    repository.commit(draft(packs=[write_pack(repository, [piece(ORDERS, 18, 3)])]))
    other = RecipientEntry(OTHER.recipient().public, "der Prüfer")
    repository.keyring.wrap_for_recipient(
        repository.about.encryption.metadata_key, repository.state.keys.topic_keys, other
    )
    repository.decide(AddRecipient(other), started=TIME)
    added = write_pack(repository, [piece(ORDERS, 27, 1), MESSAGES])
    cuts = [cut(ORDERS, 30), cut(EVENTS, 20, 5), cut(OLD, 3)]
    repository.commit(draft(packs=[added], open_=opened(OLD), cuts=cuts, name="second", documents=documents))
    repository.decide(RemoveRecipient(other.public), started=TIME)
    last = write_pack(repository, [piece(ORDERS, 30, 1), piece(EVENTS, 20, 2)])
    cuts = [cut(ORDERS, 33), cut(EVENTS, 26, 5), cut(OLD, 9)]
    repository.commit(draft(packs=[last], gaps=[gap(OLD, 3, 9)], cuts=cuts, name="dritte ✓", documents=documents))
    _finish(root, repository)


def make_shredded(root: Path) -> None:
    """An encrypted repository in which one of two topics that share packs was shredded, and came again."""
    repository = _created(root, "none")
    documents = [("metadata", repository.put_document("metadata", METADATA))]
    for start in (0, 9):
        pack = write_pack(repository, [piece(ORDERS, start, 3), piece(EVENTS, start, 3, seed=1)])
        cuts = [cut(ORDERS, start + 9), cut(EVENTS, start + 9)]
        open_ = opened(ORDERS, EVENTS) if start == 0 else ()
        repository.commit(draft(packs=[pack], open_=open_, cuts=cuts, name=f"to {start + 9}", documents=documents))
    repository.decide(Shred((topic_of(EVENTS),), "Löschung verlangt"), started=TIME)
    for key in repository.state.keys.shredded:
        for entry in repository.state.keys.recipients:
            repository.store.delete(wrap_name(key, Recipient(entry.public).id))
    pack = write_pack(repository, [piece(EVENTS, 18, 2), piece(ORDERS, 18, 1)])
    cuts = [cut(ORDERS, 21), cut(EVENTS, 24)]
    repository.commit(draft(packs=[pack], cuts=cuts, name="afterwards", documents=documents))
    _finish(root, repository)


def _finish(root: Path, repository: Repository) -> None:
    repository.put_audit("verify", {"at": TIME, "findings": []})
    (root / "expected.json").write_text(json.dumps(described(repository), indent=1, ensure_ascii=False) + "\n")
    repository.close()
    (root / "repository" / "tmp").rmdir()


if __name__ == "__main__":
    make_encrypted(Path(sys.argv[1]) / "format-1-encrypted")
    make_shredded(Path(sys.argv[1]) / "format-1-shredded")
