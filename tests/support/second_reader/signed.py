"""The second reader's knowledge of signed repositories, written from docs/format.md alone."""

from __future__ import annotations

import json
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WRITERS_SIGN = ("add", "recovery-point", "compact")


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def key_id(public: str) -> str:
    return blake3(bytes.fromhex(public)).hexdigest()[:16]


def signed_text(what: str, repository_id: str, value: dict[str, Any]) -> bytes:
    """What is signed of a commit or a report."""
    unsigned = {name: one for name, one in value.items() if name != "signature"}
    return f"kafkeep 1 {what}\0".encode() + bytes.fromhex(repository_id) + blake3(canonical(unsigned)).digest()


def verifies(public: str, signature: str, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), signed)
    except InvalidSignature:
        return False
    return True


class Signed:
    """Whom the commits so far trust. `base` is the second reader itself, for what it checks with."""

    def __init__(self, repository: dict[str, Any], base: Any) -> None:
        self.base, self.id = base, repository["id"]
        key = {"public": base.HEX64, "role": lambda role: role in ("admin", "writer"), "name": base.text(200)}
        self.shapes: dict[str, dict[str, Any]] = {
            "trust": key,
            "distrust": {"public": base.HEX64},
            "state": {"document": base.HEX64},
        }
        admins = repository.get("admins")
        base.shaped(admins, [key], "admins")
        self.trusted: list[dict[str, str]] = [dict(one) for one in admins]
        base.check(admins != [] and all(one["role"] == "admin" for one in admins), "admins that are none")
        base.check(len({one["public"] for one in admins}) == len(admins), "an admin twice")

    def check(self, commit: dict[str, Any]) -> None:
        """That a commit may count: signed, by somebody who may."""
        check = self.base.check
        check("signature" in commit, "not signed")
        signature = commit["signature"]
        key = next((one for one in self.trusted if key_id(one["public"]) == signature["key"]), None)
        check(key is not None, "signed by nobody who is trusted")
        assert key is not None
        check(key["role"] == "admin" or commit["kind"] in WRITERS_SIGN, "signed by a writer")
        good = verifies(key["public"], signature["value"], signed_text("commit", self.id, commit))
        check(good, "a signature of something else")

    def trusts(self, report: dict[str, Any]) -> bool:
        """Whether a report counts as evidence."""
        signature = report.get("signature", {"key": ""})
        signed = signed_text("report", self.id, report)
        return any(
            key_id(one["public"]) == signature["key"] and verifies(one["public"], signature["value"], signed)
            for one in self.trusted
        )

    def _after(self, kind: str, body: dict[str, Any]) -> list[dict[str, str]]:
        left = [one for one in self.trusted if one["public"] != body["public"]]
        return [*left, {name: body[name] for name in ("public", "role", "name")}] if kind == "trust" else left

    def check_decision(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "state":
            return
        after = self._after(kind, body)
        if kind == "trust":
            self.base.check(after[-1] not in self.trusted, "trusted already")
        else:
            self.base.check(after != self.trusted, "trusted by nobody")
        self.base.check(any(one["role"] == "admin" for one in after), "no admin left")

    def decide(self, kind: str, body: dict[str, Any]) -> None:
        if kind != "state":
            self.trusted = self._after(kind, body)
