"""The few requests a lab makes of its own brokers, over a plain loopback socket.

The lab must not depend on the code it helps to test, so it does not use the kafka room. Layouts: the message
definitions of Apache Kafka (clients/src/main/resources/common/message).
"""

from __future__ import annotations

import hashlib
import socket
import struct

from kafkeep.errors import LabError
from kafkeep.records import dataclass

_METADATA, _API_VERSIONS, _DESCRIBE_SCRAM, _ALTER_SCRAM = 3, 18, 50, 51
_CLIENT_ID = b"kafkeep-lab"
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
MECHANISMS = {"SCRAM-SHA-256": 1, "SCRAM-SHA-512": 2}
_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_ITERATIONS = 4096
_RESOURCE_NOT_FOUND = 91


@dataclass(frozen=True, slots=True)
class ScramUser:
    """A credential as AlterUserScramCredentials takes it: the salted password never holds the password itself."""

    name: str
    mechanism: str
    salt: bytes
    salted_password: bytes

    @classmethod
    def of(cls, name: str, password: str, mechanism: str, salt: bytes) -> ScramUser:
        salted = hashlib.pbkdf2_hmac(_HASHES[mechanism], password.encode(), salt, _ITERATIONS)
        return cls(name, mechanism, salt, salted)


def brokers(port: int, *, timeout_seconds: float = 5.0) -> frozenset[int]:
    """The node ids a broker lists as alive. Raises OSError while it does not answer, LabError on a senseless answer."""
    with socket.create_connection(("127.0.0.1", port), timeout_seconds) as connection:
        versions = _call(connection, _API_VERSIONS, 0, b"", flexible=False)
        if versions.int16() != 0:
            raise LabError(f"broker on port {port} refuses ApiVersions")
        answer = _call(connection, _METADATA, 1, struct.pack(">i", 0), flexible=False)
        found = set()
        for _ in range(answer.int32()):
            found.add(answer.int32())
            answer.string()
            answer.int32()
            answer.string()
        return frozenset(found)


def put_scram_users(port: int, users: list[ScramUser], *, timeout_seconds: float = 30.0) -> None:
    """Creates or replaces credentials (KIP-554); durable when it returns, known to each broker a moment later."""
    body = b"\x01" + _varint(len(users) + 1)
    for user in users:
        body += _compact(user.name.encode()) + struct.pack(">bi", MECHANISMS[user.mechanism], _ITERATIONS)
        body += _compact(user.salt) + _compact(user.salted_password) + b"\x00"
    with socket.create_connection(("127.0.0.1", port), timeout_seconds) as connection:
        answer = _call(connection, _ALTER_SCRAM, 0, body + b"\x00", flexible=True)
    answer.int32()
    for _ in range(answer.varint() - 1):
        name, error, message = answer.compact(), answer.int16(), answer.compact()
        answer.skip_tags()
        if error:
            raise LabError(f"broker refuses SCRAM user {name.decode()}: error {error} {message.decode()}")


def knows_scram_users(port: int, names: frozenset[str], *, timeout_seconds: float = 5.0) -> bool:
    """True when this broker itself holds credentials of every name."""
    body = _varint(len(names) + 1) + b"".join(_compact(name.encode()) + b"\x00" for name in sorted(names)) + b"\x00"
    with socket.create_connection(("127.0.0.1", port), timeout_seconds) as connection:
        answer = _call(connection, _DESCRIBE_SCRAM, 0, body, flexible=True)
    answer.int32()
    if answer.int16() != 0:
        return False
    answer.compact()
    found = set()
    for _ in range(answer.varint() - 1):
        name, error = answer.compact(), answer.int16()
        answer.compact()
        for _ in range(answer.varint() - 1):
            answer.take(5)
            answer.skip_tags()
        answer.skip_tags()
        if error not in (0, _RESOURCE_NOT_FOUND):
            raise LabError(f"broker on port {port} does not describe SCRAM user {name.decode()}: error {error}")
        if error == 0:
            found.add(name.decode())
    return found >= names


def _call(connection: socket.socket, key: int, version: int, body: bytes, *, flexible: bool) -> _Reader:
    header = struct.pack(">hhih", key, version, 1, len(_CLIENT_ID)) + _CLIENT_ID + (b"\x00" if flexible else b"")
    connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
    (size,) = struct.unpack(">i", _receive(connection, 4))
    if not 4 <= size <= _MAX_ANSWER_BYTES:
        raise LabError(f"broker answers with an impossible length {size}")
    answer = _Reader(_receive(connection, size))
    answer.int32()
    if flexible:
        answer.skip_tags()
    return answer


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("broker closed the connection")
        data += part
    return bytes(data)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _compact(data: bytes) -> bytes:
    return _varint(len(data) + 1) + data


class _Reader:
    """Takes fields from the front of an answer; LabError when it is too short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._data):
            raise LabError("broker answers with a truncated message")
        self._at += size
        return self._data[self._at - size : self._at]

    def int16(self) -> int:
        return int.from_bytes(self.take(2), signed=True)

    def int32(self) -> int:
        return int.from_bytes(self.take(4), signed=True)

    def string(self) -> bytes:
        """A nullable string; null reads as empty, which is enough here."""
        return self.take(max(self.int16(), 0))

    def varint(self) -> int:
        number = shift = 0
        while (byte := self.take(1)[0]) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
        return number | byte << shift

    def compact(self) -> bytes:
        return self.take(max(self.varint() - 1, 0))

    def skip_tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.take(self.varint())
