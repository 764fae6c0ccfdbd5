"""Which file of an export lies where: two ways to lay a cluster image out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from kafkeep.metadata import texts, texts_cluster
from kafkeep.metadata.documents import to_json, to_yaml
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.phrases import positions_of
from kafkeep.metadata.script import recreate_script
from kafkeep.metadata.texts_services import service_files
from kafkeep.position_files import positions_csv, positions_json
from kafkeep.records import dataclass

PLAIN, J0 = "plain", "j0"
LAYOUTS: Final = (PLAIN, J0)

_FOLDERS: Final = {
    "topics-metadata.txt": "topics",
    "topic-configs.txt": "configs",
    "broker-configs.txt": "configs",
    "group-configs.txt": "configs",
    "consumer-groups-list.txt": "offsets",
    "offsets.json": "offsets",
    "offsets.csv": "offsets",
    "acls.txt": "acls",
    "scram-users.txt": "users",
    "quotas.txt": "quotas",
    "cluster.txt": "cluster",
    "schemas.txt": "schemas",
    "schemas.json": "schemas",
    "connectors.txt": "connectors",
    "connectors.json": "connectors",
    "metadata.json": "metadata",
    "metadata.yaml": "metadata",
    "recreate.sh": "metadata",
}
"""Of the layout `j0`; the files of groups' offsets lie in `offsets`."""


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file to be written; `path` is relative, with slashes."""

    path: str
    text: str

    @property
    def executable(self) -> bool:
        return self.path.endswith(".sh")


def plain_files(image: ClusterImage) -> tuple[ExportFile, ...]:
    """All files side by side, sorted by name. Raises ValueError for an image that names one thing twice."""
    positions = list(positions_of(image))
    files = {
        "topics-metadata.txt": texts.topics_metadata(image),
        "topic-configs.txt": texts.topic_configs(image),
        "broker-configs.txt": texts_cluster.broker_configs(image),
        "group-configs.txt": texts_cluster.other_configs(image),
        "consumer-groups-list.txt": texts.consumer_groups_list(image),
        "acls.txt": texts.acls(image),
        "scram-users.txt": texts.scram_users(image),
        "quotas.txt": texts.quotas(image),
        "cluster.txt": texts_cluster.cluster(image),
        "offsets.json": positions_json(positions),
        "offsets.csv": positions_csv(positions),
        "metadata.json": to_json(image),
        "metadata.yaml": to_yaml(image),
        "recreate.sh": recreate_script(image),
    }
    names = texts.group_file_names(group.group_id for group in image.groups)
    files |= service_files(image)
    files |= {names[group.group_id]: texts.group_offsets(image, group) for group in image.groups}
    return tuple(ExportFile(name, text) for name, text in sorted(files.items()))


def j0_files(image: ClusterImage, now: datetime) -> tuple[ExportFile, ...]:
    """The same in folders by subject and time (UTC): `topics/20260304-050607/topics-metadata.txt`."""
    stamp = now.astimezone(UTC).strftime("%Y%m%d-%H%M%S")
    return _sorted(
        ExportFile(f"{_FOLDERS.get(file.path, 'offsets')}/{stamp}/{file.path}", file.text)
        for file in plain_files(image)
    )


def _sorted(files: Iterable[ExportFile]) -> tuple[ExportFile, ...]:
    return tuple(sorted(files, key=lambda file: file.path))
