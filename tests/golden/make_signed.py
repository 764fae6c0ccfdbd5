"""How the golden repository whose commits are signed was made: `python -m tests.golden.make_signed FOLDER`.

The committed one is never made again. Its keys are made of numbers that everybody may know.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.golden.make_repositories import ORDERS, described
from tests.support.repositories import TIME, Clock, cut, draft, opened, piece, write_pack

from kafkeep.repository.changes import KIND_OF, Change, Retire
from kafkeep.repository.envelope import Kind, canonical, wrap
from kafkeep.repository.format import Commit, unsigned_text
from kafkeep.repository.keyring import Access
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.trust import ADMIN, WRITER, Distrust, Trust, signed_text

ADMIN_KEY: Final = SigningKey(bytes(range(1, 33)))
WRITER_KEY: Final = SigningKey(bytes(range(2, 34)))
GONE_KEY: Final = SigningKey(bytes(range(3, 35)))
"""Of a writer who was trusted once."""


def make(root: Path) -> None:
    """An admin, two writers of whom one is distrusted, a retirement, and three commits that count for nothing."""
    store = LocalStore(root / "repository")
    clock = Clock()

    def opened_by(key: SigningKey) -> Repository:
        access = Access(signing_key=key)
        return Repository.open(store, now=clock, rng=random.Random(key.id), access=access)

    Repository.init(
        store,
        now=clock,
        rng=random.Random("format 1 signed"),
        compression="none",
        admins=(ADMIN_KEY.trusted(ADMIN, "Betrieb"),),
    )
    admin = opened_by(ADMIN_KEY)
    for key, name in ((WRITER_KEY, "backup host"), (GONE_KEY, "old host")):
        admin.decide(Trust(key.trusted(WRITER, name)), started=TIME)
    packs = []
    for start, key in ((0, GONE_KEY), (9, WRITER_KEY)):
        writer = opened_by(key)
        pack = write_pack(writer, [piece(ORDERS, start, 3)])
        packs.append(pack.name)
        of = opened(ORDERS) if start == 0 else ()
        writer.commit(draft(packs=[pack], open_=of, cuts=[cut(ORDERS, start + 9, start)], name=f"from {start}"))
    admin.refresh()
    admin.decide(Distrust(GONE_KEY.public), started=TIME)
    retire = Retire((3,), (packs[0],), "pruned by rules")
    put(store, retire, None)
    put(store, retire, WRITER_KEY)
    put(store, retire, GONE_KEY)
    admin.refresh()
    admin.decide(retire, started=TIME)
    admin.put_audit("verify", {"at": TIME, "findings": []})
    (root / "expected.json").write_text(json.dumps(described(admin), indent=1, ensure_ascii=False) + "\n")
    admin.close()
    (root / "repository" / "tmp").rmdir()


def put(store: Store, change: Change, key: SigningKey | None) -> None:
    """A commit at the next number, signed by whoever, or by nobody."""
    repository = Repository.open(store, now=Clock(), rng=random.Random(1))
    state = repository.state
    commit = Commit(
        seq=state.head + 1,
        prev=state.head_digest,
        kind=KIND_OF[type(change)],
        writer="ab" * 16,
        epoch=state.epoch,
        started=TIME,
        finished=TIME,
        tool="nobody",
        change=change,
    )
    put_value(store, repository.id, json.loads(unsigned_text(commit)), key)


def put_value(store: Store, repository_id: str, value: Mapping[str, Any], key: SigningKey | None) -> None:
    """This commit at its number, signed by whoever, or by nobody."""
    signed = dict(value)
    if key is not None:
        signed["signature"] = {"key": key.id, "value": key.sign(signed_text(repository_id, canonical(signed)))}
    store.put_new(log_name(int(value["seq"])), wrap(Kind.COMMIT, signed))


if __name__ == "__main__":
    make(Path(sys.argv[1]) / "format-1-signed")
