"""What may lie in a store: envelopes, packs, footers, commits, documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, Final, TypeVar

from blake3 import blake3
from fastcrc import crc32
from tests.fuzz.engine import Target

from kafkeep.errors import KafkeepError
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import RunRef
from kafkeep.repository import (
    changes,
    documents,
    envelope,
    inventory_documents,
    layout,
    nouns,
    reader,
    service_documents,
    shapes,
    state,
    trust,
)
from kafkeep.repository import format as stored_format
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.envelope import HEADER, MAGIC, Kind, canonical, digest, parse_json, unwrap, wrap
from kafkeep.repository.folding import fold
from kafkeep.repository.format import Commit, Slot, decode_repository, encode_commit, encode_repository, read_slot
from kafkeep.repository.layout import HEADER_SIZE, TRAILER_SIZE, decode_footer, encode_footer, pack_root
from kafkeep.repository.names import pack_name
from kafkeep.repository.state import State
from kafkeep.repository.stores.memory import MemoryStore

T = TypeVar("T")

_GOLDEN: Final = Path(__file__).parent.parent / "golden" / "repositories"
_KINDS: Final = (*Kind, 0, 99)
_ULID: Final = "01m7w6c848yjf9ef3wbnsfgtkt"


def _sealed(kind: int, body: bytes) -> bytes:
    """A document around any body."""
    head = HEADER.pack(MAGIC, kind, 0, 0, len(body)) + body
    return head + blake3(head).digest()


def _stored(pattern: str) -> list[bytes]:
    """Of golden repositories; what is sealed is for other targets."""
    files = [path.read_bytes() for path in sorted(_GOLDEN.glob(f"*/repository/{pattern}")) if path.is_file()]
    return [data for data in files if data[6:7] != b"\1"]


def _loose(data: bytes) -> Any:
    """The JSON value, or None."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


# Documents in their envelopes: the first byte names the kind that is expected.


def run_envelope(data: bytes) -> None:
    if not data:
        return
    kind = Kind(_KINDS[data[0] % (len(_KINDS) - 2)])
    value = unwrap(memoryview(data)[1:], kind, "the document")
    if any(not -(2**63) <= number < 2**64 for number in _numbers(value)):
        return  # read, and refused by every field that is a number; never written
    again = wrap(kind, value)
    assert unwrap(again, kind, "the document") == value
    assert wrap(kind, parse_json(canonical(value), "the document")) == again


def _numbers(value: object) -> Iterator[int]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, int):
            yield item
        elif isinstance(item, (list, dict)):
            waiting.extend(item.values() if isinstance(item, dict) else item)


def mend_envelope(data: bytes, dice: Random) -> bytes:
    body = bytearray(data[1:])
    if len(body) < envelope.OVERHEAD:
        return data
    if dice.random() < 0.9:
        body[:4] = MAGIC
        body[6] = 0
        body[7:11] = (len(body) - envelope.OVERHEAD).to_bytes(4, "little")
        body[4] = int(_KINDS[data[0] % (len(_KINDS) - 2)])
    body[-32:] = blake3(body[:-32]).digest()
    return data[:1] + bytes(body)


def seeds_envelope() -> list[bytes]:
    kinds = [int(kind) for kind in _KINDS]
    found = [bytes([kinds.index(data[4])]) + data for data in _stored("log/*") + _stored("doc/*/*")]
    large = {"a": "x" * 40_000, "b": [0, -1, 2**63, None, True, {"ä": "\\ud800"}]}
    return [*found, bytes([kinds.index(Kind.AUDIT)]) + wrap(Kind.AUDIT, large)]


ENVELOPE: Final = Target(
    name="envelope",
    run=run_envelope,
    modules=(envelope,),
    seeds=seeds_envelope,
    mend=mend_envelope,
    tokens=(b"\\ud800", b"\\u0041", b"NaN", b"1.5", b"1e5", b"-0", b'"a":1,"a":2', b"[[[[", b"\x28\xb5\x2f\xfd", b" "),
)


# Whole packs.

_ID: Final = json.loads((_GOLDEN / "format-1-zstd" / "repository" / "kafkeep.json").read_bytes()[11:-32])["id"]
_ID_NONE: Final = json.loads((_GOLDEN / "format-1-none" / "repository" / "kafkeep.json").read_bytes()[11:-32])["id"]


def run_pack(data: bytes) -> None:
    """Read as the reader does, with a commit that names what the pack itself says."""
    root = data[-36:-4].hex() if len(data) >= TRAILER_SIZE else "0" * 64
    entry = PackEntry(pack_name(0, _ULID, root), max(len(data), 1), root, 0, 1, ())
    store = MemoryStore()
    store.put_new(entry.name, data)
    repository_id = data[8:24].hex() if len(data) >= HEADER_SIZE else _ID
    footer = reader.read_footer(store, entry, repository_id)
    assert data[footer.position :] == data[footer.position : footer.position + footer.length] + data[-TRAILER_SIZE:]
    assert layout.encode_header(repository_id, 0) == data[:HEADER_SIZE]
    packs = reader.PackReader(store, repository_id)
    for index, run in enumerate(footer.runs):
        reference = RunRef(run.facts, entry.name, index)
        packs.check_run_header(entry, reference)
        for chunk in packs.read(entry, reference, None, None):
            walk(chunk)


def mend_pack(data: bytes, dice: Random) -> bytes:
    """Checksums, the digests of chunks and the root, each left as it is now and then."""
    out = bytearray(data)
    if len(out) < HEADER_SIZE + TRAILER_SIZE:
        return data
    out[HEADER_SIZE - 4 : HEADER_SIZE] = crc32.iscsi(bytes(out[: HEADER_SIZE - 4])).to_bytes(4, "little")
    position = int.from_bytes(out[-48:-40], "little")
    if not HEADER_SIZE <= position < len(out) - TRAILER_SIZE:
        return bytes(out)
    value = _loose(bytes(out[position + HEADER.size : -TRAILER_SIZE - 32]))
    if value is not None and dice.random() < 0.8:
        _fit_chunks(value, out)
        footer = _sealed(Kind.FOOTER, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
    else:
        footer = bytes(out[position:-TRAILER_SIZE])
        footer = footer[:-32] + blake3(footer[:-32]).digest()
    root = pack_root(bytes(out[:HEADER_SIZE]), footer)
    return bytes(out[:position]) + footer + layout.encode_trailer(position, len(footer), root)


def _fit_chunks(value: Any, pack: bytearray) -> None:
    try:
        for run in value["runs"]:
            for chunk in run["chunks"]:
                chunk[9] = digest(bytes(pack[chunk[0] : chunk[0] + chunk[1]]))
            run["blake3"] = blake3(b"".join(bytes.fromhex(chunk[9]) for chunk in run["chunks"])).hexdigest()
    except (TypeError, KeyError, IndexError, ValueError):
        return


PACK: Final = Target(
    name="pack",
    run=run_pack,
    modules=(layout, reader, envelope),
    seeds=lambda: _stored("pack/*/*"),
    mend=mend_pack,
    tokens=(b"KKP1", b"KKR1", b"KKPE", b"KKD1", b"\x28\xb5\x2f\xfd"),
)


# Footers: a JSON text, put into an envelope.


def run_footer(data: bytes) -> None:
    position = _end_of_runs(_loose(data))
    footer = decode_footer(_sealed(Kind.FOOTER, data), position, "the footer")
    again = encode_footer(footer.runs)
    assert decode_footer(again, position, "the footer").runs == footer.runs
    assert encode_footer(decode_footer(again, position, "the footer").runs) == again


def _end_of_runs(value: Any) -> int:
    try:
        last = value["runs"][-1]["chunks"][-1]
        return int(last[0] + last[1])
    except (TypeError, KeyError, IndexError, ValueError, OverflowError):
        return HEADER_SIZE


def mend_footer(data: bytes, dice: Random) -> bytes:
    """Positions that follow one another, and the digests of runs."""
    value, place = _loose(data), HEADER_SIZE
    try:
        for index, run in enumerate(value["runs"]):
            run["position"] = place
            place += len(layout.encode_run_header(index, nouns.decode_generation(run["generation"]), run["from"]))
            for chunk in run["chunks"]:
                chunk[0] = place
                place += chunk[1]
            run["blake3"] = blake3(b"".join(bytes.fromhex(chunk[9]) for chunk in run["chunks"])).hexdigest()
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    except (TypeError, KeyError, IndexError, ValueError, AttributeError, RecursionError):
        return data


def seeds_footer() -> list[bytes]:
    found = []
    for data in _stored("pack/*/*"):
        position, length, _ = layout.decode_trailer(data[-TRAILER_SIZE:], len(data), "the pack")
        found.append(canonical(unwrap(data[position : position + length], Kind.FOOTER, "the footer")))
    return found


FOOTER: Final = Target(
    name="footer", run=run_footer, modules=(layout, nouns), seeds=seeds_footer, mend=mend_footer, json=True
)


# Commits: a JSON text, put into an envelope, read, written again, and folded behind a repository's commits.


@lru_cache
def _base() -> tuple[State, ...]:
    """A repository in which points were retired, swept and pinned, after some of its commits, and after all; and a signed
    one."""
    kept = _states("format-1-kept")
    return (*kept[1:9:3], kept[-1], _states("format-1-signed")[6])


def _states(golden: str) -> list[State]:
    states, prev = [State()], stored_format.NO_COMMIT
    for number, path in enumerate(sorted((_GOLDEN / golden / "repository" / "log").iterdir())):
        slot = read_slot(path.read_bytes(), number, prev, "the commit")
        prev = slot.digest
        states.append(fold(states[-1], [slot]))
    return states


def run_commit(data: bytes) -> None:
    value = _loose(data)
    outer = value if isinstance(value, dict) else {}
    seq, prev = outer.get("seq"), outer.get("prev")
    slot = read_slot(_sealed(Kind.COMMIT, data), seq, prev, "the commit")  # type: ignore[arg-type]
    if slot.commit is not None:
        again = encode_commit(slot.commit)
        second = read_slot(again, slot.seq, slot.commit.prev, "the commit")
        assert second.commit is not None
        assert _in_order(second.commit) == _in_order(slot.commit)
        assert encode_commit(second.commit) == again
    for base in _base():
        _check_fold(base, slot)


def _in_order(commit: Commit) -> Commit:
    """Cuts are written by topic and partition, whatever order they were read in."""
    point = commit.point
    return commit if point is None else replace(commit, point=replace(point, cuts=tuple(sorted(point.cuts, key=repr))))


def _check_fold(base: State, slot: Slot) -> None:
    """A commit that can be read moves the log on, whatever it says; with an alarm it changes nothing else."""
    commit = None if slot.commit is None else replace(slot.commit, seq=base.head + 1)
    after = fold(base, [replace(slot, seq=base.head + 1, commit=commit)])
    assert after.head == base.head + 1
    if base.trusted and after.trusted != base.trusted:
        assert any(key.role == trust.ADMIN for key in after.trusted)
    if len(after.alarms) > len(base.alarms):
        assert replace(after, head=base.head, head_digest=base.head_digest, alarms=base.alarms) == base
    for known in after.generations.values():
        covered = sorted([*(run.coverage for run in known.runs), *(gap.offsets for gap in known.gaps)], key=repr)
        assert sum(part.stop - part.start for part in covered) == known.next_offset - known.start


def seeds_commit() -> list[bytes]:
    return [canonical(unwrap(data, Kind.COMMIT, "the commit")) for data in _stored("log/*")]


COMMIT: Final = Target(
    name="commit", run=run_commit, modules=(stored_format, changes, nouns, state, trust), seeds=seeds_commit, json=True
)


# The repository document, and the documents beside the commits.


def run_repository(data: bytes) -> None:
    found = decode_repository(_sealed(Kind.REPOSITORY, data), "the repository document")
    again = encode_repository(found)
    assert decode_repository(again, "the repository document") == found
    for operation in stored_format.OPERATIONS:
        try:
            found.require(operation, "the repository")
        except KafkeepError:
            continue


def seeds_repository() -> list[bytes]:
    return [canonical(unwrap(data, Kind.REPOSITORY, "it")) for data in _stored("kafkeep.json")]


REPOSITORY: Final = Target(
    name="repository", run=run_repository, modules=(stored_format, nouns), seeds=seeds_repository, json=True
)


def run_documents(data: bytes) -> None:
    value = parse_json(data, "the document")
    if isinstance(value, dict) and "rows" in value:
        offsets = documents.offset_map_from_json(value)
        for committed in (0, 1, 2**40):
            offsets.translate(committed)
            offsets.target_of(committed)
        again: object = documents.offset_map_to_json(offsets)
        assert documents.offset_map_from_json(parse_json(canonical(again), "the document")) == offsets
    else:
        metadata = documents.cluster_metadata_from_json(value)
        again = documents.cluster_metadata_to_json(metadata)
        assert documents.cluster_metadata_from_json(parse_json(canonical(again), "the document")) == metadata


def seeds_documents() -> list[bytes]:
    group = {"group_id": "g", "type": "classic", "state": "Empty", "protocol_type": "consumer"}
    topic = {"name": "t", "topic_id": "A" * 22, "internal": False, "partitions": [[1, 2], []], "configs": [["a", None]]}
    metadata = {"cluster_id": "c", "topics": [topic], "groups": [group | {"offsets": [["t", 0, 5, -1, ""]]}]}
    offsets = {"rows": [[0, 5, 3], [7, 8, 1]], "end": 20}
    return [
        canonical(metadata),
        canonical(offsets),
        *_documents_of(Kind.METADATA),
    ]


def _documents_of(kind: Kind) -> list[bytes]:
    """The bodies of the golden documents of a kind."""
    return [canonical(unwrap(data, kind, "")) for data in _stored("doc/*/*") if data[len(MAGIC)] == kind]


DOCUMENTS: Final = Target(name="documents", run=run_documents, modules=(documents,), seeds=seeds_documents, json=True)


# What points hold of a cluster's settings, and of the servers beside it.


def _there_and_back(
    name: str, kind: Kind, module: ModuleType, read: Callable[[object], T], write: Callable[[T], Any]
) -> Target:
    def run(data: bytes) -> None:
        found = read(parse_json(data, "the document"))
        assert read(parse_json(canonical(write(found)), "the document")) == found

    return Target(name=name, run=run, modules=(module, shapes), seeds=lambda: _documents_of(kind), json=True)


INVENTORY: Final = _there_and_back(
    "inventory",
    Kind.INVENTORY,
    inventory_documents,
    inventory_documents.inventory_from_json,
    inventory_documents.inventory_to_json,
)
STANDING: Final = _there_and_back(
    "standing",
    Kind.STANDING,
    inventory_documents,
    inventory_documents.standing_from_json,
    inventory_documents.standing_to_json,
)
SCHEMAS: Final = _there_and_back(
    "schemas",
    Kind.SCHEMAS,
    service_documents,
    service_documents.schemas_from_json,
    service_documents.schemas_to_json,
)
CONNECTORS: Final = _there_and_back(
    "connectors",
    Kind.CONNECTORS,
    service_documents,
    service_documents.connectors_from_json,
    service_documents.connectors_to_json,
)

TARGETS: Final = (
    ENVELOPE,
    PACK,
    FOOTER,
    COMMIT,
    REPOSITORY,
    DOCUMENTS,
    INVENTORY,
    STANDING,
    SCHEMAS,
    CONNECTORS,
)
