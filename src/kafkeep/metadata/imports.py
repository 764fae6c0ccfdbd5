"""A document of an export, edited or not, as a recovery point: to be compared, applied and kept like any other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from kafkeep.connectors import without_secrets
from kafkeep.errors import UsageError, WrongCluster
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.metadata.image import ClusterImage
from kafkeep.model import IMPORTED, ClusterMetadata, Failure, RecoveryPoint
from kafkeep.point_documents import Beside, put_point_documents
from kafkeep.repository.drafts import Draft, PointDraft
from kafkeep.repository.repository import Repository
from kafkeep.times import rfc3339

IMPORTED_ORIGIN: Final = f"{IMPORTED}-origin"
IMPORTED_TIME: Final = f"{IMPORTED}-time"
IMPORTED_CLUSTER: Final = f"{IMPORTED}-cluster"
PROVENANCE: Final = (IMPORTED, IMPORTED_ORIGIN, IMPORTED_TIME, IMPORTED_CLUSTER)
"""Tags that say where an imported point comes from: the file, what it was exported of, when that was so, and its cluster
where that is not the repository's."""

Tags = tuple[tuple[str, str], ...]


def import_image(
    repository: Repository,
    image: ClusterImage,
    *,
    file: str,
    name: str | None,
    tags: Tags,
    other_cluster: bool,
    now: Callable[[], datetime],
    sink: EventSink = ignore,
) -> RecoveryPoint:
    """Makes a recovery point, without a record, of a document's image. `file` is the document's name, for its tags.

    What the document says could not be read is a failure of the point. Log ends are not taken over: what a point holds of
    them are its own cuts. With `other_cluster` the document may be of another cluster than the repository's.

    Raises `UsageError` for tags that are the import's own and for a document that cannot be stored, `WrongCluster`, and
    what the repository raises.
    """
    if own := sorted({key for key, _ in tags} & set(PROVENANCE)):
        raise UsageError(f"the tag {own[0]} is set by the import itself", hint="Take another key.")
    started = now()
    cluster_id = _cluster_of(repository, image, file, other_cluster=other_cluster)
    sink(Stage("import", f"{len(image.topics)} topics, {len(image.groups)} groups"))
    failures = _failures(image)
    try:
        documents = put_point_documents(
            repository,
            ClusterMetadata(image.cluster_id, image.topics, image.groups),
            (image.inventory, image.standing),
            Beside(image.schemas, None if image.connectors is None else without_secrets(image.connectors)),
        )
        draft = PointDraft(
            name=name,
            tags=(*tags, *_provenance(image, file, cluster_id)),
            cuts=(),
            documents=documents,
            complete=not failures,
            failures=failures,
        )
        outcome = repository.commit(
            Draft(kind="recovery-point", cluster_id=cluster_id, started=rfc3339(started), point=draft)
        )
    except ValueError as error:
        raise UsageError(f"{file} cannot be kept: {error}") from error
    if outcome.point is None:
        raise RuntimeError("a point without cuts always fits")
    return outcome.point


def _cluster_of(repository: Repository, image: ClusterImage, file: str, *, other_cluster: bool) -> str:
    """The repository's cluster, or the document's where it has none yet. Raises `UsageError`, `WrongCluster`."""
    if not image.cluster_id:
        raise UsageError(f"{file}: cluster_id: expected the id of a cluster, got an empty text")
    held = repository.refresh().cluster_id
    if held is not None and held != image.cluster_id and not other_cluster:
        raise WrongCluster(
            f"the repository holds cluster {held}, but {file} describes {image.cluster_id}",
            hint="Import it into a repository of that cluster, or say --other-cluster.",
        )
    return image.cluster_id if held is None else held


def _provenance(image: ClusterImage, file: str, cluster_id: str) -> Tags:
    told = [(IMPORTED, file), (IMPORTED_ORIGIN, image.origin), (IMPORTED_TIME, image.time)]
    return tuple(told if image.cluster_id == cluster_id else [*told, (IMPORTED_CLUSTER, image.cluster_id)])


def _failures(image: ClusterImage) -> tuple[Failure, ...]:
    """Parts of the settings first: `run.image_of_point` takes as many of a name away as the settings name themselves."""
    return tuple(
        Failure(subject, IMPORTED, "the imported document says that it could not be read")
        for subject in (*image.inventory.unreadable, *image.unreadable)
    )
