"""What writing a pack and moving runs into one have in common: the bytes around the runs, and the name at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from kafkeep.errors import ObjectExists
from kafkeep.logger import get_logger
from kafkeep.model import Generation, PackRef
from kafkeep.repository import layout, names
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.layout import RunIndex
from kafkeep.repository.stores.base import Upload

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

log = get_logger(__name__)


class Randomness(Protocol):
    """What the repository needs of `random.Random`."""

    def randbytes(self, n: int, /) -> bytes: ...


class PackOutput:
    """A pack on its way into the store. One thread uses it; leave it without `publish` and nothing remains."""

    def __init__(
        self,
        upload: Upload,
        document: RepositoryDocument,
        *,
        epoch: int,
        now: Callable[[], datetime],
        rng: Randomness,
        seal: DocumentSeal | None,
    ) -> None:
        self.epoch = epoch
        self.position = 0
        """Bytes written so far."""
        self._upload = upload
        self._seal = seal
        self._header = layout.encode_header(document.id, epoch, sealed=seal is not None)
        self._now = now
        self._rng = rng

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises `StoreError`."""
        self._upload.write(data)
        self.position += len(data)

    def lend(self, data: memoryview) -> None:
        """Write what stays as it is until `settle` has returned. Raises `StoreError`."""
        self._upload.lend(data)
        self.position += len(data)

    def settle(self) -> None:
        """What was lent may be reused when this returns. May be called from another thread. Raises `StoreError`."""
        self._upload.settle()

    def begin_run(self, number: int, generation: Generation, start: int) -> int:
        """Write the run header, behind the header of the pack if it is the first; where it lies. Raises `StoreError`."""
        if not self.position:
            self.write(self._header)
        position = self.position
        self.write(layout.encode_run_header(number, generation, start, self._seal))
        return position

    def publish(self, runs: Sequence[RunIndex]) -> PackRef:
        """Footer, trailer and name: durable when the call returns. Raises `StoreError`."""
        footer = layout.encode_footer(runs, self._seal)
        root = layout.pack_root(self._header, footer)
        position = self.position
        self.write(footer)
        self.write(layout.encode_trailer(position, len(footer), root))
        unique = names.ulid(self._now(), self._rng.randbytes(10))
        name = names.pack_name(self.epoch, unique, root.hex())
        try:
            self._upload.publish(name)
        except ObjectExists:
            # names hold 80 random bits and the content's digest: what is there is this pack, put by a try whose
            # answer was lost
            log.info("pack was there already", pack=name)
        keys = tuple(run.seal.topic_key for run in runs if run.seal is not None)
        return PackRef(name, self.position, root.hex(), self.epoch, tuple(run.facts for run in runs), keys)

    def discard(self) -> None:
        """Leave nothing behind that has no name yet."""
        self._upload.discard()
