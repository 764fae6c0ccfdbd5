"""Kafka's primitive types on the wire: a bounded reader for answers, encoders for requests. Pure.

Types and their names: the protocol guide and clients/common/protocol/types/Type.java. "Compact" forms and tagged fields
are those of flexible versions (KIP-482).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from kafkeep.errors import KafkaProtocolError

_I16: Final = struct.Struct(">h")
_I32: Final = struct.Struct(">i")
_I64: Final = struct.Struct(">q")

NO_TAGS: Final = b"\x00"


def uvarint(value: int) -> bytes:
    """Unsigned varint, least significant group first."""
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: str | None) -> bytes:
    """STRING or NULLABLE_STRING."""
    if text is None:
        return b"\xff\xff"
    data = text.encode()
    return _I16.pack(len(data)) + data


def compact_string(text: str | None) -> bytes:
    """COMPACT_STRING or COMPACT_NULLABLE_STRING."""
    if text is None:
        return b"\x00"
    data = text.encode()
    return uvarint(len(data) + 1) + data


def one_tag(tag: int, content: bytes) -> bytes:
    """The tagged fields of a structure that has just this one."""
    return uvarint(1) + uvarint(tag) + uvarint(len(content)) + content


class Reader:
    """Reads an answer from its start; every step is checked against the bytes that are left.

    Raises KafkaProtocolError for whatever a broker would never send: lengths and counts that are negative or larger
    than what is left, text that is not UTF-8. `what` names the answer in messages.
    """

    __slots__ = ("position", "view", "what")

    def __init__(self, view: memoryview, what: str) -> None:
        self.view = view
        self.position = 0
        self.what = what

    @property
    def remaining(self) -> int:
        return len(self.view) - self.position

    def fail(self, why: str) -> KafkaProtocolError:
        return KafkaProtocolError(f"malformed {self.what}: {why} at byte {self.position}")

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        """Several fixed-size fields at once."""
        start = self.position
        self.position += layout.size
        if self.position > len(self.view):
            self.position = start
            raise self.fail("it ends early")
        return layout.unpack_from(self.view, start)

    def i16(self) -> int:
        return self.fields(_I16)[0]

    def i32(self) -> int:
        return self.fields(_I32)[0]

    def i64(self) -> int:
        return self.fields(_I64)[0]

    def raw(self, size: int) -> memoryview:
        """The next `size` bytes, not copied."""
        if not 0 <= size <= self.remaining:
            raise self.fail(f"a length of {size} with {self.remaining} bytes left")
        start = self.position
        self.position += size
        return self.view[start : self.position]

    def skip(self, expected: bytes) -> bool:
        """Steps over the next bytes if these are the `expected` ones."""
        stop = self.position + len(expected)
        if self.view[self.position : stop] != expected:
            return False
        self.position = stop
        return True

    def uvarint(self) -> int:
        """Unsigned varint of at most five bytes."""
        value = shift = 0
        view, position, end = self.view, self.position, len(self.view)
        while position < end and shift < 35:
            byte = view[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                self.position = position
                return value
            shift += 7
        raise self.fail("a bad varint")

    def count(self, *, compact: bool, nullable: bool = True) -> int:
        """Elements of an array; a null array counts 0, or is refused where it is not `nullable`."""
        count = self.uvarint() - 1 if compact else self.i32()
        if count == -1 and not nullable:
            raise self.fail("a null where an array must be")
        if count < -1 or count > self.remaining:
            raise self.fail(f"an array of {count} elements with {self.remaining} bytes left")
        return max(count, 0)

    def nullable_bytes(self, *, compact: bool) -> memoryview | None:
        """BYTES or RECORDS, not copied."""
        size = self.uvarint() - 1 if compact else self.i32()
        return None if size == -1 else self.raw(size)

    def nullable_string(self, *, compact: bool) -> str | None:
        size = self.uvarint() - 1 if compact else self.i16()
        if size == -1:
            return None
        try:
            return str(self.raw(size), "utf-8")
        except UnicodeDecodeError as error:
            raise self.fail("text that is not UTF-8") from error

    def string(self, *, compact: bool) -> str:
        text = self.nullable_string(compact=compact)
        if text is None:
            raise self.fail("a null where text must be")
        return text

    def tags(self, known: Callable[[int, Reader], None] | None = None) -> None:
        """The tagged fields at the end of a flexible structure; `known` gets each tag and a reader of its bytes."""
        for _ in range(self.uvarint()):
            tag = self.uvarint()
            content = self.raw(self.uvarint())
            if known is not None:
                known(tag, Reader(content, self.what))

    def end(self) -> None:
        """Checks that nothing is left over."""
        if self.remaining:
            raise self.fail(f"{self.remaining} bytes too many")
