"""Answers to DescribeConfigs are read as kafka-python's generated codec reads them, whatever resources share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.errors import KafkaProtocolError
from kafkeep.kafka import apis
from kafkeep.kafka.wire.describe_configs import (
    API_KEY,
    HIGHEST,
    LOWEST,
    ConfigEntry,
    DescribedConfigs,
    DescribedResource,
    decode_describe_configs,
)
from kafkeep.kafka.wire.primitives import Reader

RESPONSE = apis.DESCRIBE_CONFIGS.response
VERSIONS = st.integers(LOWEST, HIGHEST)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)
VALUES = st.none() | NAMES
I8 = st.integers(-128, 127)
ENTRIES = st.builds(ConfigEntry, NAMES, VALUES, I8, st.booleans(), st.booleans())
FEW = st.lists(ENTRIES, min_size=1, max_size=4).flatmap(
    lambda known: st.lists(st.lists(st.sampled_from(known), max_size=6), max_size=8)
)
"""The configs of resources that mostly say the same, in the same or another order."""
SYNONYMS = st.lists(st.tuples(NAMES, VALUES, I8), max_size=2)


def answer(
    version: int,
    told: Sequence[Sequence[ConfigEntry]],
    *,
    throttle: int = 0,
    error: tuple[int, str | None] = (0, None),
    synonyms: Sequence[tuple[str, str | None, int]] = (),
    documentation: str | None = None,
) -> bytes:
    """As a broker writes it."""
    result = RESPONSE.DescribeConfigsResult
    config = result.DescribeConfigsResourceResult
    later = {"config_type": 2, "documentation": documentation} if version >= 3 else {}

    def described(entry: ConfigEntry) -> Any:
        return config(
            version=version,
            name=entry.name,
            value=entry.value,
            read_only=entry.read_only,
            config_source=entry.source,
            is_sensitive=entry.sensitive,
            synonyms=[
                config.DescribeConfigsSynonym(version=version, name=name, value=value, source=source)
                for name, value, source in synonyms
            ],
            **later,
        )

    results = [
        result(
            version=version,
            error_code=error[0],
            error_message=error[1],
            resource_type=2,
            resource_name=f"topic-{number}",
            configs=[described(entry) for entry in entries],
        )
        for number, entries in enumerate(told)
    ]
    return bytes(RESPONSE(version=version, throttle_time_ms=throttle, results=results).encode(version=version))


def read(version: int, data: bytes) -> DescribedConfigs:
    return decode_describe_configs(version, Reader(memoryview(data), "answer"))


def test_it_is_the_request_that_its_number_says() -> None:
    known = apis.DESCRIBE_CONFIGS
    assert (known.key, known.lowest, known.highest) == (API_KEY, LOWEST, HIGHEST)


@given(VERSIONS, FEW, st.integers(0, (1 << 31) - 1), SYNONYMS, VALUES)
def test_answers_are_read_as_they_were_written(
    version: int,
    told: list[list[ConfigEntry]],
    throttle: int,
    synonyms: list[tuple[str, str | None, int]],
    documentation: str | None,
) -> None:
    data = answer(version, told, throttle=throttle, synonyms=synonyms, documentation=documentation)
    found = read(version, data)
    assert found == DescribedConfigs(
        throttle,
        [
            DescribedResource(0, None, 2, f"topic-{number}", tuple(sorted(entries, key=lambda entry: entry.name)))
            for number, entries in enumerate(told)
        ],
    )
    assert all(type(entry.sensitive) is bool for each in found.results for entry in each.configs)


@given(VERSIONS, st.integers(1, 200), VALUES)
def test_a_refusal_is_read(version: int, code: int, message: str | None) -> None:
    (found,) = read(version, answer(version, [[]], error=(code, message))).results
    assert (found.error_code, found.error_message, found.configs) == (code, message, ())


@pytest.mark.parametrize("version", range(LOWEST, HIGHEST + 1))
def test_resources_share_what_they_have_in_common(version: int) -> None:
    entries = [ConfigEntry(f"c{number}", str(number), 5, False, False) for number in range(30)]
    own = [*entries[:7], ConfigEntry("c7", "another", 1, False, False), *entries[8:]]
    first, second, third = read(version, answer(version, [entries, entries, own])).results
    assert first.configs is second.configs
    assert [one is other for one, other in zip(first.configs, third.configs, strict=True)].count(False) == 1


def test_tagged_fields_are_stepped_over() -> None:
    entries = [ConfigEntry("a", "1", 5, False, False)]
    data = answer(4, [entries, entries])
    # The last three bytes: no tagged fields of the config, of the resource, of the answer.
    assert data.endswith(b"\0\0\0")
    tagged = data[:-3] + b"\x01\x00\x01x" + b"\x01\x03\x00" + b"\x01\x09\x01t"
    assert read(4, tagged) == read(4, data)


@given(VERSIONS, st.data())
def test_damaged_answers_are_refused(version: int, data: st.DataObject) -> None:
    whole = answer(version, [[ConfigEntry("a", "1", 5, False, False)]] * 3)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (whole[:cut], whole + b"\0"):
        with pytest.raises(KafkaProtocolError, match="malformed answer"):
            read(version, damaged)


@pytest.mark.parametrize("version", [3, 4])
def test_a_null_is_not_taken_for_nothing(version: int) -> None:
    null = b"\0" if version == 4 else b"\xff\xff\xff\xff"
    with pytest.raises(KafkaProtocolError, match="a null where an array must be"):
        read(version, b"\0\0\0\0" + null + (b"\0" if version == 4 else b""))
