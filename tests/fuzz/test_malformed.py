"""Every input that was a finding once, and those that reach what is hard to reach: parsed, or refused in the same way."""

from __future__ import annotations

import gzip

import pytest
from tests.fuzz.engine import PARSED, outcome
from tests.fuzz.malformed import Malformed, corpus
from tests.fuzz.targets import TARGETS

CORPUS = corpus()
TWO_MIB = 2 * 1024 * 1024
TINY = {
    "gzip members": b"\x01" + gzip.compress(b"", mtime=0) * (TWO_MIB // 20),
    "xerial blocks": b"\x02\x82SNAPPY\x00" + bytes(8) + b"\x00\x00\x00\x01\x00" * (TWO_MIB // 20),
    "lz4 frames": b"\x03" + (b"\x04\x22\x4d\x18\x60\x70\x73" + bytes(4)) * (TWO_MIB // 11),
    "zstd frames": b"\x04" + b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00" * (TWO_MIB // 9),
}


@pytest.mark.parametrize("case", CORPUS, ids=[f"{case.target}-{index}" for index, case in enumerate(CORPUS)])
@pytest.mark.fault("P1")
def test_it_is_refused_as_it_was(case: Malformed) -> None:
    assert outcome(TARGETS[case.target], case.data) == case.outcome, case.why


def test_every_target_has_its_cases() -> None:
    assert {case.target for case in CORPUS} == set(TARGETS)
    assert len({(case.target, case.data) for case in CORPUS}) == len(CORPUS)


@pytest.mark.parametrize("what", TINY)
def test_many_pieces_without_content_take_linear_time(what: str) -> None:
    """A batch of any client may hold them: what copies the rest, or sets memory aside, for each takes minutes."""
    assert outcome(TARGETS["payload"], TINY[what]) == PARSED
