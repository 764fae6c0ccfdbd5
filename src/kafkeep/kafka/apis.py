"""Requests that are not Fetch or Produce, and their answers: bytes to values and back.

kafka-python serves here as codec only. Its message classes are compiled from Kafka's own JSON definitions and cover
every version; its connection manager is left alone, because it logs whole frames at DEBUG (a SASL/PLAIN password in
clear), does not escape SCRAM names, refuses the next send while a connection is throttled, and runs an event loop in a
thread of its own.

This module is the only one that imports its messages, each when it is first used. Callers name an `Api`, give the request's
fields as plain values under kafka-python's snake_case names (arrays of structs as lists of mappings), and read the
answer's fields by attribute.
"""

from __future__ import annotations

import importlib
import io
import logging
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from operator import attrgetter
from types import new_class
from typing import Any, Final, NamedTuple

from kafkeep.errors import KafkaProtocolError
from kafkeep.kafka.links import Fields

OWN: Final = "kafkeep.kafka.messages"
"""Where messages are defined that kafka-python lacks: KIP-48, KIP-848, KIP-932 and KIP-1071."""

_CHANGED: Final = frozenset(
    (
        *("ApiVersionsResponse", "DeleteTopicsRequest", "DescribeGroupsResponse"),
        *("ListOffsetsRequest", "MetadataRequest", "MetadataResponse"),
    )
)
"""Messages that are more in kafka-python than Kafka's definition of them. The others are made here, one by one: their modules
would make a dozen each."""

_FEW_USES: Final = 8
_FEW_PARTS: Final = 100
_SHORT_BYTES: Final = 4096
"""Messages of one kind and version that get no code of their own, and how large such a message is at most."""

_definitions = threading.Lock()
"""Classes of messages are made on first use, by one thread at a time."""
_codec = threading.Lock()
"""kafka-python compiles a message's code on first use and swaps class attributes while it does so."""


def cap_library_loggers() -> None:
    """Keeps the `kafka` loggers at INFO or above whatever level the user chose.

    kafka-python writes requests and frames at DEBUG. The codec alone does not, but a plug-in or an embedding program
    may use the rest of the library in the same process with the same secrets.
    """
    for name in ["kafka", *(name for name in logging.root.manager.loggerDict if name.startswith("kafka."))]:
        logger = logging.getLogger(name)
        if logger.level < logging.INFO and (logger.level != logging.NOTSET or name == "kafka"):
            logger.setLevel(logging.INFO)


class Api:
    """One kind of request and its answer, with the range of versions that kafkeep's callers can handle."""

    def __init__(self, place: str, name: str, *, lowest: int | None = None, highest: int | None = None) -> None:
        """`place`: kafka-python's module below `kafka.protocol`, or `OWN`; it is loaded when the request is first used."""
        self._place = place
        self.name = name
        self._lowest = lowest
        self._highest = highest
        self._never_null: dict[tuple[int, int], _Checks] = {}
        self._uses: Counter[tuple[Any, int]] = Counter()
        self._made: tuple[Any, Any] | None = None

    @property
    def _classes(self) -> tuple[Any, Any]:
        if self._made is None:
            with _definitions:
                if self._made is None:
                    request, response = f"{self.name}Request", f"{self.name}Response"
                    self._made = _definition(self._place, request), _definition(self._place, response)
        return self._made

    @property
    def request(self) -> Any:
        """kafka-python's class of the request."""
        return self._classes[0]

    @property
    def response(self) -> Any:
        """kafka-python's class of the answer."""
        return self._classes[1]

    @property
    def key(self) -> int:
        """Kafka's number of the request."""
        number: int = self.request.API_KEY
        return number

    @property
    def lowest(self) -> int:
        """Lowest version that callers can handle."""
        first: int = self.request.valid_versions[0]
        return first if self._lowest is None else self._lowest

    @property
    def highest(self) -> int:
        """Highest version that callers can handle."""
        last: int = self.request.valid_versions[1]
        return last if self._highest is None else self._highest

    def encode(self, version: int, fields: Fields) -> bytes:
        """The request's body, without header. Raises KeyError for a field that the message does not have."""
        with _codec:
            message = _message(self.request, self.request.fields, version, fields)
            if self._is_worth_code(self.request, version, parts=_parts(fields)):
                return bytes(message.encode(version=version))
            return bytes(_field_by_field(self.request, version).encode(message))

    def decode(self, version: int, body: memoryview) -> Any:
        """The answer, fields readable by attribute. Raises KafkaProtocolError when the bytes are not such an answer."""
        try:
            with _codec:
                if self._is_worth_code(self.response, version, size=len(body)):
                    answer = self.response.decode(body, version=version)
                else:
                    answer = _field_by_field(self.response, version).decode(_Exact(body))
        except (struct.error, IndexError, ValueError, TypeError, OverflowError, MemoryError) as error:
            raise KafkaProtocolError(f"the answer to {self.name} version {version} cannot be read: {error}") from error
        self._refuse_nulls(answer, self.response.fields, version)
        return answer

    def _is_worth_code(self, kind: Any, version: int, *, parts: int = 0, size: int = 0) -> bool:
        """Whether kafka-python is to write and compile a function for messages of this kind: that takes milliseconds, while
        to go through a short message by its definition takes a tenth of one. Called under the lock.
        """
        if kind.__name__ in _CHANGED:
            return True
        self._uses[kind, version] += 1
        return parts > _FEW_PARTS or size > _SHORT_BYTES or self._uses[kind, version] > _FEW_USES

    def _refuse_nulls(self, item: Any, fields: Mapping[str, Any], version: int) -> None:
        # The codec reads a null where the definition forbids one; callers iterate and compare without asking.
        key = (id(fields), version)
        checks = self._never_null.get(key)
        if checks is None:
            checks = self._never_null[key] = _checks_of(fields, version)
        for name, get in checks.never_null:
            if get(item) is None:
                raise KafkaProtocolError(f"the answer to {self.name} version {version} lacks {name}")
        for get, inner_fields in checks.nested:
            for inner in get(item) or ():
                self._refuse_nulls(inner, inner_fields, version)


class _Exact(io.BytesIO):
    """An answer read field by field: whoever asks for more than there is gets an error, not less."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise ValueError(f"a length of {size}")
        found = super().read(size)
        if len(found) < size:
            raise ValueError(f"it ends {size - len(found)} bytes early")
        return found


class _FieldByField(NamedTuple):
    """kafka-python's other way through a message: by its definition, without code of its own."""

    kind: Any
    how: Mapping[str, Any]

    def encode(self, message: Any) -> Any:
        return self.kind._struct.encode(message, **self.how)

    def decode(self, data: io.BytesIO) -> Any:
        return self.kind._struct.decode(data, data_class=self.kind, **self.how)


def _field_by_field(kind: Any, version: int) -> _FieldByField:
    flexible = kind.flexible_version_q(version)
    return _FieldByField(kind, {"version": version, "compact": flexible, "tagged": flexible})


def _parts(fields: Fields) -> int:
    """How many things the lists of a request hold, and the lists in these."""
    held = [item for value in fields.values() if isinstance(value, (list, tuple)) for item in value]
    return len(held) + sum(_parts(item) for item in held if isinstance(item, Mapping))


class _Checks(NamedTuple):
    """What is looked at in every struct of one kind: an answer may hold tens of thousands of them."""

    never_null: tuple[tuple[str, Callable[[Any], Any]], ...]
    nested: tuple[tuple[Callable[[Any], Any], Mapping[str, Any]], ...]
    """Arrays of structs in which there is something to look at."""


def _checks_of(fields: Mapping[str, Any], version: int) -> _Checks:
    there = [(name, field) for name, field in fields.items() if field.for_version_q(version) and _may_be_long(field)]
    return _Checks(
        tuple((name, attrgetter(name)) for name, field in there if not field.nullable_for_version_q(version)),
        tuple(
            (attrgetter(name), field.fields)
            for name, field in there
            if field.is_struct_array() and any(_checks_of(field.fields, version))
        ),
    )


def _definition(place: str, name: str) -> Any:
    """A message's class. Definitions of those of `OWN`, which are absent from kafka-python 3.0, lie in `messages`."""
    if name in _CHANGED:
        return getattr(importlib.import_module(f"kafka.protocol.{place}"), name)
    from kafka.protocol.api_message import ApiMessage

    return new_class(name, (ApiMessage,), {"load_json": OWN if place == OWN else None}, _own_body)


def _own_body(body: dict[str, Any]) -> None:
    body["__module__"] = __name__


def _may_be_long(field: Any) -> bool:
    return bool(field.is_array() or field.type_str == "string")


def _message(kind: Any, known: Mapping[str, Any], version: int, fields: Fields) -> Any:
    # Callers give what any version needs; each version takes what it has.
    taken = {name: value for name, value in fields.items() if known[name].for_version_q(version)}
    return kind(version=version, **{name: _value(known[name], version, value) for name, value in taken.items()})


def _value(field: Any, version: int, value: Any) -> Any:
    if value is None or not field.is_struct_array():
        return value
    return [_message(field.data_class, field.fields, version, item) for item in value]


FIND_COORDINATOR: Final = Api("metadata.find_coordinator", "FindCoordinator")
CREATE_TOPICS: Final = Api("admin.topics", "CreateTopics")
DELETE_TOPICS: Final = Api("admin.topics", "DeleteTopics")
DESCRIBE_CONFIGS: Final = Api("admin.configs", "DescribeConfigs", lowest=1)
ALTER_CONFIGS: Final = Api("admin.configs", "IncrementalAlterConfigs")
DELETE_RECORDS: Final = Api("admin.topics", "DeleteRecords")
# Version 6 of the codec is KIP-939's, which no released broker offers and which changes the meaning of the call.
INIT_PRODUCER_ID: Final = Api("producer.transaction", "InitProducerId", highest=5)
LIST_GROUPS: Final = Api("admin.groups", "ListGroups")
DESCRIBE_GROUPS: Final = Api("admin.groups", "DescribeGroups")
DESCRIBE_CONSUMER_GROUPS: Final = Api(OWN, "ConsumerGroupDescribe")
# Version 10 of both names topics by id only: a position on a deleted topic could not be told from one on its successor.
OFFSET_FETCH: Final = Api("consumer.group", "OffsetFetch", lowest=2, highest=9)
OFFSET_COMMIT: Final = Api("consumer.group", "OffsetCommit", highest=9)
OFFSET_DELETE: Final = Api("consumer.group", "OffsetDelete")
DELETE_GROUPS: Final = Api("admin.groups", "DeleteGroups")
DESCRIBE_SHARE_OFFSETS: Final = Api(OWN, "DescribeShareGroupOffsets")
ALTER_SHARE_OFFSETS: Final = Api(OWN, "AlterShareGroupOffsets")
DELETE_SHARE_OFFSETS: Final = Api(OWN, "DeleteShareGroupOffsets")
LIST_TRANSACTIONS: Final = Api("admin.transactions", "ListTransactions")
DESCRIBE_TRANSACTIONS: Final = Api("admin.transactions", "DescribeTransactions")
