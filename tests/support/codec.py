"""Messages that kafkeep reads and writes by hand, as kafka-python's generated codec has them: what they are held against."""

from __future__ import annotations

from typing import Final

from kafkeep.kafka.apis import Api

METADATA: Final = Api("metadata.metadata", "Metadata", lowest=4)
LIST_OFFSETS: Final = Api("consumer.offsets", "ListOffsets", lowest=2)
