"""Encrypted repositories that live: two writers, rotations, recipients that come and go, shreddings, and all else."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.facts import run_ref
from tests.support.keeping import Content, Life
from tests.support.operations import as_cluster, contents, new_repository, now, records_of, without_pauses
from tests.support.readers import reader_of, same_state
from tests.support.repositories import CLUSTER, TIME, open_repository
from tests.support.sealed import KINDS, encrypted, new_encryption
from tests.support.second_reader import Broken
from tests.support.second_reader import documents as second_reader_documents
from tests.support.second_reader.sealed import Keys
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import backup
from kafkeep.compare.options import CompareOptions
from kafkeep.compare.run import compare
from kafkeep.keys.recipients import add_recipient, prepare_removal, remove, rotate
from kafkeep.keys.shredding import prepare_shred, shred
from kafkeep.model import Generation, GenerationOpened, PartitionCut
from kafkeep.repository.folding import fold
from kafkeep.repository.format import Commit, CommittedPack, Encryption, RepositoryDocument, Slot
from kafkeep.repository.identities import Identity, Recipient
from kafkeep.repository.names import pack_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import EMPTY
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.topic_keys import (
    AddRecipient,
    KeyChange,
    RecipientEntry,
    RemoveRecipient,
    RotateKeys,
    Shred,
    TopicKey,
    encode_key_change,
    encode_topic_key,
)
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare, restore
from kafkeep.verify.run import verify

OTHERS = tuple(Identity(bytes([number]) * 32) for number in range(40, 43))


@pytest.fixture(autouse=True)
def for_the_test_identity() -> Iterator[None]:
    with encrypted(), without_pauses():
        yield


@dataclass
class SealedLife(Life):
    """What was shredded is gaps from then on, in every point, also in those that were taken back."""

    cuts: dict[int, tuple[PartitionCut, ...]] = field(default_factory=dict)
    shreddings: int = 0

    def somebody(self) -> Repository:
        """This writer, or another one."""
        return self.repository if self.dice.random() < 0.5 else self.journal.open()

    def backup(self) -> None:
        super().backup()
        self.cuts |= {point.number: point.cuts for point in self.repository.points() if point.number not in self.cuts}

    def rotate(self) -> None:
        rotate(self.somebody(), now=self.journal.clock)

    def add(self) -> None:
        repository = self.somebody()
        known = {entry.public for entry in repository.refresh().keys.recipients}
        for identity in OTHERS:
            if identity.recipient().public not in known:
                add_recipient(repository, identity.recipient("other"), now=self.journal.clock)
                return

    def remove(self) -> None:
        repository = self.somebody()
        known = [entry for entry in repository.refresh().keys.recipients if entry.name == "other"]
        if known:
            plan = prepare_removal(repository, Recipient(self.dice.choice(known).public).id)
            remove(repository, plan, now=self.journal.clock)

    def shred(self) -> None:
        repository = self.somebody()
        if not repository.refresh().keys.topic_keys:
            return
        plan = prepare_shred(repository, ["orders"], reason="a demand", confirmed=True)
        shred(repository, plan, now=self.journal.clock)
        self.repository.refresh()
        self.shreddings += 1
        self.written = {of: [(at, None) for at, _ in pieces] for of, pieces in self.written.items()}
        self.held = {number: self._held(self.cuts[number]) for number in self.held}

    def _held(self, cuts: tuple[PartitionCut, ...]) -> Content:
        return {cut.generation.topic_partition: self._content(cut) for cut in cuts}

    def step(self) -> None:
        more = [self.rotate, self.add, self.remove, self.shred]
        if self.dice.random() < 0.3:
            self.dice.choices(more, [4, 4, 3, 1])[0]()
        else:
            super().step()


@pytest.mark.fault("G7", histories=1)
@pytest.mark.parametrize("seed", range(16))
def test_points_hold_what_they_held_whatever_happens_to_keys(seed: int) -> None:
    life = SealedLife(random.Random(f"sealed {seed}"))
    for _ in range(40):
        life.step()
        life.check()
    again = open_repository(life.store)
    assert again.state == life.repository.refresh()
    report = verify(again, level="data")
    assert (report.findings, report.alarms) == ((), ())
    assert same_state(reader_of(life.store), again)
    used = {run.key for entry in again.state.packs for run in entry.runs}
    assert None not in used and used <= set(again.state.keys.topic_keys)
    assert not used & again.state.keys.shredded


def test_what_is_walked_through_is_worth_walking_through() -> None:
    """The histories above hold what they are for."""
    seen = {"shreddings": 0, "rotations": 0, "keys": 0, "recipients": 0, "swept": 0, "moved": 0, "lost": 0}
    for seed in range(16):
        life = SealedLife(random.Random(f"sealed {seed}"))
        for _ in range(40):
            life.step()
        state = life.repository.refresh()
        seen["shreddings"] += life.shreddings
        seen["rotations"] += state.keys.rotated_at > 0
        seen["keys"] += len(state.keys.topic_keys) > 1
        seen["recipients"] += len(state.keys.recipients) > 1
        seen["swept"] += len(state.swept)
        seen["moved"] += sum(len(entry.moved) for entry in state.packs)
        seen["lost"] += any(gap.reason == "shredded" for known in state.generations.values() for gap in known.gaps)
    assert min(seen.values()) > 0, seen


# --- what commits say, against a replay ------------------------------------------------------------------------------------

TOPICS = (("orders", "A" * 22), ("payments", "B" * 22))
IDS = tuple(f"{number:032x}" for number in range(4))
PUBLICS = tuple(identity.recipient().public for identity in OTHERS)
DOCUMENT = RepositoryDocument(
    id="0" * 32,
    created=TIME,
    compression="none",
    encryption=Encryption(metadata_key="0" * 32, recipients=(RecipientEntry(PUBLICS[0], "first"),), check="0" * 64),
)
HEAD: dict[str, Any] = {
    "prev": "0" * 64,
    "writer": "0" * 32,
    "epoch": 0,
    "started": TIME,
    "finished": TIME,
    "tool": "t",
}


def replayed() -> Keys:
    """The second reader's idea of keys, without a repository."""
    keys = Keys.__new__(Keys)
    keys.base = second_reader_documents
    keys.recipients = (
        {entry.public: entry.name for entry in DOCUMENT.encryption.recipients} if DOCUMENT.encryption else {}
    )
    keys.topic_keys, keys.current, keys.shredded = {}, {}, set()
    base = second_reader_documents
    keys.keys_shape = [(base.pattern("[0-9a-f]{32}"), base.TOPIC, base.TOPIC_ID, base.HEX64)]
    return keys


topics = st.sampled_from([*TOPICS, ("unknown", "A" * 22)])
changes = st.one_of(
    st.just(RotateKeys()),
    st.builds(AddRecipient, st.builds(RecipientEntry, st.sampled_from(PUBLICS), st.just("name"))),
    st.builds(RemoveRecipient, st.sampled_from(PUBLICS)),
    st.builds(Shred, st.lists(topics, max_size=2).map(tuple), st.just("why")),
)
brought = st.lists(
    st.builds(TopicKey, st.sampled_from(IDS), st.sampled_from(TOPICS), st.sampled_from(PUBLICS)), max_size=2
)
additions = st.tuples(brought, st.lists(st.tuples(st.sampled_from(TOPICS), st.sampled_from([None, *IDS])), max_size=2))


@examples(400)
@given(st.lists(st.one_of(changes, additions), max_size=14))
def test_the_fold_of_keys_against_a_replay(history: list[Any]) -> None:
    replay, alarms = replayed(), []
    slots = [Slot(0, "0" * 64, Commit(seq=0, kind="init", repository=DOCUMENT, **HEAD))]
    reached = dict.fromkeys(TOPICS, 0)
    for seq, step in enumerate(history, 1):
        try:
            if isinstance(step, tuple):
                commit, runs = _addition(seq, step, reached)
                replay.check_commit([_as_json(encode_topic_key(key)) for key in commit.topic_keys], runs)
                replay.bring([_as_json(encode_topic_key(key)) for key in commit.topic_keys])
                for topic, _ in step[1]:
                    reached[topic] += 1
            else:
                commit = Commit(seq=seq, kind="rotate", change=step, **HEAD)
                kind, body = _kind(step), _as_json(encode_key_change(step))
                replay.check_decision(kind, body)
                replay.decide(kind, body)
        except Broken:
            alarms.append(seq)
        slots.append(Slot(seq, f"{seq:064x}", commit))
    state = fold(EMPTY, slots)
    assert [alarm.number for alarm in state.alarms] == alarms
    assert {key.id: key.topic for key in state.keys.topic_keys.values()} == replay.topic_keys
    assert (dict(state.keys.current), state.keys.shredded) == (replay.current, replay.shredded)
    assert {entry.public: entry.name for entry in state.keys.recipients} == replay.recipients
    for known in state.generations.values():
        assert all(run.key in state.keys.topic_keys for run in known.runs)


def _addition(seq: int, step: Any, reached: dict[tuple[str, str], int]) -> tuple[Commit, list[dict[str, Any]]]:
    keys, wanted = step
    name = pack_name(0, f"01m7w6c848yjf9ef3wbnsf{seq:04d}", "ab" * 32)
    at = dict(reached)
    runs, opened = [], []
    for index, (topic, key) in enumerate(wanted):
        of = Generation(*topic, 0, 0)
        if at[topic] == 0:
            opened.append(GenerationOpened(of, 0, "first-seen"))
        runs.append(replace(run_ref(of, at[topic], at[topic] + 1, pack=name, index=index), key=key))
        at[topic] += 1
    packs = (CommittedPack(name, 9, "ab" * 32, 0, tuple(runs)),) if runs else ()
    commit = Commit(
        seq=seq, kind="add", cluster_id=CLUSTER, packs=packs, opened=tuple(opened), topic_keys=tuple(keys), **HEAD
    )
    told = [{"generation": [*topic, 0, 0]} | ({} if key is None else {"key": key}) for topic, key in wanted]
    return commit, told


def _kind(change: KeyChange) -> str:
    kinds = {RotateKeys: "rotate", AddRecipient: "recipient-add", RemoveRecipient: "recipient-remove", Shred: "shred"}
    return kinds[type(change)]


def _as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


# --- operations ------------------------------------------------------------------------------------------------------


def test_backup_restore_and_compare_are_the_same_as_without_encryption() -> None:
    """Records, positions of groups, maps and counts; only bytes in the store differ."""
    told = []
    for kind in KINDS:
        with encrypted(kind == "encrypted"):
            source, target = SimulatedCluster("source"), SimulatedCluster("target")
            source.add_topic("orders", 2)
            source.add_topic("idle", 1)
            store = MemoryStore()
            new_repository(store, encryption=new_encryption())
            repository = open_repository(store)
            for number in range(6):
                for partition, log in enumerate(source.topics["orders"].logs):
                    items = [
                        record(b"%d %d %d" % (number, partition, n), key=b"k", headers=[(b"h", None)]) for n in range(4)
                    ]
                    log.append(items, codec=number % 5)
                if number % 2:
                    result = backup(as_cluster(source), repository, BackupOptions(), now=now)
                    assert result.failures == ()
            point = repository.point("latest")
            plan = prepare(as_cluster(target), repository, point, RestoreOptions(), now=now)
            done = restore(as_cluster(target), repository, plan, RestoreOptions(), now=now)
            report = compare(as_cluster(target), repository, point, CompareOptions())
            assert report.identical and report.records == 48
            restored = {
                name: [contents(records_of(log)) for log in topic.logs] for name, topic in target.topics.items()
            }
            maps = [part.offset_map for part in done.partitions]
            told.append((done.records, restored, maps, [cut.stop for cut in point.cuts]))
    assert told[0] == told[1]
    assert told[0][0] == 48
