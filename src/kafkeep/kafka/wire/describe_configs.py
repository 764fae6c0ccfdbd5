"""Answers to DescribeConfigs, versions 1 to 4. Pure.

A cluster of a thousand topics tells some thirty configs of each, nearly all of them alike. What was read once is known again
by its bytes here, and shared: an answer becomes as many values as it says different things. Schema:
clients/src/main/resources/common/message/DescribeConfigsResponse.json.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from kafkeep.kafka.wire.primitives import Reader

API_KEY: Final = 32
LOWEST: Final = 1
HIGHEST: Final = 4

_TYPE_AND_DOCUMENTATION: Final = 3
_FLEXIBLE: Final = 4

_I8: Final = struct.Struct(">b")
_FLAGS: Final = struct.Struct(">?b?")


class ConfigEntry(NamedTuple):
    """One effective config of a resource; `value` is None for what the broker does not show (`sensitive`)."""

    name: str
    value: str | None
    source: int
    """Kafka's number (DescribeConfigsResponse.ConfigSource)."""
    sensitive: bool
    read_only: bool


class DescribedResource(NamedTuple):
    """What a broker says of one resource."""

    error_code: int
    error_message: str | None
    resource_type: int
    """Kafka's number (ConfigResource.Type)."""
    resource_name: str
    configs: tuple[ConfigEntry, ...]
    """Sorted by name; resources with the same configs share them."""


class DescribedConfigs(NamedTuple):
    """An answer."""

    throttle_time_ms: int
    results: list[DescribedResource]


def decode_describe_configs(version: int, reader: Reader) -> DescribedConfigs:
    """Raises KafkaProtocolError when the bytes are not such an answer."""
    flexible = version >= _FLEXIBLE
    throttle_time_ms = reader.i32()
    before = _Before(version, reader)
    results: list[DescribedResource] = []
    for _ in range(reader.count(compact=flexible, nullable=False)):
        error_code = reader.i16()
        error_message = reader.nullable_string(compact=flexible)
        (resource_type,) = reader.fields(_I8)
        resource_name = reader.string(compact=flexible)
        results.append(DescribedResource(error_code, error_message, resource_type, resource_name, before.configs()))
        if flexible:
            reader.tags()
    if flexible:
        reader.tags()
    reader.end()
    return DescribedConfigs(throttle_time_ms, results)


class _Before:
    """What the resource before had, as bytes and as values: the next one mostly has the same in the same order."""

    def __init__(self, version: int, reader: Reader) -> None:
        self._version = version
        self._reader = reader
        self._whole: bytes | None = None
        self._configs: tuple[ConfigEntry, ...] = ()
        self._each: list[tuple[bytes, ConfigEntry]] = []

    def configs(self) -> tuple[ConfigEntry, ...]:
        """The configs that the reader stands before."""
        reader = self._reader
        if self._whole is not None and reader.skip(self._whole):
            return self._configs
        start = reader.position
        count = reader.count(compact=self._version >= _FLEXIBLE, nullable=False)
        self._each = [self._entry(at) for at in range(count)]
        self._whole = bytes(reader.view[start : reader.position])
        self._configs = tuple(sorted((entry for _, entry in self._each), key=lambda entry: entry.name))
        return self._configs

    def _entry(self, at: int) -> tuple[bytes, ConfigEntry]:
        reader = self._reader
        if at < len(self._each) and reader.skip(self._each[at][0]):
            return self._each[at]
        start = reader.position
        entry = _entry(self._version, reader)
        return bytes(reader.view[start : reader.position]), entry


def _entry(version: int, reader: Reader) -> ConfigEntry:
    flexible = version >= _FLEXIBLE
    name, value = reader.string(compact=flexible), reader.nullable_string(compact=flexible)
    read_only, source, sensitive = reader.fields(_FLAGS)
    for _ in range(reader.count(compact=flexible)):
        _synonym(reader, flexible=flexible)
    if version >= _TYPE_AND_DOCUMENTATION:
        reader.fields(_I8)
        reader.nullable_string(compact=flexible)
    if flexible:
        reader.tags()
    return ConfigEntry(name, value, source, bool(sensitive), bool(read_only))


def _synonym(reader: Reader, *, flexible: bool) -> None:
    reader.string(compact=flexible)
    reader.nullable_string(compact=flexible)
    reader.fields(_I8)
    if flexible:
        reader.tags()
