"""The repository document and the commits: what they hold, how they are written. Pure; docs/format.md is the norm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from kafkeep.errors import CorruptChain, CorruptionError, CorruptObject, KeyRefused, UnknownFormat
from kafkeep.model import (
    Failure,
    Gap,
    GenerationClosed,
    GenerationOpened,
    PartitionCut,
    RunRef,
)
from kafkeep.records import dataclass
from kafkeep.repository import nouns
from kafkeep.repository.changes import CHANGE_KINDS, Change, decode_change, encode_change
from kafkeep.repository.envelope import (
    Kind,
    canonical,
    digest,
    parse_canonical,
    parse_json,
    unwrap,
    unwrap_text,
    wrap,
)
from kafkeep.repository.names import parse_pack_name
from kafkeep.repository.nouns import Malformed, fields, hexadecimal, integer, items, text, text_pairs
from kafkeep.repository.run_columns import decode_cuts, run_refs
from kafkeep.repository.topic_keys import (
    RecipientEntry,
    TopicKey,
    decode_recipient,
    decode_topic_key,
    encode_recipient,
    encode_topic_key,
)
from kafkeep.repository.trust import (
    ADMIN,
    Signature,
    TrustedKey,
    decode_signature,
    decode_trusted,
    encode_signature,
    encode_trusted,
    unsigned_of,
)

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

FORMAT: Final = 1
OPERATIONS: Final = ("append", "prune", "read", "verify")
ENCRYPTION: Final = "encryption"
CIPHER: Final = "aes-256-gcm"
SINGLE_WRITER: Final = "single-writer"
SIGNATURES: Final = "signatures"
MANY: Final = "many"
SINGLE: Final = "single"
KNOWN_FEATURES: Final = frozenset({ENCRYPTION, SIGNATURES, SINGLE_WRITER})
PLAIN: Final[tuple[tuple[str, tuple[str, ...]], ...]] = tuple((operation, ()) for operation in OPERATIONS)
"""What a program must know to use a repository that is not encrypted: nothing more than the format."""
ENCRYPTED: Final[tuple[tuple[str, tuple[str, ...]], ...]] = tuple(
    (operation, (ENCRYPTION,)) for operation in OPERATIONS
)
COMPRESSIONS: Final = ("none", "zstd")
NO_COMMIT: Final = "0" * 64
"""`prev` of commit 0."""

CHUNK_BYTES: Final = 1024 * 1024
PACK_BYTES: Final = 256 * 1024 * 1024

KNOWN_KINDS: Final = ("init", "add", "recovery-point", *CHANGE_KINDS)
RESERVED_KINDS: Final = ("rewrite", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """How a repository is encrypted."""

    metadata_key: str
    """32 hexadecimal digits, random: under which name the metadata key lies wrapped."""
    recipients: tuple[RecipientEntry, ...]
    """Those of the beginning; commits add and remove others."""
    check: str = ""
    """64 hexadecimal digits: shows that who wrote the repository document had the metadata key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryDocument:
    """`kafkeep.json`: what a repository is and what a program must know to use it."""

    id: str
    """32 hexadecimal digits."""
    created: str
    compression: str
    """`none`, or `zstd` for chunks of batches that the producer did not compress."""
    chunk_bytes: int = CHUNK_BYTES
    """Raw size a chunk aims at."""
    pack_bytes: int = PACK_BYTES
    """A pack is not larger, except for a single batch that is."""
    encryption: Encryption | None = None
    writers: str = MANY
    """`many`, or `single` where the store cannot create only what is absent: then one program writes at a time."""
    admins: tuple[TrustedKey, ...] = ()
    """Whose signatures count at the beginning; none where commits are not signed."""
    features_required: tuple[tuple[str, tuple[str, ...]], ...] = PLAIN

    def require(self, operation: str, what: str) -> None:
        """Raise `UnknownFormat` when `operation` (one of OPERATIONS) needs a feature this version does not have."""
        unknown = [name for name in dict(self.features_required).get(operation, ()) if name not in KNOWN_FEATURES]
        if unknown:
            raise UnknownFormat(f"{what} needs the features {', '.join(unknown)} to {operation}, unknown here")


def for_one_writer(features: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What else a program must know to change a repository that takes one writer at a time; readers need nothing."""
    return tuple(
        (operation, (*known, SINGLE_WRITER) if operation in ("append", "prune") else known)
        for operation, known in features
    )


def signed_features(features: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What else a program must know where commits are signed: a reader that did not would believe anybody's."""
    return tuple((operation, (*known, SIGNATURES)) for operation, known in features)


def encode_repository(document: RepositoryDocument) -> bytes:
    """The stored bytes of `kafkeep.json`."""
    return wrap(Kind.REPOSITORY, repository_value(document))


def repository_value(document: RepositoryDocument) -> dict[str, object]:
    encryption = document.encryption
    return (
        {
            "compression": document.compression,
            "created": document.created,
            "digest": "blake3",
            "features_required": {operation: list(names) for operation, names in document.features_required},
            "format": FORMAT,
            "id": document.id,
            "limits": {"chunk_bytes": document.chunk_bytes, "pack_bytes": document.pack_bytes},
            "recipients": [] if encryption is None else [encode_recipient(entry) for entry in encryption.recipients],
        }
        | _encryption_value(encryption)
        | _further_values(document)
    )


def _further_values(document: RepositoryDocument) -> dict[str, object]:
    """Fields that only some repositories have."""
    found: dict[str, object] = {}
    if document.writers != MANY:
        found["writers"] = document.writers
    if document.admins:
        found["admins"] = [encode_trusted(key) for key in document.admins]
    return found


def _encryption_value(encryption: Encryption | None) -> dict[str, object]:
    if encryption is None:
        return {}
    told = {"check": encryption.check, "cipher": CIPHER, "metadata_key": encryption.metadata_key}
    return {"encryption": told}


def checked_text(document: RepositoryDocument) -> bytes:
    """What `Encryption.check` vouches for: the document without it."""
    if document.encryption is None:
        raise ValueError("the document of a repository that is not encrypted has no check")
    bare = replace(document, encryption=replace(document.encryption, check=""))
    return canonical(repository_value(bare))


def decode_repository(data: bytes, what: str) -> RepositoryDocument:
    """Raises `CorruptObject`, and `UnknownFormat` before looking at anything a later format may have changed."""
    value = unwrap(data, Kind.REPOSITORY, what)
    try:
        return nouns.decode_with(lambda found: _repository(found, what), value, "repository document")
    except Malformed as error:
        raise CorruptObject(f"{what} is malformed: {error}") from error


def _repository(value: object, what: str) -> RepositoryDocument:
    found = fields(value, "repository document")
    if integer(found["format"], "format") != FORMAT:
        raise UnknownFormat(f"{what} is of format {found['format']}, this version reads format {FORMAT}")
    required = fields(found["features_required"], "required features")
    features = tuple((operation, nouns.texts(required[operation], "features")) for operation in OPERATIONS)
    limits = fields(found["limits"], "limits")
    document = RepositoryDocument(
        id=hexadecimal(found["id"], "repository id", 32),
        created=nouns.time_text(found["created"], "created"),
        compression=text(found["compression"], "compression"),
        chunk_bytes=integer(limits["chunk_bytes"], "chunk bytes", 1, PACK_BYTES),
        pack_bytes=integer(limits["pack_bytes"], "pack bytes", 1, PACK_BYTES),
        features_required=features,
        encryption=_encryption(found) if ENCRYPTION in dict(features)["read"] else None,
        writers=text(found.get("writers", MANY), "writers", 100),
        admins=_admins(found) if SIGNATURES in dict(features)["read"] else (),
    )
    document.require("read", what)
    if found["digest"] != "blake3" or document.compression not in COMPRESSIONS:
        raise UnknownFormat(f"{what} uses a digest or compression that is unknown here")
    if document.writers not in (MANY, SINGLE):
        raise UnknownFormat(f"{what} is for writers of a kind that is unknown here")
    if document.encryption is None and found["recipients"] != []:
        raise UnknownFormat(f"{what} has recipients and is not encrypted in a way that is known here")
    return document


def _admins(found: dict[str, Any]) -> tuple[TrustedKey, ...]:
    admins = items(found["admins"], "admins", decode_trusted)
    if not admins or any(key.role != ADMIN for key in admins) or len({key.public for key in admins}) != len(admins):
        raise Malformed("admins that are none, named twice or no admins")
    return admins


def _encryption(found: dict[str, Any]) -> Encryption:
    told = fields(found["encryption"], "encryption")
    if told["cipher"] != CIPHER:
        raise UnknownFormat(f"records are encrypted with {text(told['cipher'], 'cipher', 100)!r}, unknown here")
    recipients = items(found["recipients"], "recipients", decode_recipient)
    if not recipients or len({entry.public for entry in recipients}) != len(recipients):
        raise Malformed("recipients that are none or named twice")
    return Encryption(
        metadata_key=hexadecimal(told["metadata_key"], "metadata key", 32),
        recipients=recipients,
        check=hexadecimal(told["check"], "check", 64),
    )


@dataclass(frozen=True, slots=True)
class CommittedPack:
    """A pack as its commit names it; runs that lost a race are left out, so run indexes may jump."""

    name: str
    size: int
    blake3: str
    """Root digest."""
    epoch: int
    runs: tuple[RunRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointBody:
    """The part of a recovery point that its commit does not say elsewhere."""

    name: str | None
    tags: tuple[tuple[str, str], ...]
    cuts: tuple[PartitionCut, ...]
    selection: tuple[str, ...]
    documents: tuple[tuple[str, str], ...]
    consistency: str
    complete: bool
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One slot of the log."""

    seq: int
    prev: str
    """Digest of commit seq - 1, zeros for 0."""
    kind: str
    writer: str
    """32 hexadecimal digits, random per process."""
    epoch: int
    """Garbage-collection epoch the writer saw."""
    started: str
    finished: str
    tool: str
    store_time: str | None = None
    cluster_id: str | None = None
    packs: tuple[CommittedPack, ...] = ()
    gaps: tuple[Gap, ...] = ()
    opened: tuple[GenerationOpened, ...] = ()
    closed: tuple[GenerationClosed, ...] = ()
    point: PointBody | None = None
    topic_keys: tuple[TopicKey, ...] = ()
    """Keys of topics that runs of this commit are the first to be sealed under."""
    repository: RepositoryDocument | None = None
    """Only in `init`: the repository document, so that a lost one can be written again."""
    change: Change | None = None
    """Only in commits that decide what is kept; these bring nothing else."""
    root: int | None = None
    """Number of the `state` commit that stands, None where there is none."""
    signature: Signature | None = None
    """Where commits are signed."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What lies at one number of the log: a commit, or one that can be read and means nothing (`defect` says why)."""

    seq: int
    digest: str
    commit: Commit | None
    defect: str | None = None
    unsigned: bytes | None = None
    """Of a signed commit: what was signed, canonical JSON without the signature."""


def encode_commit(commit: Commit, seal: DocumentSeal | None = None) -> bytes:
    """The stored bytes of a commit; `init` is never sealed. Raises ValueError when they exceed the limit of a commit."""
    value = _value(commit)
    if commit.signature is not None:
        value["signature"] = encode_signature(commit.signature)
    return wrap(Kind.COMMIT, value, None if commit.kind == "init" else seal)


def unsigned_text(commit: Commit) -> bytes:
    """What a signature of the commit is over."""
    return canonical(_value(commit))


def _value(commit: Commit) -> dict[str, object]:
    """The commit without its signature."""
    root = {} if commit.root is None else {"root": commit.root}
    return root | {
        "body": _body(commit),
        "epoch": commit.epoch,
        "finished": commit.finished,
        "kind": commit.kind,
        "prev": commit.prev,
        "seq": commit.seq,
        "started": commit.started,
        "store_time": commit.store_time,
        "tool": commit.tool,
        "writer": commit.writer,
    }


def _body(commit: Commit) -> dict[str, object]:
    if commit.repository is not None:
        return {"repository": repository_value(commit.repository)}
    if commit.change is not None:
        return encode_change(commit.change)
    body: dict[str, object] = {
        "closed": [nouns.encode_closed(closed) for closed in commit.closed],
        "cluster_id": commit.cluster_id,
        "gaps": [nouns.encode_gap(gap) for gap in commit.gaps],
        "opened": [nouns.encode_opened(opened) for opened in commit.opened],
        "packs": [_encode_pack(pack) for pack in commit.packs],
    }
    if commit.point is not None:
        body["point"] = _encode_point(commit.point)
    if commit.topic_keys:
        body["keys"] = [encode_topic_key(key) for key in commit.topic_keys]
    return body


def _encode_pack(pack: CommittedPack) -> dict[str, object]:
    runs = [
        nouns.encode_facts(run.facts) | {"index": run.index} | ({} if run.key is None else {"key": run.key})
        for run in pack.runs
    ]
    return {"blake3": pack.blake3, "epoch": pack.epoch, "name": pack.name, "runs": runs, "size": pack.size}


def _encode_point(point: PointBody) -> dict[str, object]:
    return {
        "complete": point.complete,
        "consistency": point.consistency,
        "cuts": nouns.encode_cuts(point.cuts),
        "documents": point.documents,
        "failures": [nouns.encode_failure(failure) for failure in point.failures],
        "name": point.name,
        "selection": point.selection,
        "tags": point.tags,
    }


def read_slot(data: bytes, seq: int, prev: str | None, what: str, seal: DocumentSeal | None = None) -> Slot:
    """What the stored bytes of commit `seq` say, after a commit with digest `prev`, or whichever it names where
    that is None; `seal` is that of the repository.

    Raises `CorruptChain` when they cannot be read or are not the successor of that commit; a commit that can be read
    but is malformed comes back with a defect: it must not be able to block the log.
    """
    try:
        body = unwrap_text(data, Kind.COMMIT, what, None if seq == 0 else seal)
        known = parse_canonical(body)
        value = parse_json(body, what) if known is None else known
        outer = nouns.decode_with(_outer, value, what)
    except (CorruptionError, Malformed) as error:
        raise CorruptChain(f"commit {seq} cannot be read: {error}") from error
    except KeyRefused as error:
        if seq == 0:
            raise CorruptChain("commit 0 is sealed, which it never is") from error
        raise
    if outer["seq"] != seq:
        raise CorruptChain(f"{what} holds commit {outer['seq']} where {seq} belongs")
    if prev is not None and outer["prev"] != prev:
        raise CorruptChain(f"commit {seq} does not follow commit {seq - 1}: its prev is {outer['prev'][:16]}…")
    name = digest(data)
    if (outer["kind"] == "init") != (seq == 0):
        return Slot(seq, name, None, f"kind {outer['kind']!r} does not belong at {seq}")
    if outer["kind"] not in KNOWN_KINDS:
        return Slot(seq, name, None, f"unknown kind {outer['kind'][:40]!r}")
    try:
        unsigned = unsigned_of(outer, None if known is None else body) if "signature" in outer else None
        return Slot(seq, name, nouns.decode_with(_commit, outer, "commit"), unsigned=unsigned)
    except Malformed as error:
        return Slot(seq, name, None, f"malformed: {error}")


def _outer(value: object) -> dict[str, Any]:
    outer = fields(value, "commit")
    integer(outer["seq"], "seq")
    hexadecimal(outer["prev"], "prev", 64)
    text(outer["kind"], "kind")
    return outer


def _commit(value: object) -> Commit:
    outer = fields(value, "commit")
    body = fields(outer["body"], "body")
    store_time, kind = outer["store_time"], outer["kind"]
    head: dict[str, Any] = {
        "seq": outer["seq"],
        "prev": outer["prev"],
        "kind": kind,
        "writer": hexadecimal(outer["writer"], "writer", 32),
        "epoch": integer(outer["epoch"], "epoch", 0, 2**32 - 1),
        "started": nouns.time_text(outer["started"], "started"),
        "finished": nouns.time_text(outer["finished"], "finished"),
        "tool": text(outer["tool"], "tool", 200),
        "root": integer(outer["root"], "root") if "root" in outer else None,
        "store_time": None if store_time is None else nouns.time_text(store_time, "store time"),
        "signature": decode_signature(outer["signature"]) if "signature" in outer else None,
    }
    if kind == "init":
        return Commit(**head, repository=_repository(body["repository"], "commit 0"))
    if kind in CHANGE_KINDS:
        return Commit(**head, change=decode_change(kind, body))
    if kind == "recovery-point" and body.get("point") is None:
        raise Malformed("recovery-point without a point")
    return Commit(
        **head,
        cluster_id=text(body["cluster_id"], "cluster id", 1000),
        packs=items(body["packs"], "packs", _decode_pack),
        gaps=items(body["gaps"], "gaps", nouns.decode_gap),
        opened=items(body["opened"], "opened", nouns.decode_opened),
        closed=items(body["closed"], "closed", nouns.decode_closed),
        point=_decode_point(body["point"]) if kind == "recovery-point" else None,
        topic_keys=items(body["keys"], "keys", decode_topic_key) if "keys" in body else (),
    )


def _decode_pack(value: object) -> CommittedPack:
    pack = fields(value, "pack")
    name = text(pack["name"], "pack name", 255)
    root = hexadecimal(pack["blake3"], "pack digest", 64)
    epoch = integer(pack["epoch"], "pack epoch", 0, 2**32 - 1)
    parsed = parse_pack_name(name)
    if parsed is None or parsed.h16 != root[:16] or parsed.epoch != epoch:
        raise Malformed(f"pack name {name[:80]!r} does not fit its digest and epoch")

    def each(item: object) -> RunRef:
        run = fields(item, "run")
        key = hexadecimal(run["key"], "topic key", 32) if "key" in run else None
        return RunRef(nouns.decode_facts(run), name, integer(run["index"], "run index", 0, 2**32 - 1), key)

    runs = run_refs(pack["runs"], name)
    if runs is None:
        runs = items(pack["runs"], "runs", each)
    return CommittedPack(name, integer(pack["size"], "pack size", 1), root, epoch, runs)


def _decode_point(value: object) -> PointBody:
    point = fields(value, "point")
    name = point["name"]
    documents = text_pairs(point["documents"], "documents")
    for kind, reference in documents:
        nouns.slug(kind, "kind of a document")
        hexadecimal(reference, "digest of a document", 64)
    return PointBody(
        name=None if name is None else text(name, "name", 1000),
        tags=text_pairs(point["tags"], "tags"),
        cuts=decode_cuts(point["cuts"]),
        selection=nouns.texts(point["selection"], "selection"),
        documents=documents,
        consistency=nouns.slug(point["consistency"], "consistency"),
        complete=nouns.boolean(point["complete"], "complete"),
        failures=items(point["failures"], "failures", nouns.decode_failure),
    )
