"""What people write: options, patterns, names, settings, files of positions and offset maps."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tests.fuzz.engine import Target

from kafkeep import renaming, restore_reports, selection, settings
from kafkeep.cli import common, selectors
from kafkeep.groups import formats
from kafkeep.repository import names, nouns
from kafkeep.settings import loading, tables

# Options: the first byte names the parser.


def _rename(text: str) -> str:
    return renaming.renamed("orders", [renaming.Rename.parse(text)])


def _choose(text: str) -> tuple[str, ...]:
    return selection.Selection(include=common.parse_patterns(text)).pick(["orders", "__own", "a.b-c_d"])


def _names(text: str) -> None:
    """These raise ValueError or answer None."""
    for check in (names.check_object_name, names.check_prefix, names.check_hint_name, nouns.parse_time):
        try:
            check(text)
        except ValueError:
            continue
    parsed, number = names.parse_pack_name(text), names.log_number(text)
    assert parsed is None or names.check_object_name(text)
    assert number is None or names.log_name(number) == text


_PARSERS: Final[tuple[Callable[[str], Any], ...]] = (
    common.parse_duration,
    common.parse_size,
    common.parse_moment,
    common.parse_tag,
    selectors.parse_partitions,
    selectors.parse_until_offset,
    _rename,
    _choose,
    _names,
)


def run_options(data: bytes) -> None:
    if data:
        _PARSERS[data[0] % len(_PARSERS)](data[1:].decode(errors="replace")[:200])


def seeds_options() -> list[bytes]:
    texts = {
        0: ("1h30m", "500ms", "2.5d"),
        1: ("8MiB", "64M", "1.5 GB", "4096"),
        2: ("2026-11-20T10:00:00Z", "2026-11-20T11:00:00.123456+01:00", "0001-01-01T00:00:00+01:00"),
        3: ("change=4711", "a/b-c=x=y"),
        4: ("orders:0,2,5-7", "t:0-99"),
        5: ("orders/3=4711",),
        6: ("s/^/restored-/", "old=new", r"s|(o)(r)|\2\1|", "s,a{2,3},b,"),
        7: ("orders,billing-*", "re:o.*", "re:__.*", "[a-z]*,?"),
        8: ("log/000000000012", "kafkeep.json", "hint/head", "2026-11-20T10:00:00.123Z", f"doc/aa/{'a' * 64}"),
    }
    pack = names.pack_name(3, "01m7w6c848yjf9ef3wbnsfgtkt", "ab" * 32)
    return [bytes([which]) + text.encode() for which, each in texts.items() for text in each] + [
        b"\x08" + pack.encode()
    ]


OPTIONS: Final = Target(
    name="options",
    run=run_options,
    modules=(common, selectors, renaming, selection, names, nouns),
    seeds=seeds_options,
    tokens=(
        b"9" * 30,
        b"{",
        b"}",
        b"(",
        b")",
        b"[",
        b"]",
        b"\\",
        b"\\g<",
        b"4294967296",
        b"?P<",
        b"re:",
        b"-",
        b"s/",
        b"*",
    ),
)


# Files of positions: the first byte chooses CSV or JSON.


def run_positions(data: bytes) -> None:
    name = "positions.json" if data[:1] == b"[" else "positions.csv"
    found = formats.read_positions(data.decode(errors="replace"), name, group=None)
    written = formats.write_json(iter(found))
    assert [_plain(one) for one in formats.read_positions(written.text, "p.json")] == [_plain(one) for one in found]
    lines = formats.write_csv(iter(found))
    if lines.positions:
        kept = formats.read_positions(lines.text, "p.csv")
        assert {(one.group_id, one.target, one.offset) for one in kept} <= {
            (one.group_id, one.target, one.offset) for one in found
        }
        assert len(kept) == lines.positions


def _plain(one: formats.FilePosition) -> tuple[object, ...]:
    """No metadata and empty metadata are written alike."""
    return one.group_id, one.target, one.offset, one.metadata or "", one.share


def seeds_positions() -> list[bytes]:
    entry = {"group": "g", "topic": "t", "partition": 0, "offset": 5}
    more = [entry, entry | {"partition": 1, "metadata": "m"}, entry | {"group": "s", "type": "share"}]
    return [b"g,t,0,5\ng,t,1,6\n", b'"g ""x"",y",t,0,5\n', b"t,0,5\n", json.dumps(more).encode(), b"[]"]


POSITIONS: Final = Target(
    name="positions",
    run=run_positions,
    modules=(formats,),
    seeds=seeds_positions,
    tokens=(b'"', b'""', b",", b"\n", b"\r", b"\x00", b"\\ud800", b"\xef\xbb\xbf"),
    json=True,
)


# Files that are read by their path.


@lru_cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="kafkeep-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def run_settings(data: bytes) -> None:
    file = _folder() / "kafkeep.toml"
    file.write_bytes(data)
    loaded = settings.load(file, env={}, cwd=_folder(), home=_folder())
    assert loaded.settings is not None


def seeds_settings() -> list[bytes]:
    return [
        b'[cluster.a]\nbootstrap = "one:9092,[::1]:9093"\nsecurity = "plaintext"\n',
        (
            b'[cluster.a]\nbootstrap = ["one:9092"]\nsecurity = "sasl_tls"\n[cluster.a.tls]\nca_file = "ca.pem"\n'
            b'[cluster.a.sasl]\nmechanism = "SCRAM-SHA-256"\nusername = "u"\npassword = {file = "/run/x"}\n'
        ),
        b'[cluster.b.sasl]\nmechanism = "OAUTHBEARER"\ntoken = {command = ["a", "b"]}\n',
        b'[repository.main]\nurl = "file:///srv/x"\ncompression = "zstd"\n',
    ]


SETTINGS: Final = Target(
    name="settings",
    run=run_settings,
    modules=(loading, tables),
    seeds=seeds_settings,
    tokens=(
        b"[cluster.a]\n",
        b"[repository.a]\n",
        b'password = {env = "X"}\n',
        b'"',
        b"\n",
        b"{",
        b"[",
        b"= 1\n",
        b".",
    ),
)


def run_offset_map(data: bytes) -> None:
    file = _folder() / "map.json"
    file.write_bytes(data)
    for found in restore_reports.mapped_in_file(str(file)).values():
        found.offsets.translate(3)
        found.offsets.target_of(3)


def seeds_offset_map() -> list[bytes]:
    part = {
        "topic": "t",
        "topic_id": "A" * 22,
        "partition": 0,
        "lineage": 0,
        "target_topic": "t",
        "target_partition": 0,
    }
    part |= {"rows": [[0, 5, 3], [7, 8, 1]], "end": 20, "start": 0, "stop": 9, "complete": True}
    return [json.dumps({"partitions": [part, part | {"partition": 1, "start": None}]}).encode()]


OFFSET_MAP: Final = Target(
    name="offset-map-file", run=run_offset_map, modules=(restore_reports,), seeds=seeds_offset_map, json=True
)

TARGETS: Final = (OPTIONS, POSITIONS, SETTINGS, OFFSET_MAP)
