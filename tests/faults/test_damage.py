"""I1 to I5, R1: damage to what a real backup stored. Verify finds it and names the object; restore refuses in time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from tests.support.kafka import delete_topics, unique
from tests.support.sweep import Scene, copy_of, now, open_repository
from tests.support.sweep_command import Kafkeep
from tests.support.sweep_places import put_folder

from kafkeep.errors import CorruptionError, KafkeepError, RepositoryNotFound
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare, restore
from kafkeep.verify.report import VerifyReport
from kafkeep.verify.run import verify

pytestmark = pytest.mark.integration

FLIPS_AND_CUTS_OF_PACKS = 1000
SAMPLES = 36


@dataclass(frozen=True)
class Archive:
    """A repository of two backups and a restore, few objects of each kind, and what is needed of each."""

    store: MemoryStore
    scene: Scene

    def names(self, kind: str) -> list[str]:
        return sorted(name for name in self.store.objects if name.split("/")[0] == kind)

    @property
    def metadata(self) -> str:
        """The document a restore needs."""
        reference = dict(open_repository(self.store).point("latest").documents)["metadata"]
        return f"doc/{reference[:2]}/{reference}"

    def damaged(self, name: str, data: bytes | None) -> MemoryStore:
        """A copy in which one object holds other bytes, or is gone."""
        store = copy_of(self.store)
        del store.objects[name]
        if data is not None:
            store.objects[name] = data
        return store


@pytest.fixture(scope="module")
def archive(scene: Scene) -> Iterator[Archive]:
    store = MemoryStore()
    Repository.init(store, now=now, rng=random.SystemRandom(), chunk_bytes=2500)
    scene.backup(store, topics=scene.topics[:2], pack_bytes=16_000, commit_interval_seconds=10.0)
    scene.backup(store, topics=scene.topics, pack_bytes=2**20, commit_interval_seconds=10.0)
    target = unique("archive-")
    assert restored(scene, store, target) is None
    yield Archive(store, scene)
    delete_topics(scene.kafka.client_properties, [f"{target}{topic}" for topic in scene.topics])


def restored(scene: Scene, store: MemoryStore, target: str) -> KafkeepError | None:
    """Restores the newest point with `target` in front of the names; what it was refused with."""
    options = RestoreOptions(renames=(Rename.parse(f"s/^/{target}/"),), groups=())
    try:
        repository = open_repository(store)
        plan = prepare(scene.cluster, repository, repository.point("latest"), options, now=now)
        result = restore(scene.cluster, repository, plan, options, now=now)
    except KafkeepError as error:
        return error
    assert result.failures == ()
    return None


def flipped(data: bytes, at: int, dice: random.Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def cut_or_flipped(data: bytes, number: int, dice: random.Random) -> bytes:
    """Damage by number: a flipped bit, the end cut off, bytes added, a stretch of zeros."""
    at = dice.randrange(len(data))
    if number % 4 == 1:
        return data[:at]
    if number % 8 == 2:
        return data + dice.randbytes(dice.randint(1, 100))
    if number % 8 == 6:
        zeros = bytes(min(64, len(data) - at))
        changed = data[:at] + zeros + data[at + len(zeros) :]
        return changed if changed != data else data[:at]
    return flipped(data, at, dice)


def found_in(report: VerifyReport) -> set[str]:
    return {finding.object for finding in report.findings}


@pytest.mark.fault("I1")
def test_i1_every_byte_of_the_repository_document_and_the_commits(archive: Archive) -> None:
    dice = random.Random(1)
    flips = 0
    for name in [*archive.names("kafkeep.json"), *archive.names("log")]:
        data = archive.store.objects[name]
        for at in range(len(data)):
            report = verify(archive.damaged(name, flipped(data, at, dice)), level="chain")
            assert name in found_in(report), f"{name} byte {at}"
            flips += 1
    print(f"{flips} flips, each found")
    assert flips > 3000


@pytest.mark.fault("I1")
def test_i1_every_byte_of_the_documents_and_reports(archive: Archive) -> None:
    """Byte by byte in all of them at once: each one must be named."""
    dice = random.Random(2)
    names = [*archive.names("doc"), *archive.names("audit")]
    assert len(archive.names("doc")) > 2 and len(archive.names("audit")) == 4
    sizes = {name: len(archive.store.objects[name]) for name in names}
    for at in range(max(sizes.values())):
        store = copy_of(archive.store)
        hit = {name for name in names if at < sizes[name]}
        store.objects |= {name: flipped(store.objects[name], at, dice) for name in hit}
        assert found_in(verify(store, level="objects")) == hit, f"byte {at}"
    print(f"{sum(sizes.values())} flips, each found")


def test_i1_hint_is_advice_only(archive: Archive) -> None:
    """Whatever stands there, the log is read to its end."""
    head = open_repository(archive.store).state.head
    for text in (b"", b"0\n", b"1\n", b"999\n", b"999999999999\n", b"-1\n", b"\xff\xfe", b"9" * 1000, b"2"):
        store = copy_of(archive.store)
        store.objects["hint/head"] = text
        assert open_repository(store).state.head == head


@pytest.mark.parametrize("level", ["objects", "data"])
@pytest.mark.fault("I1", "I2")
def test_i1_i2_random_flips_and_cuts_of_packs(archive: Archive, level: str) -> None:
    """The pack is named, and at least one damaged range unless the object as a whole is."""
    dice = random.Random(level)
    packs = archive.names("pack")
    assert len(packs) > 1
    for number in range(FLIPS_AND_CUTS_OF_PACKS // 2):
        name = packs[number % len(packs)]
        store = archive.damaged(name, cut_or_flipped(archive.store.objects[name], number, dice))
        report = verify(store, level=level)
        assert found_in(report) == {name}, f"damage {number} of {name}"
        assert all(finding.generation is not None and finding.coverage is not None for finding in report.findings)
    print(f"{FLIPS_AND_CUTS_OF_PACKS // 2} flips and cuts at level {level}, each found")


def test_i2_every_object_cut_at_every_sixteenth_or_longer(archive: Archive) -> None:
    cuts = 0
    for name, data in archive.store.objects.items():
        if name.startswith("hint/"):
            continue
        for changed in [data[: len(data) * part // 16] for part in range(16)] + [data + b"\0", data + data]:
            assert name in found_in(verify(archive.damaged(name, changed), level="objects")), f"{name}: {len(changed)}"
            cuts += 1
    print(f"{cuts} cut or lengthened objects, each found")


@pytest.mark.fault("I3")
def test_i3_any_object_is_gone(archive: Archive) -> None:
    """Found at level `exist`; reports and offset maps are named by nothing, so losing one harms no recovery point."""
    names = [*archive.names("log"), *archive.names("pack"), archive.metadata]
    for name in names:
        assert name in found_in(verify(archive.damaged(name, None), level="exist")), name
    with pytest.raises(RepositoryNotFound):
        verify(archive.damaged("kafkeep.json", None), level="exist")


@pytest.mark.fault("I4")
def test_i4_objects_in_each_others_places(archive: Archive) -> None:
    """Each is whole and none is where it belongs."""
    objects = archive.store.objects
    groups = [archive.names("log"), archive.names("pack"), archive.names("doc"), ["kafkeep.json", "log/000000000000"]]
    groups.append([archive.metadata, archive.names("pack")[0]])
    swaps = 0
    for names in groups:
        for one in names:
            for other in names:
                if one < other:
                    store = copy_of(archive.store)
                    store.objects |= {one: objects[other], other: objects[one]}
                    assert found_in(verify(store, level="objects")) & {one, other}
                    assert_refused(archive, store, (one, other))
                    swaps += 1
    print(f"{swaps} swaps, each found")


def assert_refused(archive: Archive, store: MemoryStore, names: tuple[str, ...]) -> None:
    """A swap of what a restore needs is refused; offset maps of older restores are not needed."""
    if all(name.startswith("doc/") and name != archive.metadata for name in names):
        return
    error = restored(archive.scene, store, unique("never-"))
    assert isinstance(error, CorruptionError), names


@pytest.mark.fault("I5")
def test_i5_last_commit_is_gone(archive: Archive, tmp_path: Path) -> None:
    """Rolled back: what the hint, or the memory of this host, knows of it gives it away."""
    last = archive.names("log")[-1]
    assert found_in(verify(archive.damaged(last, None), level="chain")) == {last}
    kafkeep, folder = Kafkeep(tmp_path / "home", inside=True), tmp_path / "repository"
    put_folder(archive.store, folder)
    kafkeep("points", "--repo", str(folder)).expect(0)
    (folder / last).unlink()
    assert "rolled back" in kafkeep("points", "--repo", str(folder)).refused(20, "corrupt-chain")
    assert "rolled back" in kafkeep(*backup_of(archive, folder)).refused(20, "corrupt-chain")


def backup_of(archive: Archive, folder: Path) -> list[str]:
    scene = archive.scene
    return ["backup", "--repo", str(folder), "--cluster", scene.kafka.bootstrap, "--topics", ",".join(scene.topics)]


def test_r1_restore_refuses_before_it_makes_anything(archive: Archive) -> None:
    """Every kind of object a restore needs, in every way damaged: status 20, and no topic was made."""
    dice = random.Random(20)
    admin = AdminClient(archive.scene.kafka.client_properties)
    kinds = {
        "kafkeep.json": ["kafkeep.json"],
        "log": archive.names("log"),
        "doc": [archive.metadata],
        "pack": archive.names("pack"),
    }
    refusals: Counter[str] = Counter()
    for kind, names in kinds.items():
        for number in range(SAMPLES):
            name = names[number % len(names)]
            data = archive.store.objects[name]
            if number % 12 == 11 and kind != "kafkeep.json":
                changed = None
            elif kind == "pack" and number % 4 in (0, 3):
                changed = flipped(data, dice.randrange(len(data)), dice)
            elif kind == "pack":
                changed = data[: dice.randrange(len(data))]
            else:
                changed = cut_or_flipped(data, number, dice)
            target = unique("never-")
            error = restored(archive.scene, archive.damaged(name, changed), target)
            if kind == "log" and changed is None and name == names[-1]:
                continue  # nothing names the last commit: the newest point is then the one before
            assert isinstance(error, CorruptionError), f"{name}: {error!r}"
            assert error.exit_code == 20
            assert not any(topic.startswith(target) for topic in admin.list_topics(timeout=60).topics)
            refusals[kind] += 1
    print(f"refusals before anything was made: {dict(refusals)}")
    assert min(refusals.values()) >= 30


@pytest.mark.fault("I1")
def test_i1_exit_statuses_of_the_command(archive: Archive, tmp_path: Path) -> None:
    """verify ends with 22 and names the object, whatever it is; restore and backup end with 20."""
    kafkeep, folder = Kafkeep(tmp_path / "home", inside=True), tmp_path / "repository"
    put_folder(archive.store, folder)
    assert kafkeep("verify", "--repo", str(folder), "--level", "data").expect(0)["findings"] == []
    target = unique("never-")
    given = ["--repo", str(folder), "--cluster", archive.scene.kafka.bootstrap]
    dice = random.Random(22)
    for name in ("kafkeep.json", archive.names("log")[1], archive.metadata, archive.names("pack")[0]):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(flipped(before, len(before) * 2 // 3, dice))
        told = kafkeep("verify", "--repo", str(folder), "--level", "objects").expect(22)
        assert name in {finding["object"] for finding in told["findings"]}
        refused = kafkeep("restore", "latest", *given, "--rename", f"s/^/{target}/", "--groups", "none").expect(20)
        assert refused["slug"] in ("corrupt-object", "corrupt-chain", "corrupt-batch", "corruption")
        assert name in refused["message"] or f"commit {int(name[-12:])}" in refused["message"]
        (folder / name).write_bytes(before)
    topics = AdminClient(archive.scene.kafka.client_properties).list_topics(timeout=60).topics
    assert not any(topic.startswith(target) for topic in topics)
    kafkeep("verify", "--repo", str(folder), "--level", "data").expect(0)
