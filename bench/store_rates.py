"""`python -m bench.store_rates`: what a bucket takes and gives, with and without encryption, beside a tool that only moves
bytes. The service is MinIO on the same machine, or another that the tests bring."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from tests.support import object_servers, versitygw
from tests.support.programs import go_program
from tests.support.versitygw import S3Server

from bench import entry, machine, report, segments
from bench.__main__ import opened
from bench.field import Field
from bench.measure import Spread, Usage, run
from bench.rounds import prepare
from bench.workloads import WORKLOADS

FULL_MB: Final = 1024
QUICK_MB: Final = 128
RCLONE: Final = ("github.com/rclone/rclone", "v1.71.0")
"""MIT: copies files to and from buckets, many at once."""
BEGIN: Final = "<!-- stores: begin -->"
END: Final = "<!-- stores: end -->"
HEADS: Final = ("what runs", "MB/s", "CPU-s/GB", "of the same without encryption")
LIMIT: Final = 0.85
"""Encryption may cost this much of the throughput: what is left of it."""
_SERVERS: Final[Mapping[str, Callable[[Path], AbstractContextManager[S3Server]]]] = {
    "minio": object_servers.minio,
    "versitygw": versitygw.start,
}

PUT: Final = "rclone copy, log segments into the bucket"
GET: Final = "rclone copy, log segments out of the bucket"
PLACES: Final = ("bucket", "folder")
BACKUP: Final = "kafkeep backup into a {place}"
OBJECTS: Final = "kafkeep verify --level objects, {place}"
DATA: Final = "kafkeep verify --level data, {place}"
SEALED: Final = ", encrypted"


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one command."""

    title: str
    number: int
    usage: Usage


class Rates:
    """A broker with a filled topic, an object service, and what was measured so far."""

    def __init__(self, field: Field, server: S3Server, size_bytes: int) -> None:
        self.field = field
        self.server = server
        self.size_bytes = size_bytes
        self.samples: list[Sample] = []
        self.topic = WORKLOADS[0].topic
        self._rclone = str(go_program("rclone", *RCLONE))
        self._env = dict(field.env) | server.environment()
        # an identity and not a passphrase, which takes a derivation of 0.4 s with each command on purpose
        field.kafkeep("keys", "init", "--out", str(field.folder / "identity"))
        (field.folder / "login-id").write_text(server.access_key)
        (field.folder / "login-key").write_text(server.secret_key)
        for name in ("login-id", "login-key"):
            (field.folder / name).chmod(0o600)

    def round(self, number: int) -> None:
        bucket = self.server.new_bucket()
        with self.field.scratch("gathered") as gathered:
            segments.gather(segments.log_files(self.field.log_dirs, self.topic), gathered)
            self._tool(PUT, number, str(gathered), self._place(bucket))
        with self.field.scratch("fetched") as fetched:
            self._tool(GET, number, self._place(bucket), str(fetched))
        for place in PLACES:
            for sealed in (False, True):
                with self.field.scratch(f"{place}-repository") as path:
                    url = f"s3://{self.server.new_bucket()}/r" if place == "bucket" else f"file://{path}"
                    self._life(number, place, url, sealed=sealed)

    def _tool(self, title: str, number: int, source: str, target: str) -> None:
        command = [self._rclone, "copy", "--config", os.devnull, "--transfers", "8", source, target]
        self._keep(title, number, run(command, folder=self.field.folder, env=self._env).usage)

    def _place(self, bucket: str) -> str:
        # in parts: without TLS it cannot sign a whole file that it streams
        options = "provider=Minio,env_auth=true,upload_cutoff=0,chunk_size=16Mi"
        return f":s3,{options},endpoint='{self.server.endpoint}':{bucket}/segments"

    def _life(self, number: int, place: str, url: str, *, sealed: bool) -> None:
        """Created, filled, read with and without opening."""
        config = self.field.folder / "kafkeep.toml"
        config.write_text(_settings(self.server, self.field.folder, url, sealed=sealed))
        more = SEALED if sealed else ""
        self._kafkeep(None, number, "init", *(("--encrypt",) if sealed else ()))
        where = ("--cluster", self.field.lab.bootstrap, "--topics", self.topic)
        self._kafkeep(BACKUP.format(place=place) + more, number, "backup", *where)
        self._kafkeep(OBJECTS.format(place=place) + more, number, "verify", "--level", "objects")
        self._kafkeep(DATA.format(place=place) + more, number, "verify", "--level", "data")

    def _kafkeep(self, title: str | None, number: int, verb: str, *arguments: str) -> None:
        config = str(self.field.folder / "kafkeep.toml")
        command = [
            sys.executable,
            "-m",
            "kafkeep",
            "--json",
            "--config",
            config,
            verb,
            "--repo",
            "measured",
            *arguments,
        ]
        usage = run(command, folder=self.field.folder, env=self.field.env).usage
        if title is not None:
            self._keep(title, number, usage)

    def _keep(self, title: str, number: int, usage: Usage) -> None:
        self.field.note(f"{title}: {self.size_bytes / usage.seconds / 1e6:.0f} MB/s")
        if number:
            self.samples.append(Sample(title, number, usage))

    def rows(self) -> Iterator[tuple[str, ...]]:
        titles = list(dict.fromkeys(sample.title for sample in self.samples))
        for title in titles:
            rate = self._spread(title, lambda usage: self.size_bytes / usage.seconds / 1e6)
            cpu = self._spread(title, lambda usage: usage.cpu_seconds / self.size_bytes * 1e9)
            left = f"{self.left(title):.0%}" if title.endswith(SEALED) else ""
            yield title, _text(rate, 0), _text(cpu, 2), left

    def left(self, title: str) -> float:
        """Of the throughput without encryption, round by round, the median."""
        plain = {each.number: each.usage for each in self.samples if each.title == title.removesuffix(SEALED)}
        pairs = [(each.usage, plain[each.number]) for each in self.samples if each.title == title]
        return Spread.of([bare.seconds / sealed.seconds for sealed, bare in pairs]).median

    def _spread(self, title: str, figure: Callable[[Usage], float]) -> Spread:
        return Spread.of([figure(sample.usage) for sample in self.samples if sample.title == title])

    def verdicts(self) -> Iterator[str]:
        for place in PLACES:
            left = self.left(BACKUP.format(place=place) + SEALED)
            verdict = "met" if left >= LIMIT else "**missed**"
            yield f"encryption costs at most 15 % of a backup's throughput, {place}: {1 - left:.0%}, {verdict}"


def _text(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def _settings(server: S3Server, folder: Path, url: str, *, sealed: bool) -> str:
    lines = ["[repository.measured]", f'url = "{url}"', 'compression = "none"']
    if sealed:
        lines.append(f'identity = {{ file = "{folder / "identity"}" }}')
    if url.startswith("s3://"):
        lines += [
            "[repository.measured.s3]",
            f'endpoint = "{server.endpoint}"',
            f'access_key_id = {{ file = "{folder / "login-id"}" }}',
            f'secret_access_key = {{ file = "{folder / "login-key"}" }}',
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def measured(options: argparse.Namespace, console: Console, size_mb: int) -> Iterator[tuple[Rates, Mapping[str, str]]]:
    with (
        entry.working_folder(options.dir) as folder,
        opened(folder, console) as field,
        _SERVERS[options.server](folder / "service") as server,
    ):
        found = prepare(field, WORKLOADS[0], size_mb * 10**6)
        yield Rates(field, server, found.size_bytes), machine.facts(folder, field.lab)


def contest(options: argparse.Namespace, console: Console) -> None:
    size_mb = QUICK_MB if options.quick else FULL_MB
    with measured(options, console, size_mb) as (rates, facts):
        for number in range(options.rounds + 1):
            rates.round(number)
        rows, verdicts = list(rates.rows()), list(rates.verdicts())
    entry.table(console, HEADS, rows, numbers=slice(1, None))
    for verdict in verdicts:
        console.print(verdict, highlight=False)
    if options.docs is not None:
        told = "; ".join(f"{name} {value}" for name, value in facts.items())
        intro = f"Machine: {told}; the service: {options.server}, over loopback. {size_mb} MB, {options.rounds} rounds"
        text = options.docs.read_text(encoding="utf-8")
        page = "\n".join([f"{intro}.", "", *_markdown(rows), "", *(f"* {verdict}" for verdict in verdicts)])
        options.docs.write_text(report.replaced(text, page, begin=BEGIN, end=END), encoding="utf-8")


def _markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (HEADS, ("---", *["--:"] * (len(HEADS) - 1)), *rows):
        yield f"| {' | '.join(row)} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.store_rates", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_MB} MB instead of {FULL_MB}")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds (default 3)")
    parser.add_argument("--server", choices=sorted(_SERVERS), default="minio")
    parser.add_argument("--dir", type=Path, help="where everything lives (default: the temporary folder)")
    parser.add_argument("--docs", type=Path, help="a Markdown page whose part about stores is replaced")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return entry.run(lambda console: contest(options, console), width=150)


if __name__ == "__main__":
    sys.exit(main())
