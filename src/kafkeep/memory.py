"""Large pieces of memory that begin at a page."""

from __future__ import annotations

import mmap
import sys
from typing import Final

HUGE_PAGE: Final = 2 * 1024 * 1024
"""Bytes of a huge page of most processors; where they are other ones this is only a size to round up to."""


def pages(size: int) -> mmap.mmap:
    """At least `size` bytes, which take memory as they are filled; whole huge pages where the system has them.

    The memory is the process's own, and not shared with its children as `mmap.mmap` has it by default: Linux keeps huge
    pages from shared memory as a rule. In small pages receiving and direct I/O spend a fifth of their time on looking up
    where pages lie.
    """
    whole = -(-size // HUGE_PAGE) * HUGE_PAGE
    if sys.platform == "win32":
        return mmap.mmap(-1, whole)
    memory = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            return memory  # a kernel without huge pages
    return memory
