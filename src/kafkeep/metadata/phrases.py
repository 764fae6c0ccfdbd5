"""How parts of a cluster image are said in a line of text, and what is said of parts that could not be read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kafkeep.inventory import CLIENT_METRICS, GROUP, QuotaEntity
from kafkeep.metadata.image import ClusterImage
from kafkeep.position_files import FilePosition

SENSITIVE: Final = "(sensitive: brokers do not show it)"
DEFAULT: Final = "<default>"


def shown(text: str) -> str:
    """A text as it is when it reads as one word or phrase of one line, else in JSON's quotes: no value of a cluster can
    forge a line, or be taken for nothing.
    """
    plain = text and text.isprintable() and text == text.strip() and not text.startswith(('"', "#"))
    return text if plain else json.dumps(text)


def shown_value(value: str | None) -> str:
    """A config's value; None is one that brokers do not show."""
    return SENSITIVE if value is None else shown(value)


def entity_text(entity: QuotaEntity) -> str:
    """`user alice, client-id <default>`; two entities never have one text."""
    return ", ".join(f"{shown(kind)} {DEFAULT if name is None else _entity_name(name)}" for kind, name in entity.parts)


def _entity_name(name: str) -> str:
    return json.dumps(name) if name == DEFAULT or ", " in name else shown(name)


def number(value: float) -> str:
    """A limit in its shortest exact form: `1048576` rather than `1048576.0`."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines with aligned columns, as Kafka's own tools print them."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def positions_of(image: ClusterImage) -> Iterator[FilePosition]:
    """Every committed position of the image."""
    for group in image.groups:
        for offset in group.offsets:
            share = group.type == "share"
            yield FilePosition(group.group_id, offset.topic_partition, offset.offset, offset.metadata, share)


def unread_groups(image: ClusterImage) -> tuple[str, ...]:
    return tuple(name for name in image.unreadable if name == "groups" or name.startswith("group "))


def unread_topics(image: ClusterImage) -> tuple[str, ...]:
    return tuple(name for name in image.unreadable if name == "topics")


def unread_topic_configs(image: ClusterImage) -> tuple[str, ...]:
    return tuple(name for name in image.unreadable if name.startswith("configs of "))


def unread_settings(image: ClusterImage, part: str) -> tuple[str, ...]:
    """What of `acls`, `quotas`, `scram-users` or `features` could not be read."""
    return tuple(name for name in image.inventory.unreadable if name == part)


def unread_configs(image: ClusterImage, kind: str) -> tuple[str, ...]:
    """What of the configs of one of `CONFIG_KINDS` could not be read."""
    whole = {"configs"} | ({f"{kind} configs"} if kind in (CLIENT_METRICS, GROUP) else set())
    one = f"configs of {kind}"
    return tuple(
        name for name in image.inventory.unreadable if name in whole or name == one or name.startswith(f"{one} ")
    )


def unread_standing(image: ClusterImage) -> tuple[str, ...]:
    """What of the standing could not be read."""
    known = ("quorum", "reassignments", "delegation tokens", "log directories of ", "members of ")
    return tuple(name for name in (*image.unreadable, *image.inventory.unreadable) if name.startswith(known))
