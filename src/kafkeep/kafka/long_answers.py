"""Requests whose answers grow with the cluster, as `ControlClient.send` takes them. They are read by `kafka.wire`: the
generated codec makes objects of every partition or config, one by one, and a following backup asks in every round.
"""

from __future__ import annotations

from typing import Any, Final

from kafkeep.kafka import apis
from kafkeep.kafka.links import Fields
from kafkeep.kafka.wire import describe_configs, list_offsets, metadata
from kafkeep.kafka.wire.primitives import Reader


class _ListOffsets:
    name = "ListOffsets"
    key = list_offsets.API_KEY
    lowest = list_offsets.LOWEST
    highest = list_offsets.HIGHEST

    def encode(self, version: int, fields: Fields) -> bytes:
        """`fields` are the parameters of `encode_list_offsets`."""
        parameters: dict[str, Any] = dict(fields)
        return list_offsets.encode_list_offsets(version, **parameters)

    def decode(self, version: int, body: memoryview) -> list_offsets.ListedOffsets:
        return list_offsets.decode_list_offsets(version, Reader(body, f"answer to {self.name} version {version}"))


class _DescribeConfigs:
    name = "DescribeConfigs"
    key = describe_configs.API_KEY
    lowest = describe_configs.LOWEST
    highest = describe_configs.HIGHEST

    def encode(self, version: int, fields: Fields) -> bytes:
        return apis.DESCRIBE_CONFIGS.encode(version, fields)

    def decode(self, version: int, body: memoryview) -> describe_configs.DescribedConfigs:
        return describe_configs.decode_describe_configs(
            version, Reader(body, f"answer to {self.name} version {version}")
        )


class _Metadata:
    name = "Metadata"
    key = metadata.API_KEY
    lowest = metadata.LOWEST
    highest = metadata.HIGHEST

    def encode(self, version: int, fields: Fields) -> bytes:
        """`fields` are the parameters of `encode_metadata`."""
        parameters: dict[str, Any] = dict(fields)
        return metadata.encode_metadata(version, **parameters)

    def decode(self, version: int, body: memoryview) -> metadata.Metadata:
        return metadata.decode_metadata(version, Reader(body, f"answer to {self.name} version {version}"))


LIST_OFFSETS: Final = _ListOffsets()
DESCRIBE_CONFIGS: Final = _DescribeConfigs()
METADATA: Final = _Metadata()
