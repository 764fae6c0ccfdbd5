"""Requests whose answers grow with the cluster, as `ControlClient.send` takes them. They are read by `kafka.wire`: the
generated codec makes objects of every partition or config, one by one, and a following backup asks in every round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kafkeep.kafka import apis
from kafkeep.kafka.links import Fields
from kafkeep.kafka.wire import describe_configs, list_offsets, metadata
from kafkeep.kafka.wire.primitives import Reader


class LongAnswer(NamedTuple):
    """One kind of request, with the range of versions that its answers are read in."""

    name: str
    key: int
    lowest: int
    highest: int
    write: Callable[[int, Fields], bytes]
    read: Callable[[int, Reader], Any]

    def encode(self, version: int, fields: Fields) -> bytes:
        """The request's body, without header."""
        return self.write(version, fields)

    def decode(self, version: int, body: memoryview) -> Any:
        """What `read` makes of the answer. Raises KafkaProtocolError when the bytes are not such an answer."""
        return self.read(version, Reader(body, f"answer to {self.name} version {version}"))


def _with_parameters(encode: Callable[..., bytes]) -> Callable[[int, Fields], bytes]:
    """For requests whose fields are the parameters of the function that writes them."""
    return lambda version, fields: encode(version, **fields)


LIST_OFFSETS: Final = LongAnswer(
    name="ListOffsets",
    key=list_offsets.API_KEY,
    lowest=list_offsets.LOWEST,
    highest=list_offsets.HIGHEST,
    write=_with_parameters(list_offsets.encode_list_offsets),
    read=list_offsets.decode_list_offsets,
)
DESCRIBE_CONFIGS: Final = LongAnswer(
    name="DescribeConfigs",
    key=describe_configs.API_KEY,
    lowest=describe_configs.LOWEST,
    highest=describe_configs.HIGHEST,
    write=apis.DESCRIBE_CONFIGS.encode,
    read=describe_configs.decode_describe_configs,
)
METADATA: Final = LongAnswer(
    name="Metadata",
    key=metadata.API_KEY,
    lowest=metadata.LOWEST,
    highest=metadata.HIGHEST,
    write=_with_parameters(metadata.encode_metadata),
    read=metadata.decode_metadata,
)
