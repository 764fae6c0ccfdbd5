"""How the golden repositories of format 1 were made: `python -m tests.golden.make_repositories FOLDER`.

The committed ones are never made again: they are what released versions have written. A new format gets new ones.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from blake3 import blake3
from tests.support.batches import old_message
from tests.support.repositories import (
    CLUSTER,
    CODEC_LZ4,
    TIME,
    Clock,
    Piece,
    batch,
    closed,
    cut,
    draft,
    gap,
    generation,
    noise,
    opened,
    piece,
    write_pack,
)

from kafkeep.compaction.plan import CompactOptions
from kafkeep.compaction.run import compact, prepare
from kafkeep.connectors import Connector, ConnectorOffset, Connectors, ConnectorSetting, ConnectorTask
from kafkeep.inventory import (
    Acl,
    BrokerNode,
    Feature,
    Inventory,
    MetadataCut,
    Quota,
    QuotaEntity,
    ScramCredential,
    ScramUser,
    Standing,
)
from kafkeep.model import AbortedTransaction, ClusterMetadata, GenerationOpened, HeldBack
from kafkeep.point_documents import Beside, put_point_documents
from kafkeep.repository.changes import (
    Change,
    Compact,
    CompactedPack,
    Lose,
    MovedRun,
    Pin,
    RaiseEpoch,
    Retag,
    Retire,
    Sweep,
    Unpin,
    Unretire,
)
from kafkeep.repository.moving import PackMover, stored_chunks
from kafkeep.repository.reader import read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.schemas import SchemaReference, Schemas, SchemaVersion, SubjectRules
from kafkeep.secret import Secret

ORDERS = generation("orders", topic_id="b3JkZXJzLW9yZGVycy1vcg")
AGAIN = generation("orders", topic_id="YWdhaW4tYWdhaW4tYWdhaQ")
EVENTS = generation("events.v1", 2, topic_id="ZXZlbnRzLWV2ZW50cy1ldg")
OLD = generation("old_topic")
COMPRESSED = Piece(
    EVENTS,
    5,
    20,
    (
        noise(5, 200, seed=1),
        batch(6, 4, attributes=CODEC_LZ4, size=300, leader_epoch=2),
        batch(12, 2, attributes=0x10, leader_epoch=2, record_count=1),
        batch(14, 1, attributes=0x30, size=20, leader_epoch=3),
        batch(16, 2, attributes=0x08, base_timestamp=-1, max_timestamp=253402300799999, leader_epoch=3),
    ),
    (AbortedTransaction(4000, 12),),
)
MESSAGES = Piece(OLD, 0, 3, (old_message(0, b"k", b"v", magic=0), old_message(1, None, b"", timestamp=7), batch(2, 1)))


def make(root: Path, compression: str) -> None:
    """A repository with every kind of object and of commit of format 1, and `expected.json` beside it."""
    store = LocalStore(root / "repository")
    clock = Clock()
    repository = Repository.init(
        store, now=clock, rng=random.Random(f"format 1 {compression}"), compression=compression, chunk_bytes=400
    )
    metadata = {"cluster_id": CLUSTER, "groups": [], "topics": []}
    reference = repository.put_document("metadata", metadata)
    first = write_pack(repository, [piece(ORDERS, 0, 6, size=150), COMPRESSED, MESSAGES])
    repository.commit(
        draft(
            packs=[first],
            open_=[*opened(ORDERS, OLD), GenerationOpened(EVENTS, 5, "first-seen")],
            cuts=[cut(ORDERS, 18), cut(EVENTS, 20, 5), cut(OLD, 3, 1)],
            name="first",
            documents=[("metadata", reference)],
        )
    )
    repository.commit(
        draft(packs=[write_pack(repository, [piece(ORDERS, 25, 2)])], gaps=[gap(ORDERS, 18, 25)], close=closed(OLD))
    )
    lost = write_pack(repository, [piece(ORDERS, 0, 1, seed=9), piece(AGAIN, 0, 3), Piece(EVENTS, 20, 24, ())])
    repository.commit(
        draft(
            packs=[lost],
            open_=opened(AGAIN),
            close=closed(ORDERS),
            cuts=[cut(AGAIN, 8), cut(EVENTS, 24, 6)],
            name="zweite Sicherung ✓",
            documents=[("metadata", reference)],
        )
    )
    repository.put_audit("verify", {"at": TIME, "findings": []})
    (root / "expected.json").write_text(json.dumps(described(repository), indent=1, ensure_ascii=False) + "\n")
    repository.close()
    (root / "repository" / "tmp").rmdir()


def make_holding(root: Path) -> None:
    """A repository with points that hold back transactions."""
    store = LocalStore(root / "repository")
    repository = Repository.init(store, now=Clock(), rng=random.Random("format 1 held back"), compression="none")
    data = (batch(0, 2, attributes=0x10), batch(2, 1, attributes=0x10, size=40), batch(3, 1, attributes=0x30, size=20))
    runs = [Piece(generation("orders", index), 0, 6, (*data, batch(4, 2, attributes=0x10))) for index in (0, 1)]
    cuts = [cut(each.generation, 6) for each in runs]
    both = (HeldBack(4000, 2, 4), HeldBack(4000, 4, 6), HeldBack(4001, 0, 6))
    made = draft(
        packs=[write_pack(repository, runs)],
        open_=opened(*(each.generation for each in runs)),
        cuts=[replace(cuts[0], held_back=both), replace(cuts[1], held_back=(HeldBack(4000, 4, 6),))],
    )
    assert made.point is not None
    repository.commit(replace(made, point=replace(made.point, consistency="transaction")))
    repository.commit(draft(cuts=cuts, name="plain"))
    repository.put_audit("verify", {"at": TIME, "findings": []})
    (root / "expected.json").write_text(json.dumps(described(repository), indent=1, ensure_ascii=False) + "\n")
    repository.close()
    (root / "repository" / "tmp").rmdir()


def make_kept(root: Path) -> None:
    """A repository with points that were retired, taken back, swept, pinned and tagged, and a pack of a later epoch."""
    store = LocalStore(root / "repository")
    repository = Repository.init(store, now=Clock(), rng=random.Random("format 1 kept"), compression="none")
    names = []
    for start in (0, 9, 18, 27):
        pack = write_pack(repository, [piece(ORDERS, start, 3)])
        names.append(pack.name)
        of = opened(ORDERS) if start == 0 else ()
        repository.commit(draft(packs=[pack], open_=of, cuts=[cut(ORDERS, start + 9, start)], name=f"from {start}"))
    changes: tuple[Change, ...] = (
        Pin(1, "bis zur nächsten Prüfung", until="2027-01-01T00:00:00Z"),
        Pin(4, "before the upgrade", until_tag="upgrade=done"),
        Retag(4, (("kind", "release"),), ()),
        Retire((2,), (names[1],), "pruned by rules"),
        Unpin(1),
        Retire((1,), (names[0],), "pruned by rules"),
        Unretire((10,)),
        Sweep((8,)),
        RaiseEpoch(1),
    )
    for change in changes:
        repository.decide(change, started=TIME)
    repository.commit(draft(packs=[write_pack(repository, [piece(ORDERS, 36, 1)])], cuts=[cut(ORDERS, 39, 18)]))
    for name in repository.state.swept:
        store.delete(name)
    repository.put_audit("verify", {"at": TIME, "findings": []})
    (root / "expected.json").write_text(json.dumps(described(repository), indent=1, ensure_ascii=False) + "\n")
    repository.close()
    (root / "repository" / "tmp").rmdir()


def make_mended(root: Path) -> None:
    """A repository of which one run lies in another pack since it was mended, and two are declared lost."""
    store = LocalStore(root / "repository")
    repository = Repository.init(store, now=Clock(), rng=random.Random("format 1 mended"), compression="none")
    first = write_pack(repository, [piece(ORDERS, 0, 3), piece(OLD, 0, 2), piece(EVENTS, 0, 1)])
    point = [cut(ORDERS, 9), cut(OLD, 6, 2), cut(EVENTS, 3)]
    repository.commit(draft(packs=[first], open_=opened(ORDERS, OLD, EVENTS), cuts=point, name="before"))
    second = write_pack(repository, [piece(ORDERS, 9, 2)])
    repository.commit(draft(packs=[second], cuts=[cut(ORDERS, 15), cut(OLD, 6)]))
    entry = repository.state.packs.get(first.name)
    assert entry is not None
    index = read_footer(store, entry, repository.id).runs[0]
    with PackMover(store.open_new(), repository.about, epoch=0, now=Clock(), rng=random.Random("mended")) as mover:
        mover.add(index, stored_chunks(store, first.name, index))
        pack = mover.finish()
    moved = CompactedPack(pack.name, pack.size, pack.blake3, pack.epoch, (MovedRun(0, first.name, 0),))
    for change in (Compact((moved,)), Lose(((first.name, 1), (second.name, 0)), "Platte 7 ist hin")):
        repository.decide(change, started=TIME)
    third = write_pack(repository, [piece(ORDERS, 15, 1), piece(OLD, 6, 1)])
    repository.commit(draft(packs=[third], cuts=[cut(ORDERS, 18, 9), cut(OLD, 9)], name="behind"))
    store.delete(second.name)
    repository.put_audit("verify", {"at": TIME, "findings": []})
    (root / "expected.json").write_text(json.dumps(described(repository), indent=1, ensure_ascii=False) + "\n")
    repository.close()
    (root / "repository" / "tmp").rmdir()


def make_compacted(root: Path) -> None:
    """A repository with runs that were moved: all runs of some packs, once and twice, one of another; one pack swept."""
    store = LocalStore(root / "repository")
    clock = Clock()
    repository = Repository.init(store, now=clock, rng=random.Random("format 1 compacted"), compression="none")
    dice = random.Random("moves")

    def gather(target: int) -> None:
        plan = prepare(repository, CompactOptions(target_bytes=target))
        assert compact(repository, plan, now=clock, rng=dice).commits

    for start in range(0, 45, 9):
        pack = write_pack(repository, [piece(ORDERS, start, 3), piece(EVENTS, start // 3, 1)])
        of = opened(ORDERS, EVENTS) if start == 0 else ()
        cuts = [cut(ORDERS, start + 9), cut(EVENTS, start // 3 + 3)]
        repository.commit(draft(packs=[pack], open_=of, cuts=cuts, name=f"from {start}"))
        if start == 9:
            gather(16 * 1024)
    old = next(iter(repository.state.packs))
    repository.decide(Retire((), (old.name,), "its runs lie in other packs"), started=TIME)
    repository.decide(Sweep((repository.state.head,)), started=TIME)
    store.delete(old.name)
    gather(1024 * 1024)
    last = write_pack(repository, [piece(ORDERS, 45, 3), piece(EVENTS, 15, 1)])
    repository.commit(draft(packs=[last], cuts=[cut(ORDERS, 54), cut(EVENTS, 18)], name="last"))
    entry = list(repository.state.packs)[-1]
    index = read_footer(store, entry, repository.id).runs[1]
    with PackMover(store.open_new(), repository.about, epoch=0, now=clock, rng=dice) as mover:
        mover.add(index, stored_chunks(store, entry.name, index))
        made = mover.finish()
    moved = CompactedPack(made.name, made.size, made.blake3, made.epoch, (MovedRun(0, entry.name, 1),))
    repository.decide(Compact((moved,)), started=TIME)
    repository.put_audit("verify", {"at": TIME, "findings": []})
    (root / "expected.json").write_text(json.dumps(described(repository), indent=1, ensure_ascii=False) + "\n")
    repository.close()
    (root / "repository" / "tmp").rmdir()


SCHEMAS = Schemas(
    versions=(
        SchemaVersion(
            subject="orders-value",
            version=1,
            id=100001,
            type="AVRO",
            schema='{"type":"record","name":"Order","fields":[{"name":"by","type":"Person"}]}',
            references=(SchemaReference("Person", "person", 2),),
            contract='{"metadata": {"properties": {"owner": "sales"}}}',
        ),
        SchemaVersion(subject="person", version=2, id=7, type="PROTOBUF", schema='syntax = "proto3";\n', deleted=True),
    ),
    rules=(
        SubjectRules(subject="", compatibility="BACKWARD", mode="READWRITE"),
        SubjectRules(subject="person", mode="READONLY", more='{"normalize": true}'),
    ),
    unreadable=("schema Größe version 3",),
)
CONNECTORS = Connectors(
    version="4.3.1",
    connectors=(
        Connector(
            name="files/in",
            type="source",
            state="PAUSED",
            config=(
                ConnectorSetting("connector.class", "FileStreamSource"),
                ConnectorSetting("kept.password", None, Secret("geheim")),
                ConnectorSetting("lost.password", None),
            ),
            tasks=(ConnectorTask(0, "PAUSED"),),
            offsets=(ConnectorOffset('{"filename":"/in"}', '{"position":14}'),),
        ),
    ),
    unreadable=("offsets of connector out",),
)


def make_with_services(root: Path) -> None:
    """A repository with a point that holds what the servers beside its cluster hold."""
    store = LocalStore(root / "repository")
    repository = Repository.init(store, now=Clock(), rng=random.Random("format 1 services"), compression="none")
    documents = put_point_documents(repository, ClusterMetadata(CLUSTER, (), ()), None, Beside(SCHEMAS, CONNECTORS))
    repository.commit(draft(cuts=[], name="services", documents=list(documents)))
    repository.put_audit("verify", {"at": TIME, "findings": []})
    (root / "expected.json").write_text(json.dumps(described(repository), indent=1, ensure_ascii=False) + "\n")
    repository.close()
    (root / "repository" / "tmp").rmdir()


_KEYS = ScramCredential(Secret("c2FsdA=="), Secret("c3RvcmVk"), Secret("c2VydmVy"))
PERMISSIONS = Inventory(
    acls=(Acl("TOPIC", "orders", "LITERAL", "User:anna", "*", "READ", "ALLOW"),),
    quotas=(Quota(QuotaEntity((("user", None),)), (("request_percentage", 12.5),)),),
    scram_users=(
        ScramUser("anna", "SCRAM-SHA-256", 4096),
        ScramUser("anna", "SCRAM-SHA-512", 8192, _KEYS),
    ),
    features=(Feature("metadata.version", 30),),
)
STANDING = Standing(brokers=(BrokerNode(1, "k", 9092, None, ()),), metadata_cut=MetadataCut(4711, 12))


def make_with_credentials(root: Path) -> None:
    """A repository with two points of settings and permissions: out of the controllers' log with credentials, and as
    brokers tell them."""
    store = LocalStore(root / "repository")
    repository = Repository.init(store, now=Clock(), rng=random.Random("format 1 credentials"), compression="none")
    shown = replace(PERMISSIONS, scram_users=tuple(replace(user, credential=None) for user in PERMISSIONS.scram_users))
    for name, settings in (
        ("controllers", (PERMISSIONS, STANDING)),
        ("brokers", (shown, replace(STANDING, metadata_cut=None))),
    ):
        documents = put_point_documents(repository, ClusterMetadata(CLUSTER, (), ()), settings)
        repository.commit(draft(cuts=[], name=name, documents=list(documents)))
    repository.put_audit("verify", {"at": TIME, "findings": []})
    (root / "expected.json").write_text(json.dumps(described(repository), indent=1, ensure_ascii=False) + "\n")
    repository.close()
    (root / "repository" / "tmp").rmdir()


def described(repository: Repository) -> dict[str, object]:
    """What a reader must find."""
    return {
        "id": repository.id,
        "head": repository.state.head,
        "head_digest": repository.state.head_digest,
        "points": [
            {
                "number": point.number,
                "name": point.name,
                "finished": point.finished,
                "partitions": [
                    {
                        "generation": [of.topic, of.topic_id, of.partition, of.lineage],
                        "range": [part.cut.start, part.cut.stop],
                        "runs": [
                            [
                                run.coverage.start,
                                run.coverage.stop,
                                blake3(b"".join(repository.read_run(run))).hexdigest(),
                            ]
                            for run in part.runs
                        ],
                        "gaps": [[one.offsets.start, one.offsets.stop, one.reason] for one in part.gaps],
                    }
                    | ({"held_back": part.cut.held_back} if part.cut.held_back else {})
                    for part in repository.view(point).partitions
                    for of in [part.generation]
                ],
            }
            for point in repository.points()
        ],
    } | ({"alarms": [alarm.number for alarm in repository.state.alarms]} if repository.state.alarms else {})


if __name__ == "__main__":
    for kind in ("none", "zstd"):
        make(Path(sys.argv[1]) / f"format-1-{kind}", kind)
    make_holding(Path(sys.argv[1]) / "format-1-held-back")
    make_kept(Path(sys.argv[1]) / "format-1-kept")
    make_compacted(Path(sys.argv[1]) / "format-1-compacted")
    make_with_services(Path(sys.argv[1]) / "format-1-services")
    make_with_credentials(Path(sys.argv[1]) / "format-1-credentials")
    make_mended(Path(sys.argv[1]) / "format-1-mended")
