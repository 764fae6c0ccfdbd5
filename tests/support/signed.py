"""Requests to an S3 service without kafkeep and without obstore: what an independent client sees and may do."""

from __future__ import annotations

import hashlib
import hmac
import http.client
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from tests.support.versitygw import S3Server


class Answered(Exception):
    """The service refused; `status` and `body` are its answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body[:300].decode(errors='replace')}")
        self.status = status
        self.body = body


def s3_call(
    server: S3Server,
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> tuple[Mapping[str, str], bytes]:
    """Headers (lower case) and body of the answer to a request signed as Amazon documents it (Signature Version 4).

    Raises `Answered` for a status of 300 or more.
    """
    place = urlsplit(server.endpoint)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    payload = hashlib.sha256(body).hexdigest()
    sent = {
        "host": place.netloc,
        "x-amz-content-sha256": payload,
        "x-amz-date": stamp,
        **{name.lower(): value for name, value in (headers or {}).items()},
    }
    names = sorted(sent)
    target = quote(path)
    asked = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in sorted((query or {}).items()))
    canonical = "\n".join(
        [method, target, asked, *(f"{name}:{sent[name]}" for name in names), "", ";".join(names), payload]
    )
    scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{server.secret_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    sent["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={server.access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={key.hex()}"
    )
    connection = http.client.HTTPConnection(place.netloc, timeout=30)
    try:
        connection.request(method, target + (f"?{asked}" if asked else ""), body, sent)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise Answered(answer.status, data)
        return {name.lower(): value for name, value in answer.getheaders()}, data
    finally:
        connection.close()
