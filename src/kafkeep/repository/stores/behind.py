"""Work that is done in order on a thread beside the one that gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

Work = Callable[[], None]


class Behind:
    """One thread, from the first piece of work on. What fails is raised by `settle`, and what was given behind it is not
    done."""

    def __init__(self, name: str) -> None:
        from concurrent.futures import ThreadPoolExecutor  # most commands write little

        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._given: list[Future[None]] = []
        self._closed = self._failed = False
        """Either way nothing is done any more."""

    def put(self, work: Work) -> None:
        """Has the work done once all that was given before it is. For one thread. Raises what work raised that was done."""
        waiting = []
        for given in self._given:
            if given.done():
                given.result()
            else:
                waiting.append(given)
        self._given = [*waiting, self._pool.submit(self._do, work)]

    def settle(self) -> None:
        """Everything that was given is done when this returns. For any thread. Raises what the work raised, each time."""
        for given in tuple(self._given):
            given.result()

    def close(self) -> None:
        """Ends the thread behind the piece it is at; what waits is not done. Closing twice is allowed."""
        self._closed = True
        self._pool.shutdown(wait=True)

    def _do(self, work: Work) -> None:
        if not (self._closed or self._failed):
            self._failed = True  # and stays so when it does
            work()
            self._failed = False
