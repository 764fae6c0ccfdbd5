"""S21: the life of a repository in a bucket with object lock, the same on every service that has it."""

from __future__ import annotations

import random
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.repositories import closed, cut, draft, generation, open_repository, opened, piece, write_pack
from tests.support.signed import Answered, s3_call
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server

from kafkeep.cli.common import Run
from kafkeep.repository.names import document_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.options import ObjectLock
from kafkeep.repository.stores.wrappers import RetryingStore
from kafkeep.verify.run import verify

POINTS = 4
PATH = "kafka/prod"


def now() -> datetime:
    return datetime.now(UTC)


def knowing(server: S3Server, place: str, folder: Path, mode: str, *, days: int = 1) -> Kafkeep:
    """A command that knows the place as `b`, with its login in files."""
    made = Kafkeep(folder, inside=True)
    made.knows_bucket("b", f"s3://{place}", server, s3=f'object_lock = {{ mode = "{mode}", days = {days} }}')
    return made


class LockedBucket:
    """A bucket that was made with object lock, and what an independent client sees in it."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.server = server
        self.bucket = f"locked-{time.monotonic_ns()}"
        s3_call(server, "PUT", f"/{self.bucket}", headers={"x-amz-bucket-object-lock-enabled": "true"})
        self.url = f"s3://{self.bucket}/{PATH}"
        self.kafkeep = knowing(server, f"{self.bucket}/{PATH}", folder / "home", "governance")
        lock = ObjectLock(mode="governance", days=1, now=now)
        self.store = RetryingStore(
            open_object_store(f"s3://{self.bucket}/{PATH}", server.options(s3={"object_lock": lock}))
        )

    def lock_of(self, name: str) -> tuple[str | None, str | None]:
        headers, _ = s3_call(self.server, "HEAD", f"/{self.bucket}/{PATH}/{name}")
        return headers.get("x-amz-object-lock-mode"), headers.get("x-amz-object-lock-retain-until-date")

    def version_of(self, name: str) -> str:
        headers, _ = s3_call(self.server, "HEAD", f"/{self.bucket}/{PATH}/{name}")
        return headers["x-amz-version-id"]

    def erase(self, name: str, version: str) -> None:
        """What somebody tries who holds the keys of the admin. Raises `Answered` when the service refuses."""
        s3_call(self.server, "DELETE", f"/{self.bucket}/{PATH}/{name}", query={"versionId": version})

    def versions(self) -> list[str]:
        _, answer = s3_call(self.server, "GET", f"/{self.bucket}", query={"versions": ""})
        return re.findall(rf"<Key>{PATH}/([^<]*)</Key>", answer.decode())

    def lock_until(self, name: str, moment: datetime, mode: str = "GOVERNANCE") -> None:
        """Under governance, who has the special right may shorten a lock."""
        end = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
        body = f"<Retention><Mode>{mode}</Mode><RetainUntilDate>{end}</RetainUntilDate></Retention>".encode()
        special = {"x-amz-bypass-governance-retention": "true"}
        place = f"/{self.bucket}/{PATH}/{name}"
        s3_call(self.server, "PUT", place, query={"retention": ""}, headers=special | _sum(body), body=body)

    def end_lock(self, name: str) -> None:
        """Shortens a lock to the next moment."""
        moment = now() + timedelta(seconds=2)
        self.lock_until(name, moment)
        end = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
        while f"{now():%Y-%m-%dT%H:%M:%SZ}" <= end:
            time.sleep(0.2)

    def lock_by_default(self) -> None:
        rule = "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>3</Days></DefaultRetention></Rule>"
        body = (
            '<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        ).encode()
        s3_call(self.server, "PUT", f"/{self.bucket}", query={"object-lock": ""}, headers=_sum(body), body=body)


def _sum(body: bytes) -> dict[str, str]:
    import base64
    import hashlib

    return {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode()}


def live_locked(bucket: LockedBucket) -> None:
    """Written locked, kept by prunings until the locks end, never deletable early, whole all the while."""
    kafkeep, store = bucket.kafkeep, bucket.store
    probes = {probe["name"]: probe for probe in kafkeep("doctor", "store", "--repo", "b").expect(0)["probes"]}
    assert probes["lock"]["passed"] and "can be locked, and are not by default" in probes["lock"]["found"]
    identity = kafkeep("init", "--repo", "b").expect(0)["id"]
    _fill(store)
    _check_locks(bucket)

    prune = ("prune", "--repo", "b", "--keep-last", "1", "--min-points", "1", "--undo-window", "1s", "--execute")
    kafkeep(*prune, "--i-mean-it", identity).expect(0)
    time.sleep(1.1)
    packs = sorted(info.name for info in store.list("pack/"))
    kept = kafkeep(*prune).expect(0)
    doomed = sorted(failure["subject"] for failure in kept["locked"])
    assert (kept["deleted"], kept["failures"], len(doomed)) == (0, [], POINTS - 1), kept
    assert all("locked until" in failure["message"] for failure in kept["locked"])
    assert sorted(info.name for info in store.list("pack/")) == packs
    said = kafkeep.plain(*prune)
    assert said.status == 0 and f"not yet deleted, because the store has locked them: {POINTS - 1} packs" in said.out

    for name in (packs[0], "kafkeep.json", "log/000000000001"):
        with pytest.raises(Answered):
            bucket.erase(name, bucket.version_of(name))
    bucket.erase("key/0", bucket.version_of("key/0"))

    bucket.end_lock(doomed[0])
    done = kafkeep(*prune).expect(0)
    assert done["deleted"] == 1 and sorted(failure["subject"] for failure in done["locked"]) == doomed[1:]
    assert doomed[0] not in bucket.versions(), "its bytes are gone, and no marker is left"
    assert verify(open_repository(store), level="data").findings == ()
    bucket.lock_by_default()
    probes = {probe["name"]: probe for probe in kafkeep("doctor", "store", "--repo", "b").expect(0)["probes"]}
    assert not probes["lock"]["passed"] and "GOVERNANCE 3 days" in probes["lock"]["found"]


def _fill(store: Store) -> None:
    """Objects of every kind."""
    with open_repository(store) as repository:
        for number in range(POINTS):  # each holds a pack that no other needs
            part = piece(generation("orders", number), 0, 1, seed=number)
            reference = repository.put_document("metadata", {"number": number})
            made = draft(
                packs=[write_pack(repository, [part])],
                open_=opened(part.generation),
                close=closed(generation("orders", number - 1)) if number else (),
                cuts=[cut(part.generation, part.stop)],
                documents=[("metadata", reference)],
            )
            assert repository.commit(made).point is not None
        repository.put_audit("a-report", {"a": 1})
    store.put_new("key/0", b"a key")


def prolong_locked(bucket: LockedBucket, folder: Path) -> None:
    """Whose locks end soon and is needed gets what the settings say; nothing gets less, and nothing else gets any."""
    kafkeep, store = bucket.kafkeep, bucket.store
    identity = kafkeep("init", "--repo", "b").expect(0)["id"]
    _fill(store)
    prune = ("prune", "--repo", "b", "--keep-last", "1", "--min-points", "2", "--execute", "--i-mean-it", identity)
    kafkeep(*prune).expect(0)
    long, strict, ended, bare = "kafkeep.json", "audit/2026-11-20/strict", "log/000000000002", "audit/2026-11-20/open"
    for name in (bare, strict):
        open_object_store(bucket.url, bucket.server.options()).put_new(name, b"a report without a lock")
    fresh = kafkeep("locks", "extend", "--repo", "b").expect(0)
    assert [due["name"] for due in fresh["due"]] == [bare, strict], "the others hold for a day"

    state = open_repository(store).state
    gone = [
        document_name(found)
        for each in state.retirements.values()
        for point in each.points
        for _, found in point.documents
    ]
    retired = sorted([*state.retired_packs(), *gone])
    names = [info.name for info in store.list("") if not info.name.startswith(("hint/", "key/"))]
    needed = sorted(set(names) - set(retired))
    assert len(retired) == 2 * (POINTS - 2) and {name.split("/")[0] for name in needed} == {
        "audit", "doc", "kafkeep.json", "log", "pack"
    }  # fmt: skip
    bucket.lock_until(long, now() + timedelta(days=30))
    bucket.lock_until(strict, now() + timedelta(days=2), "COMPLIANCE")
    bucket.end_lock(ended)
    before = {name: bucket.lock_of(name) for name in names}

    kafkeep = knowing(bucket.server, f"{bucket.bucket}/{PATH}", folder / "later", "governance", days=5)
    extend = ("locks", "extend", "--repo", "b")
    plan = kafkeep(*extend).expect(0)
    assert sorted(due["name"] for due in plan["due"]) == sorted(set(needed) - {long})
    counts = {(count["kind"], count["found"]): count["objects"] for count in plan["counts"]}
    assert (counts["audit", "not locked"], counts["pack", "ends soon"]) == (1, 2)
    assert counts["kafkeep.json", "holds"] == 1 and plan["missing"] == []
    assert {name: bucket.lock_of(name) for name in names} == before, "a plan changes nothing"
    less = kafkeep(*extend, "--below", "36h").expect(0)
    assert strict not in {due["name"] for due in less["due"]}

    assert kafkeep(*extend, "--execute").expect(0)["prolonged"] == len(needed) - 1
    end = now() + timedelta(days=5)
    for name in names:
        mode, until = bucket.lock_of(name)
        assert until is not None, name
        moment = datetime.fromisoformat(until.replace(".000", ""))
        if name in retired or name == long:
            assert (mode, until) == before[name], name
        else:
            assert mode == ("COMPLIANCE" if name == strict else "GOVERNANCE"), name
            assert end - timedelta(minutes=5) < moment <= end + timedelta(hours=1), name
    assert bucket.lock_of("key/0") == (None, None)
    with pytest.raises(Answered):
        bucket.erase(ended, bucket.version_of(ended))
    kafkeep(*extend).expect(4)
    wide = kafkeep(*extend, "--below", "60d").expect(0, 4)
    assert long not in {due["name"] for due in wide["due"]}, "it would be made shorter"
    assert verify(open_repository(store), level="data").findings[0].object == bare
    _refusals(bucket, folder)


def _refusals(bucket: LockedBucket, folder: Path) -> None:
    long = knowing(bucket.server, f"{bucket.bucket}/{PATH}", folder / "long", "governance", days=50)
    extend = ("locks", "extend", "--repo", "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "now", lambda run: now() + timedelta(days=400))
        assert "ahead of" in long(*extend).expect(24)["refusals"][0]
        long(*extend, "--execute").refused(24, "plan-refused")
    assert long(*extend).expect(0)["due"], "nothing was locked by that clock"
    bare = Kafkeep(folder / "bare", inside=True)
    assert "object_lock" in bare("locks", "extend", "--repo", bucket.url).refused(2, "usage")


def _check_locks(bucket: LockedBucket) -> None:
    end = now() + timedelta(days=1)
    seen = set()
    for info in bucket.store.list(""):
        kind = info.name.split("/")[0]
        seen.add(kind)
        mode, until = bucket.lock_of(info.name)
        if kind in ("hint", "key"):
            assert (mode, until) == (None, None), info.name
        else:
            assert mode == "GOVERNANCE", info.name
            assert until is not None
            moment = datetime.fromisoformat(until.replace(".000", ""))
            assert end - timedelta(minutes=5) < moment <= end + timedelta(hours=1), info.name
    assert seen == {"kafkeep.json", "log", "pack", "doc", "audit", "hint", "key"}


def without_lock(server: S3Server, folder: Path) -> None:
    """A bucket that cannot lock refuses at once, and says why."""
    bucket = server.new_bucket()
    kafkeep = knowing(server, f"{bucket}/x", folder / "other", "compliance")
    probes = {probe["name"]: probe for probe in kafkeep("doctor", "store", "--repo", "b").expect(0)["probes"]}
    assert "cannot be locked" in probes["lock"]["found"]
    said = kafkeep("init", "--repo", "b").refused(13, "store")
    assert "object_lock" in said
    Repository.init(open_object_store(f"s3://{bucket}/y", server.options()), now=now, rng=random.Random(1))
    kafkeep = knowing(server, f"{bucket}/y", folder / "third", "compliance")
    assert "cannot be locked" in kafkeep("locks", "extend", "--repo", "b").refused(13, "store")
