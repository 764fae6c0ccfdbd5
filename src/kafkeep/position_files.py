"""Group positions as files: the CSV of Kafka's own `kafka-consumer-groups --reset-offsets --from-file`, and JSON. Pure.

Kafka's tool (ConsumerGroupCommand, CsvUtils) reads lines of `group,topic,partition,offset` without a header. It cuts the
file at line feeds before it looks at quotes, so a group id with a line break cannot be written for it; nor can metadata
strings, which it does not know.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from kafkeep.model import TopicPartition
from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True)
class FilePosition:
    """A committed position of a group; `share` for the start offset of a share group (KIP-932)."""

    group_id: str
    target: TopicPartition
    offset: int
    metadata: str | None = None
    """None where a file does not tell it."""
    share: bool = False

    @property
    def fits_csv(self) -> bool:
        """False for what Kafka's tool cannot set from a file."""
        return not self.share and not {"\n", "\r"} & set(self.group_id)


def positions_csv(positions: Iterable[FilePosition]) -> str:
    """For `kafka-consumer-groups --reset-offsets --from-file`; what does not fit is left out (`FilePosition.fits_csv`)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for position in positions:
        if position.fits_csv:
            target = position.target
            writer.writerow((position.group_id, target.topic, target.partition, position.offset))
    return text.getvalue()


def positions_json(positions: Iterable[FilePosition]) -> str:
    """A list of objects, one a line; `metadata` only where there is some, `type` only for share groups."""
    lines: list[str] = []
    for position in positions:
        fields: dict[str, Any] = {
            "group": position.group_id,
            "topic": position.target.topic,
            "partition": position.target.partition,
            "offset": position.offset,
        }
        if position.metadata:
            fields["metadata"] = position.metadata
        if position.share:
            fields["type"] = "share"
        lines.append(json.dumps(fields))
    return "[\n" + ",\n".join(lines) + ("\n" if lines else "") + "]\n"
