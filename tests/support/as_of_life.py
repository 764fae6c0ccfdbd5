"""A repository in a versioned bucket, somebody who destroys it, and the way back: the same on every service."""

from __future__ import annotations

import functools
import os
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.faults_archive import Archive, judge, make_archive, open_repository, truth
from tests.support.operations import contents, put_back, records_of, without_pauses
from tests.support.signed import s3_call
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server

from kafkeep.model import TopicPartition
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.options import AsOf
from kafkeep.repository.stores.wrappers import RetryingStore
from kafkeep.verify.run import verify

PATH = "kafka/prod"
ULID_LETTERS = 26
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def a_second_later() -> datetime:
    """Services tell times of versions in whole seconds: nothing of before and after this moment shares one."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    while datetime.now(UTC) < moment + timedelta(seconds=1):
        time.sleep(0.05)
    return moment


def text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


class VersionedBucket:
    """Filled with an archive at first, or empty."""

    def __init__(self, server: S3Server, folder: Path, *, versioned: bool = True, filled: bool = True) -> None:
        self.server = server
        self.bucket = f"kept-{time.monotonic_ns()}"
        s3_call(server, "PUT", f"/{self.bucket}")
        if versioned:
            body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            s3_call(server, "PUT", f"/{self.bucket}", query={"versioning": ""}, body=body)
        with without_pauses():
            self.archive: Archive = make_archive()
        store = self.store()
        for name, data in sorted(self.archive.store.objects.items()) if filled else ():
            if name.startswith("hint/"):
                store.put_hint(name, data)
            else:
                store.put_new(name, data)
        self.kafkeep = Kafkeep(folder / "home", inside=True)
        self.kafkeep.knows_bucket("b", f"s3://{self.bucket}/{PATH}", server)

    def store(self, as_of: AsOf | None = None) -> Store:
        url = f"s3://{self.bucket}/{PATH}"
        return RetryingStore(open_object_store(url, self.server.options(), as_of=as_of))

    def put(self, name: str, data: bytes) -> None:
        s3_call(self.server, "PUT", f"/{self.bucket}/{PATH}/{name}", body=data)

    def delete(self, name: str) -> None:
        s3_call(self.server, "DELETE", f"/{self.bucket}/{PATH}/{name}")

    def set_times(self) -> None:
        """versitygw tells of an old version when it was replaced, and of a deletion when the object was made; others tell
        when each was made. Its ids of versions hold that, so the files get the time that belongs to them."""
        base = self.server.folder
        for path in [*(base.parent / "versions" / self.bucket).rglob("*"), *(base / self.bucket).rglob("*")]:
            if not path.is_file() or "user.version-id" not in os.listxattr(path):
                continue
            identity = os.getxattr(path, "user.version-id").decode()
            if len(identity) == ULID_LETTERS:
                made = functools.reduce(
                    lambda number, letter: number << 5 | CROCKFORD.index(letter), identity[:10].lower(), 0
                )
                os.utime(path, (made / 1000, made / 1000))

    def destroy(self, seed: int) -> None:
        """What somebody can do who may overwrite and delete objects, but no versions: nothing is left as it was."""
        dice = random.Random(seed)
        for name in [info.name for info in self.store().list("")]:
            how = dice.choice(["delete", "overwrite", "both", "twice"])
            if how != "delete":
                self.put(name, dice.randbytes(dice.choice([0, 7, 3000])))
            if how == "twice":
                self.put(name, b"and again")
            if how in ("delete", "both"):
                self.delete(name)
        body = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
        s3_call(self.server, "PUT", f"/{self.bucket}", query={"versioning": ""}, body=body)
        self.put("log/000000000999", b"no commit")
        self.put("audit/2026-11-20/01m7w6c380kt95pyd66gqt1cm0", b"no report")
        self.put("pack/zz/& <what> is \x01 this", b"?")
        self.set_times()


def everything_comes_back(bucket: VersionedBucket, folder: Path) -> None:
    kafkeep, archive = bucket.kafkeep, bucket.archive
    kafkeep("verify", "--repo", "b", "--level", "data").expect(0)
    before = kafkeep("points", "--repo", "b")
    assert before.expect(0)["points"] == 2
    moment = a_second_later()
    bucket.destroy(7)
    assert kafkeep("points", "--repo", "b").status not in (0, 4), "the repository is gone"

    at = ("--repo", "b", "--as-of", text(moment))
    assert kafkeep("points", *at).lines[:-1] == before.lines[:-1]
    kafkeep("show", "latest", *at).expect(0)
    kafkeep("metadata", "export", "latest", *at, "--dir", str(folder / "metadata")).expect(0)
    found = kafkeep("verify", *at, "--level", "data").expect(0)
    assert (found["findings"], found["alarms"]) == ([], [])
    _restored(bucket, moment)

    copy = folder / "copy"
    kafkeep("copy", *at, "--to", str(copy)).expect(0)
    kafkeep("copy", *at, "--to", str(copy)).expect(4)
    assert "audit/2026-11-20/01m7w6c380kt95pyd66gqt1cm0" not in {info.name for info in LocalStore(copy).list("audit/")}
    with without_pauses():
        judge(LocalStore(copy), archive.source)


def _restored(bucket: VersionedBucket, moment: datetime) -> None:
    """Into a cluster; the report of it is found by who looks for what came since, and by nobody else."""
    store = bucket.store(AsOf(time=moment, reports=True))
    names = {info.name for info in store.list("audit/")}
    with without_pauses():
        repository = open_repository(store, seed=40)
        target = SimulatedCluster("target")
        put_back(target, repository, repository.point("latest"))
    for partition, records in truth(bucket.archive.source).items():
        log = target.topics[partition.topic].logs[partition.partition]
        assert contents(records_of(log)) == contents(records), partition
    assert TopicPartition("orders", 0) in truth(bucket.archive.source)
    left = {info.name for info in bucket.store(AsOf(time=moment, reports=True)).list("audit/")} - names
    assert left
    strict = bucket.store(AsOf(time=moment))
    assert not left & {info.name for info in strict.list("audit/")}
    assert verify(strict, level="data", workers=1).findings == ()
