"""E5, E6: no secret and no record shows in anything that is printed or stored; nobody else can read the files."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from tests.support.kafka import KafkaCluster, Sample, create_topic, produce, unique
from tests.support.sweep_command import COMMAND, Ended, Kafkeep

from kafkeep.lab.config import ADMIN

pytestmark = pytest.mark.integration

WRONG_PASSWORD = "canary+wrong/password=é"
KEY_PASSWORD = "canary-key-password"
RECORD = b"canary-of-a-record-value"


class Canaries:
    """Every secret of the settings in this folder, and every form it could take in a text or a file."""

    def __init__(self, kafka: KafkaCluster, folder: Path) -> None:
        lab = kafka.lab
        self.kafkeep = Kafkeep(folder / "home")
        self.folder = folder
        self.password = lab.logins.password(ADMIN).reveal()
        self.token = lab.logins.token(ADMIN, now=datetime.now(UTC)).reveal()
        self.secrets = (self.password, self.token, WRONG_PASSWORD, KEY_PASSWORD)
        key = serialization.load_pem_private_key(lab.tls.client_key.read_bytes(), None)
        sealed = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(KEY_PASSWORD.encode()),
        )
        for name, data in (("token", self.token.encode()), ("key.pem", sealed), ("wrong", WRONG_PASSWORD.encode())):
            (folder / name).touch(mode=0o600)
            (folder / name).write_bytes(data)
        self.kafkeep.settings(self._settings(kafka))
        self.kafkeep.variables = {"CANARY_KEY_PASSWORD": KEY_PASSWORD, "CANARY_PASSWORD": self.password}

    def _settings(self, kafka: KafkaCluster) -> str:
        lab, folder = kafka.lab, self.folder
        printing = [sys.executable, "-c", "import os; print(os.environ['CANARY_PASSWORD'])"]
        tls = f'ca_file = "{lab.tls.ca}"'
        return f"""
[cluster.file]
bootstrap = "{lab.bootstrap}"
security = "sasl_tls"
tls = {{ {tls} }}
sasl = {{ mechanism = "SCRAM-SHA-512", username = "{ADMIN}", password = {{ file = "{lab.logins.password_file(ADMIN)}" }} }}

[cluster.command]
bootstrap = "{lab.bootstrap_of("SASLPLAIN")}"
security = "sasl_plaintext"
sasl = {{ mechanism = "PLAIN", username = "{ADMIN}", password = {{ command = {printing!r} }} }}

[cluster.variable]
bootstrap = "{lab.bootstrap}"
security = "sasl_tls"
tls = {{ {tls} }}
sasl = {{ mechanism = "SCRAM-SHA-256", username = "{ADMIN}", password = {{ env = "CANARY_PASSWORD" }} }}

[cluster.token]
bootstrap = "{lab.bootstrap}"
security = "sasl_tls"
tls = {{ {tls} }}
sasl = {{ mechanism = "OAUTHBEARER", token = {{ file = "{folder / "token"}" }} }}

[cluster.key]
bootstrap = "{lab.bootstrap_of("MTLS")}"
security = "tls"
[cluster.key.tls]
{tls}
cert_file = "{lab.tls.client_cert}"
key_file = "{folder / "key.pem"}"
key_password = {{ env = "CANARY_KEY_PASSWORD" }}

[cluster.wrong]
bootstrap = "{lab.bootstrap}"
security = "sasl_tls"
tls = {{ {tls} }}
sasl = {{ mechanism = "PLAIN", username = "{ADMIN}", password = {{ file = "{folder / "wrong"}" }} }}
"""

    def forms(self) -> Iterator[bytes]:
        for secret in self.secrets:
            raw = secret.encode()
            yield raw
            yield raw.hex().encode()
            yield quote(secret, safe="").encode()
            # whatever stands before it moves the letters of base64: the middle of each of the three alignments
            for shift in range(3):
                yield base64.b64encode(b"\0" * shift + raw)[4:-4]

    def search(self, data: bytes, where: str) -> None:
        for form in self.forms():
            assert form not in data, f"a secret shows in {where}"
        assert RECORD not in data, f"a record shows in {where}"

    def check(self, done: Ended, where: str) -> Ended:
        for text in (done.out, done.err):
            self.search(text.encode(errors="surrogateescape"), where)
        return done


@pytest.mark.fault("E5")
def test_e5_no_secret_shows_anywhere(kafka_431_scram: KafkaCluster, tmp_path: Path) -> None:
    """All verbs over every kind of login, right and wrong, at the most talkative level, with and without --json."""
    canaries = Canaries(kafka_431_scram, tmp_path)
    topic, target = unique("secret"), unique("back") + "-"
    create_topic(kafka_431_scram.client_properties, topic, partitions=1)
    produce(kafka_431_scram.client_properties, topic, [Sample(value=RECORD, key=RECORD)] * 10)
    repository = tmp_path / "repository"
    place = ["--repo", str(repository)]
    chosen = ["--topics", topic]
    rename = ["--rename", f"s/^/{target}/"]
    runs = [
        (0, ["init", *place]),
        *((0 if number == 0 else 4, ["backup", *place, "--cluster", name, *chosen]) for number, name in enumerate(
            ("file", "command", "variable", "token", "key")
        )),
        (14, ["backup", *place, "--cluster", "wrong", *chosen]),
        (0, ["verify", *place, "--level", "data"]),
        (0, ["points", *place]),
        (0, ["show", "latest", *place]),
        (0, ["restore", "latest", *place, "--cluster", "file", *rename, "--groups", "none", "--dry-run"]),
        (0, ["restore", "latest", *place, "--cluster", "token", *rename, "--groups", "none"]),
        (0, ["compare", "latest", *place, "--cluster", "key", *rename]),
        (24, ["restore", "latest", *place, "--cluster", "variable", *rename, "--groups", "none"]),
        (14, ["compare", "latest", *place, "--cluster", "wrong", *rename]),
        (0, ["config", "show"]),
        (0, ["config", "check"]),
    ]  # fmt: skip
    for number, (status, arguments) in enumerate(runs):
        talk = ["--json", "-vv"] if number % 2 else ["-vv"]
        done = canaries.check(canaries.kafkeep.plain(*talk, *arguments), " ".join(arguments))
        assert done.status == status, (arguments, done)
    _search_files(canaries, [repository, canaries.kafkeep.folder])


def _search_files(canaries: Canaries, folders: list[Path]) -> None:
    """Stored names and bytes. Packs hold records, everything else neither records nor secrets."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        data = path.read_bytes()
        canaries.search(str(path).encode(), "a file's name")
        canaries.search(data.replace(RECORD, b"") if "pack" in path.parts else data, str(path))


@pytest.mark.fault("E5")
def test_e5_secrets_are_not_in_argument_lists(kafka_431_scram: KafkaCluster, tmp_path: Path) -> None:
    """Neither of kafkeep nor of what it starts."""
    canaries = Canaries(kafka_431_scram, tmp_path)
    repository = tmp_path / "repository"
    canaries.kafkeep("init", "--repo", str(repository)).expect(0)
    given = ["backup", "--repo", str(repository), "--cluster", "command", "--topics", "none-*"]
    with canaries.kafkeep.started(*given, "--follow", "--interval", "1h") as running:
        running.until("stage")
        lines = [_command_line(path) for path in Path("/proc").iterdir() if path.name.isdigit()]
        ours = [line for line in lines if str(repository).encode() in line]
        assert ours
        for line in ours:
            canaries.search(line, "a command line")


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""  # it has ended


@pytest.mark.fault("E6")
def test_e6_files_are_private_whatever_the_umask(kafka_431: KafkaCluster, tmp_path: Path) -> None:
    """Records lie in the repository: nobody but its owner may read them."""
    topic = unique("umask")
    create_topic(kafka_431.client_properties, topic, partitions=1)
    produce(kafka_431.client_properties, topic, [Sample(value=b"x")])
    kafkeep, repository = Kafkeep(tmp_path / "home"), tmp_path / "repository"
    for arguments in (
        ["init", "--repo", str(repository)],
        ["backup", "--repo", str(repository), "--cluster", kafka_431.bootstrap, "--topics", topic],
    ):
        done = subprocess.run(
            [*COMMAND, *arguments], env=kafkeep.environment, cwd=tmp_path, umask=0, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
    paths = [repository, *repository.rglob("*"), *(tmp_path / "home" / "cache" / "kafkeep").rglob("*")]
    assert len(paths) > 8
    for path in paths:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.fault("E6")
def test_e6_secret_file_that_others_may_read_is_refused(kafka_431_scram: KafkaCluster, tmp_path: Path) -> None:
    canaries = Canaries(kafka_431_scram, tmp_path)
    (tmp_path / "wrong").chmod(0o644)
    done = canaries.check(canaries.kafkeep("config", "check"), "config check")
    assert str(tmp_path / "wrong") in done.refused(2, "settings")
