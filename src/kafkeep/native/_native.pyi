"""What the C helper offers. Only kafkeep.native imports it."""

from collections.abc import Callable
from typing import Final

from kafkeep.native import Bytes, Hasher

API: Final[int]
CRC32C_WAY: Final[str]

# crc32c.c

def crc32c(data: Bytes, before: int = 0, /) -> int: ...
def crc32c_by_table(data: Bytes, before: int = 0, /) -> int: ...
def crc32c_by_instruction(data: Bytes, before: int = 0, /) -> int: ...

# walk.c

def walk(view: Bytes, verify: bool, position: int, next_offset: int, /) -> tuple[bytes, int, int]: ...
def ends(rows: Bytes, /) -> bytes: ...
def summary(rows: Bytes, /) -> tuple[int, ...] | None: ...
def pieces(rows: Bytes, room: int, target: int, /) -> list[tuple[int, int, tuple[int, ...]]] | None: ...
def address(data: Bytes, /) -> int: ...
def same(data: Bytes, rows: Bytes, /) -> bool: ...
def hashed(
    hasher: Hasher, fresh: Callable[[], Hasher], data: Bytes, rows: Bytes, stops: list[int], begins: bool, /
) -> tuple[Hasher, list[str], bool]: ...

# repack.c

def uninitialised(size: int, /) -> bytearray: ...
def append_records(
    out: bytearray,
    filled: int,
    records: int,
    base: int,
    latest: int,
    payload: Bytes,
    count: int,
    base_timestamp: int,
    /,
) -> tuple[int, int, int, int] | None: ...
def append_batches(
    out: bytearray,
    filled: int,
    records: int,
    base: int,
    latest: int,
    chunk: Bytes,
    position: int,
    next_offset: int,
    start: int,
    stop: int,
    largest: int,
    most: int,
    bound: int,
    /,
) -> tuple[int, int, int, int, int, int, int, list[tuple[int, int]]]: ...
def stamped(
    chunk: Bytes,
    position: int,
    next_offset: int,
    start: int,
    stop: int,
    joining: tuple[int, int, int, int, int],
    producer_id: int,
    producer_epoch: int,
    base_sequence: int,
    /,
) -> tuple[list[tuple[bytes, int, int, int, int]], int, int]: ...
