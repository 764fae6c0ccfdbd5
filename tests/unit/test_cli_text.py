"""What is shown is safe to look at, free of secrets, exact in JSON."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum, IntEnum
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.cli.jsonable import line, to_json
from kafkeep.cli.text import Redactor, count_text, duration_text, plural, safe, size_text
from kafkeep.errors import KafkaUnreachable
from kafkeep.model import BatchInfo, Gap, Generation, OffsetRange, TopicPartition
from kafkeep.secret import Secret

CANARY = 'p"ss wörd/with\\every+thing'


class TestSafe:
    @pytest.mark.parametrize(
        ("raw", "shown"),
        [
            ("orders", "orders"),
            ("\x1b[31mred", "\\x1b[31mred"),
            ("a\r\nb\tc\x00", "a\\x0d\\x0ab\\x09c\\x00"),
            ("\x9b0m", "\\x9b0m"),
            ("\u202egnp.exe", "\\u202egnp.exe"),
            ("zero\u200bwidth", "zero\\u200bwidth"),
            ("\u2028", "\\u2028"),
            ("\ud800", "\\ud800"),
            ("\U000e0001", "\\U000e0001"),
            ("größer → 注文", "größer → 注文"),
        ],
    )
    @pytest.mark.fault("P7")
    def test_escapes_what_can_move_a_cursor(self, raw: str, shown: str) -> None:
        assert safe(raw) == shown

    @given(st.text())
    @pytest.mark.fault("P7")
    def test_leaves_no_control_character(self, raw: str) -> None:
        shown = safe(raw)
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
        assert safe(shown) == shown

    def test_keeps_line_ends_of_tracebacks(self) -> None:
        assert safe("a\n\x1bb", keep_newlines=True) == "a\n\\x1bb"


class TestRedactor:
    @pytest.mark.parametrize(
        "form",
        [
            CANARY,
            repr(CANARY),
            repr({"password": CANARY}),
            json.dumps(CANARY),
            quote(CANARY, safe=""),
            base64.b64encode(CANARY.encode()).decode(),
            base64.urlsafe_b64encode(CANARY.encode()).decode(),
            CANARY.encode().hex(),
            repr(CANARY.encode()),
        ],
    )
    def test_finds_every_form(self, form: str) -> None:
        redact = Redactor()
        redact.add(Secret(CANARY))
        shown = redact(f"before {form} after")
        assert form not in shown
        assert 'p"ss' not in shown
        assert shown.startswith("before ")
        assert shown.endswith(" after")

    def test_longer_secrets_go_first(self) -> None:
        redact = Redactor()
        redact.add(Secret("abcd"))
        redact.add(Secret("abcdefgh"))
        assert redact("x abcdefgh y") == "x *** y"

    def test_short_secrets_do_not_blank_out_ordinary_text(self) -> None:
        redact = Redactor()
        redact.add(Secret("a"))
        assert redact("a cat") == "a cat"


class Colour(Enum):
    RED = "red"


class Code(IntEnum):
    NOT_LEADER = 6


@dataclass(frozen=True)
class Everything:
    secret: Secret
    raw: bytes
    colour: Colour
    code: Code
    moment: datetime
    span: timedelta
    path: Path
    number: int
    ratio: float
    nothing: None
    mapping: dict[TopicPartition, int]
    names: frozenset[str]


class TestJson:
    def test_every_kind_of_value(self) -> None:
        value = Everything(
            secret=Secret("hidden"),
            raw=b"\xff",
            colour=Colour.RED,
            code=Code.NOT_LEADER,
            moment=datetime(2026, 11, 20, 11, tzinfo=timezone(timedelta(hours=1))),
            span=timedelta(seconds=1.5),
            path=Path("/x"),
            number=2**63 - 1,
            ratio=float("inf"),
            nothing=None,
            mapping={TopicPartition("t", 1): 2},
            names=frozenset({"b", "a"}),
        )
        assert to_json(value) == {
            "secret": "***",
            "raw": "/w==",
            "colour": "red",
            "code": "NOT_LEADER",
            "moment": "2026-11-20T10:00:00.000Z",
            "span": 1.5,
            "path": "/x",
            "number": 9223372036854775807,
            "ratio": None,
            "nothing": None,
            "mapping": {"t/1": 2},
            "names": ["a", "b"],
        }

    def test_nested_nouns_and_named_tuples(self) -> None:
        gap = Gap(Generation("t", "id", 3), OffsetRange(1, 5), "retention", "seen", "2026-11-20T10:00:00Z")
        assert to_json([gap])[0]["offsets"] == {"start": 1, "stop": 5}
        info = BatchInfo(*range(13))
        assert list(to_json(info)) == list(BatchInfo._fields)

    def test_errors_become_what_an_error_line_says(self) -> None:
        found = to_json(KafkaUnreachable("no answer"))
        assert (found["slug"], found["message"], found["retryable"]) == ("kafka-unreachable", "no answer", True)

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(TypeError, match="no JSON form for StringIO"):
            to_json(io.StringIO())

    def test_a_time_without_a_zone_is_refused(self) -> None:
        with pytest.raises(ValueError, match="without a zone"):
            to_json(datetime(2026, 1, 1))  # noqa: DTZ001

    @given(st.integers() | st.text() | st.none() | st.booleans())
    def test_lines_are_ascii_and_exact(self, value: object) -> None:
        text = line({"value": to_json(value)})
        assert text.isascii()
        assert "\n" not in text
        assert json.loads(text)["value"] == value


def test_figures_for_people() -> None:
    assert [size_text(size) for size in (0, 999, 1000, 1_234_567, 123_456_789, 999_600_000, 10**19)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.23 MB",
        "123 MB",
        "1 GB",
        "10,000.0 PB",
    ]
    assert count_text(1234567) == "1 234 567"
    assert (plural(1, "record"), plural(0, "record"), plural(2, "entry", "entries")) == (
        "1 record",
        "0 records",
        "2 entries",
    )
    assert [duration_text(seconds) for seconds in (0.4, 67, 3723)] == ["0:00", "1:07", "1:02:03"]
