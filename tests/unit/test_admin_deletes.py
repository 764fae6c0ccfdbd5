"""Deleting more topics than go into one request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kafkeep.events import ignore
from kafkeep.kafka.admin import TOPICS_PER_REQUEST, Admin
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.retry import Retry


class Controller:
    """Deletes what it is asked to, but each `slow` topic only when it is asked a second time."""

    broker_timeout_ms = 1000

    def __init__(self, slow: frozenset[str]) -> None:
        self.slow = slow
        self.asked: list[list[str]] = []

    def retry(self, what: str) -> Retry:
        return Retry(what, seconds=5.0, sink=ignore, wait=lambda _: None)

    def send(self, api: object, body: dict[str, Any], *, to: str, retry: Retry) -> Any:
        names = body["topic_names"]
        slow = [name for name in names if name in self.slow and sum(name in each for each in self.asked) == 0]
        self.asked.append(names)
        return SimpleNamespace(
            responses=[
                SimpleNamespace(
                    name=name,
                    error_code=ErrorCode.REQUEST_TIMED_OUT if name in slow else ErrorCode.NONE,
                    error_message=None,
                )
                for name in names
            ]
        )


def test_every_topic_of_many_requests_is_deleted_and_asked_for_no_more_than_needed() -> None:
    names = [f"topic-{number}" for number in range(2 * TOPICS_PER_REQUEST + 50)]
    slow = frozenset(names[::100])
    controller = Controller(slow)
    results = Admin(controller).delete_topics(names)  # type: ignore[arg-type]
    assert results == dict.fromkeys(names)
    assert [len(asked) for asked in controller.asked] == [TOPICS_PER_REQUEST, TOPICS_PER_REQUEST, 50, len(slow)]
    assert set(controller.asked[-1]) == slow
