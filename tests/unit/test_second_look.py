"""The second look at batches that go into a pack: a bit that changed in memory since the first is found wherever it is."""

from __future__ import annotations

import pytest
from tests.support.batches import around, old_message
from tests.support.native import WAYS, in_way

from kafkeep.batch_check import check_again
from kafkeep.batch_rows import BatchRows
from kafkeep.errors import CorruptionError
from kafkeep.kafka.wire.batch import walk

BATCHES = {
    "magic 2": around(b"payload"),
    "magic 1": old_message(3, b"k", b"v", magic=1, timestamp=5),
    "magic 0": old_message(3, b"k", b"v", magic=0),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("which", BATCHES)
def test_every_byte_counts(which: str, way: str) -> None:
    log = BATCHES[which]
    rows = BatchRows.of(walk(memoryview(log))[0])
    with in_way(way):
        check_again(memoryview(log), rows)
        for place in range(len(log)):
            changed = bytearray(log)
            changed[place] ^= 1
            with pytest.raises(CorruptionError, match="changed in memory"):
                check_again(memoryview(bytes(changed)), rows)
