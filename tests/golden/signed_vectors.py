"""The vectors of docs/format.md about signatures, as the code makes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from kafkeep.repository.changes import RaiseEpoch
from kafkeep.repository.envelope import Kind, wrap
from kafkeep.repository.format import Commit, encode_commit, unsigned_text
from kafkeep.repository.signing import SigningKey, signer_text
from kafkeep.repository.trust import Signature, encode_signature, report_text, signed_text

REPOSITORY: Final = "000102030405060708090a0b0c0d0e0f"
PRIVATE: Final = bytes(range(1, 33))
KEY: Final = SigningKey(PRIVATE)
COMMIT: Final = Commit(
    seq=7,
    prev="ab" * 32,
    kind="epoch",
    writer="cd" * 16,
    epoch=0,
    started="2026-11-20T10:00:00Z",
    finished="2026-11-20T10:00:01Z",
    tool="é",
    change=RaiseEpoch(1),
)


def signed_vectors() -> dict[str, tuple[str, str]]:
    """Name, description and bytes in hexadecimal."""
    text = signed_text(REPOSITORY, unsigned_text(COMMIT))
    signature = Signature(KEY.id, KEY.sign(text))
    report: dict[str, object] = {"kind": "verified", "name": "audit/x", "repository": REPOSITORY}
    report |= {"time": "2026-11-20T10:00:00Z", "value": {"head": 7}}
    report["signature"] = encode_signature(Signature(KEY.id, KEY.sign(report_text(REPOSITORY, report))))
    signer = signer_text(KEY.public)
    return {
        "signer": ("the public key of the Ed25519 private key 010203…20", KEY.public),
        "signer-text": (f"{signer} in ASCII", signer.encode().hex()),
        "signing-key-text": (f"{KEY.reveal()} in ASCII", KEY.reveal().encode().hex()),
        "signed-text": ("of commit 7 below, in repository 000102…0e0f", text.hex()),
        "signature": ("of that text by that key", signature.value),
        "signed-commit": ("commit 7, kind epoch", encode_commit(replace(COMMIT, signature=signature)).hex()),
        "signed-report": ("a report in that repository", wrap(Kind.AUDIT, report).hex()),
    }
