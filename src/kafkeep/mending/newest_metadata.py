"""The document of topics and groups that a rebuilt recovery point names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kafkeep.errors import CorruptionError, ObjectNotFound, UnknownFormat
from kafkeep.mending.rebuild_plan import LogStep
from kafkeep.model import ClusterMetadata
from kafkeep.records import dataclass
from kafkeep.repository.documents import cluster_metadata_from_json
from kafkeep.repository.objects import read_document
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store
from kafkeep.times import rfc3339

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal


@dataclass(frozen=True, slots=True)
class ChosenMetadata:
    digest: str | None
    metadata: ClusterMetadata | None
    why: str


def newest_metadata(store: Store, base: State, steps: tuple[LogStep, ...], seal: DocumentSeal | None) -> ChosenMetadata:
    """The newest document of topics and groups, as far as anything tells: one that no kept point names, that knows most of
    the topics that are there now, by the store's own clock the last."""
    named = {reference for point in base.points for _, reference in point.documents}
    topics = {(known.generation.topic, known.generation.topic_id) for known in base.generations.values() if known.open}
    topics |= {(opened.generation.topic, opened.generation.topic_id) for step in steps for opened in step.opened}
    best: tuple[tuple[bool, int, str, str], ClusterMetadata] | None = None
    count = 0
    for reference, metadata, moment in _documents(store, seal):
        count += 1
        fits = len(topics & {(topic.name, topic.topic_id) for topic in metadata.topics})
        rank = (reference not in named, fits, moment, reference)
        if best is None or rank > best[0]:
            best = (rank, metadata)
    if best is None:
        return ChosenMetadata(None, None, "no document of topics and groups can be read")
    (_, fits, moment, reference), metadata = best
    dated = f", stored at {moment}" if moment else ", the store does not tell when it was stored"
    why = f"of {count} it knows {fits} of {len(topics)} topics{dated}; settings and positions are as old as it is"
    return ChosenMetadata(reference, metadata, why)


def _documents(store: Store, seal: DocumentSeal | None) -> Iterator[tuple[str, ClusterMetadata, str]]:
    for info in store.list("doc/"):
        reference = info.name.rpartition("/")[2]
        try:
            value = read_document(store, "metadata", reference, seal)
            metadata = cluster_metadata_from_json(value)
        except (CorruptionError, UnknownFormat, ValueError, ObjectNotFound):
            continue  # a document of another kind, or damaged
        moment = store.modified(info.name)
        yield reference, metadata, "" if moment is None else rfc3339(moment)
