"""I8: a bit of memory changes between the check of a batch's CRC and the moment when its chunk is hashed and written."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.faults import Figures
from tests.support.faults_archive import back_up, grow, judge, make_archive
from tests.support.operations import without_pauses
from tests.support.repositories import Journal, batch, generation, noise
from tests.support.sealed import encrypted

from kafkeep import batch_check, native
from kafkeep.errors import CorruptionError
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import BatchInfo
from kafkeep.repository import pack
from kafkeep.repository.pack import PackWriter
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore

ORDERS = generation("orders")
HONEST_HASH, HONEST_COMPRESSOR, HONEST_APPEND = pack.blake3, pack.zstandard.ZstdCompressor, PackWriter.append


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    with without_pauses():
        yield


def flip(data: bytearray | memoryview, dice: random.Random) -> None:
    """Also where Python may only read."""
    place, bit = dice.randrange(len(data)), 1 << dice.randrange(8)
    if isinstance(data, memoryview) and data.readonly:
        ctypes.c_ubyte.from_address(native.address(data) + place).value ^= bit
    else:
        data[place] ^= bit


class Flipping:
    """Patches that change one bit at some call of a run, once each time they are armed."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._calls = -1

    def arm(self, most: int) -> None:
        """At one of the next `most` calls."""
        self._calls = self._dice.randrange(most)

    @property
    def done(self) -> bool:
        return self._calls < 0

    def maybe(self, data: Any) -> None:
        if self.done or isinstance(data, bytes) or not len(data):
            return
        self._calls -= 1
        if self.done:
            flip(data, self._dice)

    def hash(self, when: str) -> Callable[[], Any]:
        flipping = self

        class Hash:
            def __init__(self) -> None:
                self._honest = HONEST_HASH()

            def update(self, data: Any) -> None:
                if when == "before":
                    flipping.maybe(data)
                self._honest.update(data)
                if when == "behind":
                    flipping.maybe(data)

            def hexdigest(self) -> str:
                return self._honest.hexdigest()

        return Hash

    def compressor(self, when: str) -> Callable[..., Any]:
        flipping = self

        class Compressor:
            def __init__(self, level: int) -> None:
                self._honest = HONEST_COMPRESSOR(level=level)

            def compress(self, data: Any) -> bytes:
                if when == "before":
                    flipping.maybe(data)
                packed = self._honest.compress(data)
                if when == "behind":
                    flipping.maybe(data)
                return packed

        return Compressor


def batches(dice: random.Random) -> bytearray:
    """Some that compress and some that do not, of which chunks are made in every way."""
    found, offset = bytearray(), 0
    for _ in range(8):
        if dice.random() < 0.5:
            found += batch(offset, size=dice.choice([60, 700, 2500]), seed=offset)
            offset += 3
        else:
            found += noise(offset, dice.choice([60, 700, 2500]))
            offset += 1
    return found


def written(repository: Repository, data: bytearray, change: Callable[[bytearray], None] | None = None) -> None:
    """A pack of these batches, which are checked as they are and may change then."""
    infos, used = walk(memoryview(data))
    assert used == len(data)
    if change is not None:
        change(data)
    half = len(infos) // 2
    middle = sum(info.size for info in infos[:half])
    with repository.pack_writer() as writer:
        writer.begin_run(ORDERS, 0)
        for part, headers in ((memoryview(data)[:middle], infos[:half]), (memoryview(data)[middle:], infos[half:])):
            writer.append(part, headers)
        writer.end_run(infos[-1].next_offset)
        writer.finish()


CASES = [
    *(("what came", kind) for kind in ("none", "zstd", "sealed none", "sealed zstd")),
    *((f"{when} hashing", kind) for when in ("before", "behind") for kind in ("none", "sealed none")),
    *((f"{when} compressing", kind) for when in ("before", "behind") for kind in ("zstd", "sealed zstd")),
]


@pytest.mark.fault("I8")
@pytest.mark.parametrize("helper", ["with the helper", "without"])
@pytest.mark.parametrize(("what", "kind"), CASES)
def test_i8_a_bit_changes_behind_the_check(
    what: str, kind: str, helper: str, monkeypatch: pytest.MonkeyPatch, fault: Figures
) -> None:
    """No pack is published; any bit of any byte, those that no CRC covers too."""
    if helper == "without":
        monkeypatch.setattr(native, "walk", None)
    dice = random.Random(f"{what} {kind}")
    flipping = Flipping(dice)
    when, _, where = what.partition(" ")
    if where == "hashing":
        for module in (pack, batch_check):
            monkeypatch.setattr(module, "blake3", flipping.hash(when))
    elif where == "compressing":
        monkeypatch.setattr(pack.zstandard, "ZstdCompressor", flipping.compressor(when))
    store = MemoryStore()
    found = 0
    with encrypted(kind.startswith("sealed")):
        repository = Journal(store, compression=kind.split()[-1], chunk_bytes=3000).create()
        while found < fault.count(quick=12, full=50):
            before = {name for name in store.objects if name.startswith("pack/")}
            data = batches(dice)
            flipping.arm(6 if where in ("hashing", "compressing") else 1)
            try:
                written(repository, data, (lambda data: flip(data, dice)) if what == "what came" else None)
            except CorruptionError as error:
                assert error.exit_code == 20
                found += 1
                assert {name for name in store.objects if name.startswith("pack/")} == before
            else:
                assert not flipping.done and what != "what came", "a bit changed and nobody noticed"
        flipping.arm(10**9)
        written(repository, batches(dice))
    fault.figures(bits_changed=found, found=found)


@pytest.mark.fault("I8")
def test_i8_a_backup_ends_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch, fault: Figures) -> None:
    archive = make_archive()
    grow(archive.source, 8, records=30, size=200)
    before = {name: data for name, data in archive.store.objects.items() if name.startswith(("pack/", "log/"))}
    dice = random.Random(8)
    rounds = fault.count(quick=6, full=50)

    def append(self: PackWriter, view: memoryview, infos: list[BatchInfo], *, lent: bool) -> int:
        changed = bytearray(view)
        flip(changed, dice)
        return HONEST_APPEND(self, memoryview(changed), infos, lent=lent)

    with monkeypatch.context() as patch:
        patch.setattr(PackWriter, "append", append)
        for seed in range(rounds):
            with pytest.raises(CorruptionError, match="changed in memory"):
                back_up(archive.source, archive.store, seed=100 + seed, pack_bytes=1 << 20)
            kept = archive.store.objects.items()
            assert {name: data for name, data in kept if name.startswith(("pack/", "log/"))} == before
    judge(archive.store, archive.source)
    fault.figures(bits_changed=rounds, found=rounds)
