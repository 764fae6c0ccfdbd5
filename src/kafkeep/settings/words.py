"""Words and forms that settings and options share, and hints at the word that was meant. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, urlsplit

ALLOW_INSECURE: Final = "KAFKEEP_ALLOW_INSECURE"
SECURITY_NAMES: Final = {
    "plaintext": "PLAINTEXT",
    "tls": "SSL",
    "ssl": "SSL",
    "sasl_plaintext": "SASL_PLAINTEXT",
    "sasl_tls": "SASL_SSL",
    "sasl_ssl": "SASL_SSL",
}
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM")
_BOOTSTRAP = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")


def split_bootstrap(value: str) -> tuple[str, ...]:
    """`host:port,host:port` as a tuple; ValueError names what is wrong without repeating a possible secret."""
    servers = tuple(part.strip() for part in value.split(",") if part.strip())
    if not servers:
        raise ValueError("names no server")
    for server in servers:
        if "@" in server:
            raise ValueError("holds a user or secret before '@'; logins belong into the sasl table")
        match = _BOOTSTRAP.fullmatch(server)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError(f"{server!r} is not host:port")
    return servers


def check_url(value: str) -> str:
    """The URL or path itself; ValueError when it carries a user name or a secret."""
    if not value.strip() or "\0" in value:
        raise ValueError("should be a path or a URL")
    if "://" in value and "@" in _split(value).netloc:
        raise ValueError("holds a user or secret before '@'; secrets do not belong into a URL")
    return value


def check_endpoint(value: str) -> str:
    """The URL itself; ValueError when it is not https (or http on this host), or carries a user name or a secret."""
    parts = _split(value)
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in ("localhost", "127.0.0.1", "::1")):
        raise ValueError("should begin with https://")
    return check_url(value)


def check_service_url(value: str) -> str:
    """The URL of a REST interface, without a slash at its end; ValueError when it is none, or carries a secret."""
    parts = _split(check_url(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("should begin with https:// or http:// and name a host")
    if parts.query or parts.fragment:
        raise ValueError("holds a query or fragment; secrets do not belong into a URL")
    return value.rstrip("/")


def _split(value: str) -> SplitResult:
    """As the standard library's `urlsplit`, whose errors hold parts of the URL."""
    try:
        return urlsplit(value)
    except ValueError:
        raise ValueError("is not a URL") from None


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, or all of them when none is near."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names)}." if names else "None is configured."
