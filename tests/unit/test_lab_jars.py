"""The pinned jar lists, and the cache they are brought into: a real HTTP server stands for Maven Central."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from kafkeep.errors import LabError, MissingDependency
from kafkeep.lab import cache, jarlist
from kafkeep.lab.jarlist import PINNED_VERSIONS, Jar, parse, pinned

GOOD = "a" * 64


def jar_of(name: str, data: bytes, version: str = "1.0") -> Jar:
    return Jar("org.example", name, version, "", hashlib.sha256(data).hexdigest())


ALPHA, BETA = jar_of("alpha", b"alpha bytes"), jar_of("beta", b"beta bytes")
CONTENT = {"alpha": b"alpha bytes", "beta": b"beta bytes"}


class Maven:
    """A Maven repository on loopback: `served` by artefact name, `asked` for which jars in order."""

    def __init__(self) -> None:
        self.served = dict(CONTENT)
        self.asked: list[str] = []
        self.failures = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        name = request.path.split("/")[-3]
        if not request.path.endswith(".jar"):
            request.send_error(404)
            return
        self.asked.append(name)
        data = self.served.get(name)
        if data is None:
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if self.failures:
            self.failures -= 1
            data = data[:-3]
        request.wfile.write(data)

    def settings(self) -> str:
        url = f"http://127.0.0.1:{self.server.server_address[1]}/m2"
        return (
            '<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors><mirror><id>m</id>'
            f"<url>{url}</url><mirrorOf>central</mirrorOf></mirror></mirrors></settings>"
        )


@pytest.fixture
def maven(tmp_path: Path) -> Iterator[Maven]:
    maven = Maven()
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text(maven.settings())
    yield maven
    maven.server.shutdown()
    maven.server.server_close()


def bring(home: Path, *jars: Jar) -> Path:
    folder = home / "cache" / "kafka" / "0"
    cache.bring(folder, jars, env={"HOME": str(home)})
    return folder


def jars_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.jar")}


# --- lists -----------------------------------------------------------------------------------------------------------


def test_a_line_is_coordinates_and_a_digest() -> None:
    text = f"# a comment\n\norg.x:thing:1.2 {GOOD}\norg.x:thing:1.2:linux {'b' * 64}\n"
    one, two = parse(text, source="list")
    assert (one, two) == (Jar("org.x", "thing", "1.2", "", GOOD), Jar("org.x", "thing", "1.2", "linux", "b" * 64))
    assert (one.file_name, two.file_name) == ("thing-1.2.jar", "thing-1.2-linux.jar")
    assert (str(one), str(two)) == ("org.x:thing:1.2", "org.x:thing:1.2:linux")


@pytest.mark.parametrize(
    "line",
    ["org.x:thing:1.2", f"org.x:thing {GOOD}", f"org.x:thing:1.2 {GOOD[:-1]}", f"org.x:../thing:1.2 {GOOD}", "x"],
)
def test_a_malformed_line_is_named(line: str) -> None:
    with pytest.raises(LabError, match="jar list list is malformed in line 2"):
        parse(f"org.x:first:1 {GOOD}\n{line}\n", source="list")


def test_a_file_name_may_come_only_once() -> None:
    with pytest.raises(LabError, match=r"thing-1\.2\.jar twice, again in line 2"):
        parse(f"org.x:thing:1.2 {GOOD}\norg.y:thing:1.2 {GOOD}\n", source="list")


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(LabError, match="empty"):
        parse("# nothing\n", source="list")


@pytest.mark.parametrize("version", PINNED_VERSIONS)
def test_the_pinned_lists_hold_a_whole_kafka_of_their_version(version: str) -> None:
    jars = {jar.artifact: jar for jar in pinned(version)}
    for artifact in ("kafka_2.13", "kafka-clients", "kafka-tools", "kafka-server", "kafka-storage"):
        assert jars[artifact].version == version
    assert {"scala-library", "zstd-jni", "snappy-java", "lz4-java", "slf4j-api"} <= jars.keys()
    assert ("log4j-core" in jars) == version.startswith("4")
    assert ("reload4j" in jars) == version.startswith("3")


def test_another_version_is_refused_with_a_way_out() -> None:
    with pytest.raises(LabError, match=r"kafka 2\.8\.0 is not pinned") as caught:
        pinned("2.8.0")
    assert "KAFKA_HOME" in caught.value.hint
    assert all(version in caught.value.hint for version in jarlist.PINNED_VERSIONS)


# --- the cache -------------------------------------------------------------------------------------------------------


def test_jars_are_fetched_once_and_checked(maven: Maven, tmp_path: Path) -> None:
    folder = bring(tmp_path, ALPHA, BETA)
    assert jars_in(folder) == {"alpha-1.0.jar": b"alpha bytes", "beta-1.0.jar": b"beta bytes"}
    assert sorted(maven.asked) == ["alpha", "beta"]
    bring(tmp_path, ALPHA, BETA)
    assert len(maven.asked) == 2
    assert {path.name for path in folder.iterdir()} == {"alpha-1.0.jar", "beta-1.0.jar", cache.STAMP}


def test_bytes_that_do_not_match_are_never_used(maven: Maven, tmp_path: Path) -> None:
    maven.served["beta"] = b"evil bytes"
    with pytest.raises(LabError, match=r"cannot fetch org\.example:beta:1\.0 .*do not match the pinned SHA-256"):
        bring(tmp_path, ALPHA, BETA)
    folder = tmp_path / "cache" / "kafka" / "0"
    assert "beta-1.0.jar" not in jars_in(folder)
    assert not (folder / cache.STAMP).exists()
    assert [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == b"evil bytes"] == []


def test_a_broken_download_is_tried_again(maven: Maven, tmp_path: Path) -> None:
    maven.failures = 1
    assert jars_in(bring(tmp_path, ALPHA)) == {"alpha-1.0.jar": b"alpha bytes"}
    assert maven.asked == ["alpha", "alpha"]


def test_a_jar_that_is_not_there_is_named_with_a_hint(maven: Maven, tmp_path: Path) -> None:
    del maven.served["beta"]
    with pytest.raises(LabError, match=r"cannot fetch org\.example:beta:1\.0 from http://127") as caught:
        bring(tmp_path, BETA)
    assert "KAFKA_HOME" in caught.value.hint


def test_what_is_there_already_is_not_fetched_again(maven: Maven, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "kafka" / "0"
    folder.mkdir(parents=True)
    (folder / ALPHA.file_name).write_bytes(b"alpha bytes")
    bring(tmp_path, ALPHA, BETA)
    assert maven.asked == ["beta"]


@pytest.mark.parametrize("change", ["content", "missing", "stamp"])
def test_a_cache_that_was_changed_is_mended(maven: Maven, tmp_path: Path, change: str) -> None:
    folder = bring(tmp_path, ALPHA, BETA)
    if change == "content":
        (folder / ALPHA.file_name).write_bytes(b"other bytes")
    elif change == "missing":
        (folder / ALPHA.file_name).unlink()
    else:
        (folder / cache.STAMP).write_text("{")
    bring(tmp_path, ALPHA, BETA)
    assert jars_in(folder) == {"alpha-1.0.jar": b"alpha bytes", "beta-1.0.jar": b"beta bytes"}
    assert maven.asked.count("alpha") == (1 if change == "stamp" else 2)


def test_a_stranger_in_the_folder_does_not_get_onto_the_class_path(maven: Maven, tmp_path: Path) -> None:
    folder = bring(tmp_path, ALPHA)
    (folder / "stranger.jar").write_bytes(b"x")
    bring(tmp_path, ALPHA)
    assert jars_in(folder).keys() == {"alpha-1.0.jar"}


def test_two_who_fetch_at_once_download_once(maven: Maven, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: bring(tmp_path, ALPHA, BETA), range(4)))
    assert jars_in(folders[0]).keys() == {"alpha-1.0.jar", "beta-1.0.jar"}
    assert sorted(maven.asked) == ["alpha", "beta"]


def test_progress_counts_what_is_there(maven: Maven, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = tmp_path / "cache"
    cache.bring(folder, (ALPHA,), env={"HOME": str(tmp_path)}, progress=lambda done, total: told.append((done, total)))
    cache.bring(folder, (ALPHA, BETA), env={"HOME": str(tmp_path)}, progress=lambda *step: told.append(step))
    assert told == [(0, 1), (1, 1), (1, 2), (2, 2)]


def test_without_jgo_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jgo.maven", None)
    with pytest.raises(MissingDependency, match="jgo") as caught:
        bring(tmp_path, ALPHA)
    assert "kafkeep[lab]" in caught.value.hint


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(LabError, match="cannot fill the jar cache"):
        bring(tmp_path, ALPHA)


def test_the_cache_folder_is_the_users(tmp_path: Path) -> None:
    assert cache.cache_folder({"KAFKEEP_CACHE": str(tmp_path)}) == tmp_path
    assert cache.cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/kafkeep")
    assert cache.cache_folder({"HOME": "/h"}) == Path("/h/.cache/kafkeep")


# --- mirrors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mirrors", "expected"),
    [
        ("<mirror><mirrorOf>*</mirrorOf><url>https://m.test/a/</url></mirror>", "https://m.test/a"),
        ("<mirror><mirrorOf>x, central</mirrorOf><url>https://m.test/b</url></mirror>", "https://m.test/b"),
        ("<mirror><mirrorOf>*,!central</mirrorOf><url>https://m.test/c</url></mirror>", None),
        ("<mirror><mirrorOf>external:http:*</mirrorOf><url>http://0.0.0.0/</url></mirror>", None),
        ("<mirror><mirrorOf>*</mirrorOf><url>http://x.test</url><blocked>true</blocked></mirror>", None),
        ("", None),
    ],
)
def test_the_mirror_of_central(mirrors: str, expected: str | None) -> None:
    assert cache.mirror_of_central(f"<settings><mirrors>{mirrors}</mirrors></settings>") == expected


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text("<settings>")
    with pytest.raises(LabError, match=r"settings\.xml"):
        bring(tmp_path, replace(ALPHA, version="2"))
