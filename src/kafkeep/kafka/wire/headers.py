"""Message headers: what stands before the body of every request and answer. Pure.

Schema: RequestHeader.json and ResponseHeader.json; which calls are flexible from which version on (KIP-482) is each
message's `flexibleVersions`, here of Apache Kafka 3.9 and 4.3. Newer calls are flexible from their version 0 on.
"""

from __future__ import annotations

import struct
from typing import Final

from kafkeep.kafka.wire.primitives import NO_TAGS

API_VERSIONS: Final = 18
_REQUEST: Final = struct.Struct(">ihhi")
_SIZE_BYTES: Final = 4
_NEVER: Final = 1 << 15
_FIRST_BY_KEY: Final = (
    *(9, 12, 6, 9, 4, 2, 6, 3, 8, 6, 3, 6, 4, 4, 4, 5, 3, _NEVER, 3, 5),
    *(4, 2, 2, 4, 3, 3, 3, 1, 3, 2, 2, 2, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1),
)
"""First flexible version of the calls 0 to 44."""
_FIRST_OF_OTHERS: Final = {47: _NEVER, 48: 1, 49: 1, 53: 1, 54: 1}


def flexible(api_key: int, version: int) -> bool:
    """True when request and answer are of the flexible kind."""
    if 0 <= api_key < len(_FIRST_BY_KEY):
        return version >= _FIRST_BY_KEY[api_key]
    return version >= _FIRST_OF_OTHERS.get(api_key, 0)


def flexible_answer_header(api_key: int, version: int) -> bool:
    """True when the answer's header has tagged fields; never for ApiVersions, so that any client can read it."""
    return api_key != API_VERSIONS and flexible(api_key, version)


def request_header(api_key: int, version: int, correlation_id: int, client_id: bytes, body_bytes: int) -> bytes:
    """Size and header of a request; `client_id` is a STRING as it goes on the wire."""
    rest = client_id + NO_TAGS if flexible(api_key, version) else client_id
    size = _REQUEST.size - _SIZE_BYTES + len(rest) + body_bytes
    return _REQUEST.pack(size, api_key, version, correlation_id) + rest
