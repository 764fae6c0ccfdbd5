"""I7, I9: a compressor that errs, and batches whose CRC is right although their place is not."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import zstandard
from tests.support.faults import Figures
from tests.support.faults_archive import Archive, back_up, grow, judge, make_archive, open_repository, refusal
from tests.support.operations import without_pauses

from kafkeep.errors import CorruptionError
from kafkeep.kafka.wire.batch import walk
from kafkeep.repository import pack
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.reader import read_footer
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    with without_pauses():
        yield


class Erring:
    """Compresses, and changes something in what went in or in what comes out."""

    dice = random.Random(7)
    erred = 0

    def __init__(self, level: int) -> None:
        self._honest = HONEST(level=level)

    def compress(self, data: bytearray) -> bytes:
        Erring.erred += 1
        what = self.dice.randrange(4)
        if what == 0:
            return self._honest.compress(_flipped(bytes(data), self.dice))
        packed = self._honest.compress(data)
        if what == 1:
            while _opens_to(changed := _flipped(packed, self.dice), bytes(data)):
                pass  # a bit without a meaning
            return changed
        if what == 2:
            return packed[: self.dice.randrange(len(packed))]
        return self._honest.compress(bytes(data[: self.dice.randrange(len(data))]))


HONEST = pack.zstandard.ZstdCompressor


def _opens_to(packed: bytes, data: bytes) -> bool:
    try:
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=1 << 22) == data
    except zstandard.ZstdError:
        return False


def _flipped(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


@pytest.mark.fault("I7")
def test_i7_compressor_that_errs(monkeypatch: pytest.MonkeyPatch, fault: Figures) -> None:
    """Nothing is published: the backup ends with the error, the repository is as it was, and an honest one goes on."""
    archive = make_archive()
    grow(archive.source, 8, records=30, size=200)
    before = {name: data for name, data in archive.store.objects.items() if name.startswith(("pack/", "log/"))}
    rounds = fault.count(quick=60, full=1000)
    stopped = 0
    with monkeypatch.context() as patch:
        patch.setattr(pack.zstandard, "ZstdCompressor", Erring)
        for seed in range(rounds):
            erred = Erring.erred
            try:
                back_up(archive.source, archive.store, seed=100 + seed, pack_bytes=1 << 20)
            except CorruptionError as error:
                assert error.exit_code == 20
                stopped += 1
            assert Erring.erred > erred
            kept = archive.store.objects.items()
            assert {name: data for name, data in kept if name.startswith(("pack/", "log/"))} == before
    assert stopped == rounds
    judge(archive.store, archive.source)
    fault.figures(errors_of_the_compressor=rounds, stopped=stopped)


def batches_of(store: MemoryStore, entry: PackEntry, repository_id: str) -> Iterator[tuple[int, int]]:
    """Where each stored batch of a pack begins and ends."""
    for run in read_footer(store, entry, repository_id).runs:
        for chunk in run.chunks:
            position = chunk.position
            infos, _ = walk(memoryview(store.objects[entry.name])[position : position + chunk.stored_length])
            for info in infos:
                yield position, position + info.size
                position += info.size


@pytest.fixture(scope="module")
def plain() -> Archive:
    """Without compression, so that batches lie in packs as they came."""
    return make_archive(compression="none")


@pytest.mark.fault("I9")
@pytest.mark.parametrize(("field", "first", "size"), [("base offset", 0, 8), ("leader epoch", 12, 4)])
def test_i9_batch_in_another_place_with_its_crc_right(
    plain: Archive, field: str, first: int, size: int, fault: Figures
) -> None:
    """Kafka's CRC covers neither; verify names the pack and the range, and restores refuse."""
    repository = open_repository(plain.store)
    dice = random.Random(field)
    tried = 0
    for entry in repository.state.packs:
        whole = plain.store.objects[entry.name]
        for start, stop in batches_of(plain.store, entry, repository.id):
            for _ in range(fault.count(quick=1, full=10)):
                at = start + first + dice.randrange(size)
                changed = whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(7)]) + whole[at + 1 :]
                infos, used = walk(memoryview(changed)[start:stop])
                assert (len(infos), used) == (1, stop - start), "its CRC is right"
                store = plain.with_changes({entry.name: changed})
                (found,) = verify(store, level="objects", workers=1).findings
                assert found.object == entry.name and found.coverage is not None
                error, target = refusal(store)
                assert isinstance(error, CorruptionError) and target.topics == {}
                tried += 1
    fault.figures(changed_batches=tried, found=tried)
