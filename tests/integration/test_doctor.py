"""`kafkeep doctor store` on folders, on a service that keeps the contract, and on the same one set up so that it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.repositories import backup, generation, open_repository, piece
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server, start

from kafkeep.repository.stores import single
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.wrappers import RetryingStore

PROBES = ["create-only", "one-winner", "ranges", "absence", "listing", "large-object", "clock"]


def knowing(server: S3Server, folder: Path) -> Kafkeep:
    """The login comes from the environment."""
    made = Kafkeep(folder, server.environment())
    made.settings(
        f'[repository.backups]\nurl = "s3://{server.new_bucket()}/x"\n'
        f'[repository.backups.s3]\nendpoint = "{server.endpoint}"\n'
    )
    return made


def stored(server: S3Server) -> set[Path]:
    """All objects of all buckets: other tests have theirs in the same service."""
    return {path for path in server.folder.rglob("*") if path.is_file() and "/x/" in str(path)}


def test_a_folder_and_a_bucket_are_fit_and_stay_empty(s3_server: S3Server, tmp_path: Path) -> None:
    kafkeep = knowing(s3_server, tmp_path / "home")
    before = stored(s3_server)
    for repository in (str(tmp_path / "folder"), "backups"):
        found = kafkeep("doctor", "store", "--repo", repository).expect(0)
        of_buckets = ["lock", "versions"] if repository == "backups" else []
        assert [probe["name"] for probe in found["probes"] if probe["name"] != "delete"] == PROBES + of_buckets
        failed = [probe["name"] for probe in found["probes"] if not probe["passed"]]
        assert failed == (["versions"] if repository == "backups" else []), "which nobody needs"
    assert [path for path in (tmp_path / "folder").rglob("*") if path.is_file()] == []
    assert stored(s3_server) == before


def test_what_a_bucket_did_at_init_is_kept(s3_server: S3Server, tmp_path: Path) -> None:
    kafkeep = knowing(s3_server, tmp_path / "home")
    kafkeep("init", "--repo", "backups").expect(0)
    assert kafkeep("verify", "--repo", "backups", "--level", "objects").expect(0)["findings"] == []
    reports = [path for path in s3_server.folder.glob("*/x/audit/*/*") if path.is_file()]
    assert any(b'"kind":"store-probe"' in path.read_bytes() for path in reports)


def test_s16_a_service_where_two_creators_win_is_refused(tmp_path: Path) -> None:
    """The same service with several actions at a time looks first and creates afterwards: one creation after the other is
    refused rightly, and of creations at once several succeed."""
    with start(tmp_path / "s3", concurrency=100) as server:
        kafkeep = knowing(server, tmp_path / "home")
        said = kafkeep("doctor", "store", "--repo", "backups").refused(13, "store-not-create-only")
        assert "one-winner" in said
        kafkeep("init", "--repo", "backups").refused(13, "store-not-create-only")
        kafkeep("points", "--repo", "backups").refused(10, "no-repository")


def test_such_a_service_is_taken_for_one_writer_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one writes another is refused; when it has ended, or is dead, the next may."""
    monkeypatch.setattr(single, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(single, "LOOK_SECONDS", 0.3)
    with start(tmp_path / "s3", concurrency=100) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)  # the client of the bucket reads this process's own
        kafkeep = replace(knowing(server, tmp_path / "home"), inside=True)
        assert kafkeep("init", "--repo", "backups", "--single-writer").expect(0)["writers"] == "single"
        kafkeep("doctor", "store", "--repo", "backups").expect(0)
        url = (kafkeep.folder / "kafkeep.toml").read_text().split('"')[1]
        store = RetryingStore(open_object_store(url, server.options()))
        with open_repository(store) as first:
            backup(first, [piece(generation(), 0, 1)], name="first")
            kafkeep("pin", "first", "--repo", "backups", "--reason", "r").refused(11, "held")
            assert len(kafkeep("points", "--repo", "backups").expect(0)) > 0
        kafkeep("pin", "first", "--repo", "backups", "--reason", "r").expect(0)
        store.put_hint(single.HINT_WRITER, b"a writer that was killed 7\n")
        monkeypatch.setattr(single, "DEAD_SECONDS", 5.0)
        kafkeep("unpin", "first", "--repo", "backups").expect(0)
        assert kafkeep("verify", "--repo", "backups", "--level", "data").expect(0)["findings"] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('access_key_id = { env = "AWS_ACCESS_KEY_ID" }', "belong together"),
        ('endpoint = "http://store.example"', "https://"),
        ('endpoint = "https://user:secret@store.example"', "'@'"),
        ('credentials = {env="C"}\naccess_key_id = {env="A"}\nsecret_access_key = {env="B"}', "one of"),
        ('checksum = "md5"', "sha256"),
        ("verify = false", "unknown key"),
    ],
)
def test_settings_of_a_bucket_are_strict(tmp_path: Path, settings: str, said: str) -> None:
    kafkeep = Kafkeep(tmp_path, inside=True)
    kafkeep.settings(f'[repository.backups]\nurl = "s3://bucket/x"\n[repository.backups.s3]\n{settings}\n')
    assert said in kafkeep("points", "--repo", "backups").refused(2, "settings")


@pytest.mark.parametrize("key", ['ca_file = "x"', "connections = 2", 'storage_class = "X"', 's3 = { region = "x" }'])
def test_keys_without_effect_on_a_folder_are_refused(tmp_path: Path, key: str) -> None:
    kafkeep = Kafkeep(tmp_path, inside=True)
    kafkeep.settings(f'[repository.backups]\nurl = "/backups"\n{key}\n')
    assert "no effect" in kafkeep("points", "--repo", "backups").refused(2, "settings")


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///path", "s3://bucket/a/../b", "s3://bucket/a?b=c", "s3://bucket:1/x", "gs://bucket/.hidden"]
)
def test_urls_without_a_bucket_or_with_a_strange_path_are_refused(tmp_path: Path, url: str) -> None:
    Kafkeep(tmp_path, inside=True)("points", "--repo", url).refused(2, "usage")


def test_login_by_a_command_that_prints_an_access_key(s3_server: S3Server, tmp_path: Path) -> None:
    """What it prints is asked for again before it ends, and never shown; what is no access key is told as that."""
    kafkeep = Kafkeep(tmp_path)
    asked, key = tmp_path / "asked", tmp_path / "key.json"
    ends = "2020-01-01T00:00:00Z"
    key.write_text(
        f'{{"Version":1,"AccessKeyId":"{s3_server.access_key}","SecretAccessKey":"{s3_server.secret_key}",'
        f'"Expiration":"{ends}"}}'
    )
    kafkeep.settings(
        f'[repository.backups]\nurl = "s3://{s3_server.new_bucket()}"\n[repository.backups.s3]\n'
        f'endpoint = "{s3_server.endpoint}"\ncredentials = {{ command = ["sh", "-c", "echo >> {asked}; cat {key}"] }}\n'
    )
    done = kafkeep("init", "--repo", "backups")
    done.expect(0)
    assert len(asked.read_text()) > 1, "the key had ended already, so it is asked for each time"
    assert s3_server.secret_key not in done.out + done.err
    key.write_text('{"Version": 1, "AccessKeyId": "canary-of-an-id"}')
    said = kafkeep("points", "--repo", "backups").refused(2, "settings")
    assert "credential_process" in said and "canary" not in said


def test_s14_wrong_or_missing_logins_are_told_as_that(s3_server: S3Server, tmp_path: Path) -> None:
    url = f"s3://{s3_server.new_bucket()}"
    wrong = Kafkeep(
        tmp_path,
        {"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": "canary-secret-that-is-wrong"},
    )
    wrong.settings(f'[repository.b]\nurl = "{url}"\n[repository.b.s3]\nendpoint = "{s3_server.endpoint}"\n')
    done = wrong("points", "--repo", "b")
    assert "SignatureDoesNotMatch" in done.refused(13, "store-access-denied")
    assert "canary" not in done.out + done.err
