"""Making very many objects without the collector of cycles looking through all of them again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """For work of a bounded size whose objects refer to one another in no cycles: the collector would go through them many
    times and free none, which takes up to half as long as the work. Where several threads are inside, the first that
    leaves turns it on again for all.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
