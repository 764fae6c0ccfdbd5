"""What changes of keys will do, as values, and what became of them. Pure."""

from __future__ import annotations

from kafkeep.model import Failure
from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientLine:
    """Somebody who can open the repository."""

    id: str
    recipient: str
    """The text form of the public key."""
    name: str
    since: str | None
    """RFC 3339, UTC; None where the commit that tells was trimmed from the log."""
    passphrase: bool
    """Whether a slot holds its identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicKeyLine:
    """A key that runs of a topic are sealed under."""

    id: str
    topic: str
    topic_id: str
    current: bool
    """Whether the next runs are sealed under it."""
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyListing:
    repository: str
    recipients: tuple[RecipientLine, ...]
    topic_keys: tuple[TopicKeyLine, ...]
    shredded: tuple[str, ...]
    """Topics with records that nobody can open any more."""
    left_over: tuple[str, ...]
    """Objects that are nobody's any more, or not yet: of shredded topics, and of recipients that the log does not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedRecipient:
    recipient: str
    name: str
    wrapped: int
    """Keys that it could not open before."""
    commit: int | None
    """None when it was a recipient already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalPlan:
    id: str
    name: str
    public: str | None
    """None for one that the log does not name (any more): only objects are left of it."""
    objects: tuple[str, ...]
    """Wrapped keys and slots that are to be deleted."""
    own: bool
    """Whether it is the identity that the repository was opened with."""
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedRecipient:
    plan: RemovalPlan
    commit: int | None
    deleted: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Unopened:
    """A topic key that cannot be opened, or not by everybody."""

    key: str
    topic: str
    topic_id: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCheck:
    recipient: str
    """Id of the identity that it was done with."""
    opened: int
    missing: tuple[Unopened, ...]
    """Not wrapped for this identity."""
    damaged: tuple[Unopened, ...]
    others: tuple[tuple[str, str, int], ...]
    """(id, name, keys) of other recipients that lack keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShredPlan:
    topics: tuple[tuple[str, str], ...]
    """(topic, topic id)."""
    reason: str
    keys: tuple[str, ...]
    runs: int
    records: int
    stored_bytes: int
    points: tuple[int, ...]
    """Recovery points that lose records."""
    left_over: tuple[str, ...]
    """Key objects of topics that were shredded before."""
    refusals: tuple[str, ...]

    @property
    def nothing_to_do(self) -> bool:
        return not (self.topics or self.left_over)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShredResult:
    plan: ShredPlan
    commit: int | None
    deleted: int
    """Key objects."""
    failures: tuple[Failure, ...]
    """Of key objects that could not be deleted: as long as they are there, the records can be opened."""
