"""Names: what is built is accepted and parsed back, and nothing else leads anywhere."""

from __future__ import annotations

import posixpath
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafkeep.repository import names

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
MOMENTS = st.integers(0, 10**13).map(lambda ms: datetime(1971, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))
EPOCHS = st.integers(0, 2**32 - 1)
RANDOM = st.binary(min_size=10, max_size=10)


@settings(deadline=None)
@given(EPOCHS, MOMENTS, RANDOM, HEX)
def test_pack_names_tell_epoch_and_digest(epoch: int, moment: datetime, random: bytes, root: str) -> None:
    name = names.check_object_name(names.pack_name(epoch, names.ulid(moment, random), root))
    parsed = names.parse_pack_name(name)
    assert parsed is not None
    assert (parsed.epoch, parsed.h16) == (epoch, root[:16])
    assert name.startswith(f"pack/{root[:2]}/")


@settings(deadline=None)
@given(st.integers(0, names.LAST_NUMBER))
def test_commit_names_tell_their_number(number: int) -> None:
    assert names.log_number(names.check_object_name(names.log_name(number))) == number


@settings(deadline=None)
@given(st.integers(0, names.LAST_NUMBER), st.integers(0, names.LAST_NUMBER))
def test_commit_names_sort_by_number(one: int, other: int) -> None:
    assert (names.log_name(one) < names.log_name(other)) == (one < other)


@settings(deadline=None)
@given(HEX, MOMENTS, RANDOM)
def test_documents_and_reports_have_valid_names(digest: str, moment: datetime, random: bytes) -> None:
    names.check_object_name(names.document_name(digest))
    names.check_object_name(names.audit_name(moment, names.ulid(moment, random)))


@settings(deadline=None)
@given(MOMENTS, st.integers(1, 10**6), RANDOM, RANDOM)
def test_ulids_sort_by_time(moment: datetime, later: int, one: bytes, other: bytes) -> None:
    assert names.ulid(moment, one) < names.ulid(moment + timedelta(milliseconds=later), other)
    assert len(names.ulid(moment, one)) == 26


def test_a_ulid_is_as_its_specification_says() -> None:
    moment = datetime(2016, 7, 30, 22, 36, 16, 385000, UTC)
    assert names.ulid(moment, b"\0" * 10) == "01aryz6s41" + "0" * 16
    assert names.ulid(moment, b"\xff" * 10) == "01aryz6s41" + "z" * 16
    with pytest.raises(ValueError, match="10 random bytes"):
        names.ulid(datetime.now(UTC), b"x")


@settings(deadline=None)
@given(st.text(max_size=40) | st.text("abl./og-_0\0\n\\", max_size=20).map(lambda tail: "log/" + tail))
def test_a_name_that_is_accepted_stays_below_its_root(name: str) -> None:
    try:
        names.check_object_name(name)
    except ValueError:
        return
    assert posixpath.normpath(posixpath.join("/store", name)) == f"/store/{name}"
    assert name == name.lower()
    assert name.isascii()
    assert not any(part.startswith(".") for part in name.split("/"))


@settings(deadline=None)
@given(st.text(max_size=60))
def test_foreign_names_parse_as_nothing(name: str) -> None:
    assert names.parse_pack_name(name) is None
    assert names.log_number(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "pack/ab/0-01m7w6c65rrc2bvz3a47jygnm8-cb00000000000000",
        "pack/ab/00-01m7w6c65rrc2bvz3a47jygnm8-ab00000000000000",
        "pack/ab/4294967296-01m7w6c65rrc2bvz3a47jygnm8-ab00000000000000",
        "pack/ab/0-81m7w6c65rrc2bvz3a47jygnm8-ab00000000000000",
        "pack/ab/0-01m7w6c65rrc2bvz3a47jygnml-ab00000000000000",
        "pack/ab/0-01m7w6c65rrc2bvz3a47jygnm8-ab0000000000000",
        "pack/ab/-01m7w6c65rrc2bvz3a47jygnm8-ab00000000000000",
        "pack/ab/0-01m7w6c65rrc2bvz3a47jygnm8-ab00000000000000\n",
    ],
)
def test_pack_names_of_another_shape_are_none(name: str) -> None:
    assert names.parse_pack_name(name) is None


def test_numbers_out_of_range_have_no_name() -> None:
    for number in (-1, names.LAST_NUMBER + 1):
        with pytest.raises(ValueError, match="not a commit number"):
            names.log_name(number)
