"""How the golden repositories with saved states were made: `python -m tests.golden.make_rooted FOLDER`.

The committed ones are never made again. Their keys are made of numbers that everybody may know.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.golden.make_repositories import COMPRESSED, EVENTS, MESSAGES, OLD, ORDERS, described
from tests.golden.make_signed import ADMIN_KEY, GONE_KEY, WRITER_KEY
from tests.support.long_logs import append_small
from tests.support.repositories import CLUSTER, TIME, Clock, Piece, closed, cut, draft, gap, opened, piece, write_pack
from tests.support.sealed import IDENTITY, OTHER

from kafkeep.model import GenerationOpened, HeldBack, PackRef
from kafkeep.repository.changes import (
    KIND_OF,
    Change,
    Compact,
    CompactedPack,
    Lose,
    MovedRun,
    Pin,
    RaiseEpoch,
    Retag,
    Retire,
    SaveState,
    Sweep,
)
from kafkeep.repository.format import Commit, encode_commit, unsigned_text
from kafkeep.repository.keyring import Access, NewEncryption, wrap_name
from kafkeep.repository.moving import PackMover, stored_chunks
from kafkeep.repository.names import MILESTONE, log_name, next_milestone
from kafkeep.repository.reader import PackReader
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.topic_keys import AddRecipient, RecipientEntry, RotateKeys, Shred, topic_of
from kafkeep.repository.trust import ADMIN, WRITER, Distrust, Signature, Trust, signed_text

SECRET: Final = ORDERS._replace(topic="secret")


class Maker:
    """A repository on its way, its clock, and hosts that open it."""

    def __init__(self, root: Path, seed: str, *, encrypted: bool) -> None:
        self.root, self.seed, self.encrypted = root, seed, encrypted
        self.store = MemoryStore()
        self.clock = Clock()
        Repository.init(
            self.store,
            now=self.clock,
            rng=random.Random(seed),
            compression="zstd",
            chunk_bytes=400,
            encryption=NewEncryption((IDENTITY.recipient("the team"),)) if encrypted else None,
            admins=(ADMIN_KEY.trusted(ADMIN, "Betrieb"),),
            access=self.access(ADMIN_KEY),
        ).close()
        self.admin = self.opened(ADMIN_KEY)
        for key, name in ((WRITER_KEY, "backup host"), (GONE_KEY, "old host")):
            self.decide(Trust(key.trusted(WRITER, name)))
        self.writer = self.opened(WRITER_KEY)

    def access(self, key: SigningKey) -> Access:
        return Access((IDENTITY,) if self.encrypted else (), signing_key=key)

    def opened(self, key: SigningKey) -> Repository:
        return Repository.open(
            self.store, now=self.clock, rng=random.Random(self.seed + key.id), access=self.access(key)
        )

    def decide(self, *changes: Change) -> None:
        for change in changes:
            self.admin.refresh()
            self.admin.decide(change, started=TIME)

    def pack(self, *pieces: Piece) -> PackRef:
        self.writer.refresh()
        return write_pack(self.writer, pieces)

    def moved(self, pack: PackRef, indexes: Sequence[int]) -> Compact:
        """These runs of a pack, copied into one more."""
        self.admin.refresh()
        entry = self.admin.state.packs.get(pack.name)
        assert entry is not None
        reader = PackReader(self.store, self.admin.id, seal=self.admin.seal)
        about, seal = self.admin.about, self.admin.seal
        dice = random.Random(self.seed + "moves")
        epoch = self.admin.state.epoch
        with PackMover(self.store.open_new(), about, epoch=epoch, now=self.clock, rng=dice, seal=seal) as mover:
            for number in indexes:
                index = reader.run_index(entry, next(run for run in entry.runs if run.index == number))
                mover.add(index, stored_chunks(self.store, pack.name, index))
            made = mover.finish()
        rows = tuple(MovedRun(at, pack.name, number) for at, number in enumerate(indexes))
        return Compact((CompactedPack(made.name, made.size, made.blake3, made.epoch, rows),))

    def save_state(self) -> int:
        self.admin.refresh()
        return self.admin.save_state(started=TIME).number

    def finish(self) -> None:
        self.admin.refresh()
        self.admin.put_audit("verify", {"at": TIME, "findings": []})
        for name, data in self.store.objects.items():
            path = self.root / "repository" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        text = json.dumps(described(self.admin), indent=1, ensure_ascii=False)
        (self.root / "expected.json").write_text(text + "\n")
        if self.encrypted:
            (self.root / "identity").write_text(IDENTITY.reveal() + "\n")
        self.writer.close()
        self.admin.close()


def live_through(made: Maker) -> None:
    """Something for each table of a saved state."""
    reference = made.writer.put_document("metadata", {"cluster_id": CLUSTER, "groups": [], "topics": []})
    documents = [("metadata", reference)]
    first = made.pack(piece(ORDERS, 0, 6, size=150), COMPRESSED, MESSAGES)
    begun = [*opened(ORDERS, OLD), GenerationOpened(EVENTS, 5, "first-seen")]
    cuts = [cut(ORDERS, 18), replace(cut(EVENTS, 20, 5), held_back=(HeldBack(4000, 12, 14),)), cut(OLD, 3, 1)]
    made.writer.commit(draft(packs=[first], open_=begun, cuts=cuts, name="first", documents=documents))
    second = made.pack(piece(ORDERS, 25, 2), piece(EVENTS, 20, 1))
    cuts = [cut(ORDERS, 31, 18), cut(EVENTS, 23, 20)]
    made.writer.commit(draft(packs=[second], gaps=[gap(ORDERS, 18, 25)], close=closed(OLD), cuts=cuts, name="zweite ✓"))
    third = made.pack(piece(ORDERS, 31, 3), piece(EVENTS, 23, 2))
    cuts = [cut(ORDERS, 40, 18), cut(EVENTS, 29, 20)]
    made.writer.commit(draft(packs=[third], cuts=cuts, name="third", documents=documents))
    early, later, last = (point.number for point in made.writer.points())
    made.decide(made.moved(third, [0]), Pin(last, "bis zur nächsten Prüfung", until="2027-01-01T00:00:00Z"))
    made.decide(Retag(last, (("kind", "release"),), ()), Retire((early,), (first.name,), "pruned by rules"))
    made.decide(Sweep((made.admin.state.head,)), RaiseEpoch(1))
    made.store.delete(first.name)
    fourth = made.pack(piece(ORDERS, 40, 2), piece(SECRET, 0, 2))
    cuts = [cut(ORDERS, 46, 25), cut(SECRET, 6)]
    made.writer.commit(draft(packs=[fourth], open_=opened(SECRET), cuts=cuts, name="of a new epoch"))
    made.decide(Lose(((fourth.name, 1),), "Platte 7 ist hin"), Retire((later,), (), "pruned by rules"))
    put_forged(made, Retire((last,), (), "by a thief"))


def put_forged(made: Maker, change: Change) -> None:
    """A commit that a writer may not sign, and one that nobody signed."""
    for key in (WRITER_KEY, None):
        state = made.admin.refresh()
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
            root=None if state.root is None else state.root.number,
        )
        if key is not None:
            value = key.sign(signed_text(made.admin.id, unsigned_text(commit)))
            commit = replace(commit, signature=Signature(key.id, value))
        made.store.put_new(log_name(commit.seq), encode_commit(commit, made.admin.seal))


def make_rooted(root: Path) -> None:
    """Two saved states and nothing trimmed; forged ones between and behind."""
    made = Maker(root, "format 1 rooted", encrypted=False)
    live_through(made)
    made.save_state()
    put_forged(made, SaveState("ab" * 32))
    made.decide(Distrust(GONE_KEY.public))
    made.writer.commit(draft(packs=[made.pack(piece(ORDERS, 46, 2))], cuts=[cut(ORDERS, 52, 25)], name="behind"))
    made.save_state()
    made.writer.refresh()
    made.writer.commit(draft(cuts=[cut(ORDERS, 52, 40), cut(SECRET, 6)], name="last"))
    put_forged(made, SaveState("cd" * 32))
    made.finish()


def make_trimmed(root: Path) -> None:
    """Encrypted, of over 8 192 commits; of those before the last milestone only milestones are left, and what a sleeper left
    in a slot that was empty by then."""
    made = Maker(root, "format 1 trimmed", encrypted=True)
    live_through(made)
    assert made.admin.keyring is not None and made.admin.about.encryption is not None
    made.decide(RotateKeys(), Shred((topic_of(SECRET),), "Löschung verlangt"))
    for key in made.admin.state.keys.shredded:
        made.store.delete(wrap_name(key, IDENTITY.recipient().id))
    other = RecipientEntry(OTHER.recipient().public, "der Prüfer")
    keys = made.admin.state.keys.topic_keys
    made.admin.keyring.wrap_for_recipient(made.admin.about.encryption.metadata_key, keys, other)
    made.decide(AddRecipient(other))
    append_small(made.admin, ADMIN_KEY, 2 * MILESTONE + 5 - made.admin.state.head)
    made.admin.refresh()
    made.writer.refresh()
    saved = made.save_state()
    made.writer.commit(draft(packs=[made.pack(piece(ORDERS, 46, 2))], cuts=[cut(ORDERS, 52, 25)], name="behind"))
    stray = made.store.get(log_name(77))
    for number in range(saved):
        if number % MILESTONE and next_milestone(number) <= saved:
            made.store.delete(log_name(number))
    made.store.put_new(log_name(77), stray)
    made.finish()


if __name__ == "__main__":
    make_rooted(Path(sys.argv[1]) / "format-1-rooted")
    make_trimmed(Path(sys.argv[1]) / "format-1-trimmed")
