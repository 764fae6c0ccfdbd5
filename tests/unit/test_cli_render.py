"""Events, tables and errors, for people and as JSON lines."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest
from tests.support.generate_docs import event_classes

from kafkeep.cli.progress import Tally
from kafkeep.cli.render import Grid, HumanOutput, JsonOutput, event_text, make_output
from kafkeep.cli.text import Redactor
from kafkeep.errors import KafkaUnreachable
from kafkeep.events import (
    Committed,
    Event,
    GapFound,
    GenerationChanged,
    PackStored,
    PartFailed,
    PartitionDone,
    Progress,
    Retried,
    Stage,
    Warned,
    WorkPlanned,
)
from kafkeep.model import Gap, Generation, GenerationOpened, OffsetRange, TopicPartition
from kafkeep.secret import Secret

EVIL = "evil\x1b[2J\u202e"
GENERATION = Generation(EVIL, "AAAAAAAAAAAAAAAAAAAAAA", 0)
EXAMPLES: tuple[Event, ...] = (
    Stage("records", EVIL),
    WorkPlanned("backup", 2, 100, 1000),
    Progress("backup", 10, 100),
    PackStored("pack/aa", 3, 1000),
    Committed(4, "add", 1, 10),
    GapFound(Gap(GENERATION, OffsetRange(0, 5), "retention", EVIL, "2026-11-20T10:00:00.000Z")),
    GenerationChanged(GenerationOpened(GENERATION, 0, "first-seen")),
    PartFailed(EVIL, "kafka", EVIL),
    Warned(EVIL, EVIL),
    Retried(EVIL, EVIL, 2, 0.5),
    PartitionDone("backup", TopicPartition(EVIL, 0), 10, 100),
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def human(clock: Clock, *, err: io.StringIO | None = None, live: bool = False, verbosity: int = 0) -> HumanOutput:
    err = io.StringIO() if err is None else err
    return HumanOutput(io.StringIO(), err, verbosity=verbosity, redact=Redactor(), clock=clock, colour=False, live=live)


def as_json(clock: Clock) -> JsonOutput:
    return JsonOutput(io.StringIO(), io.StringIO(), verbosity=0, redact=Redactor(), clock=clock)


def text_of(stream: Any) -> str:
    return str(stream.getvalue())


def lines_of(output: JsonOutput) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(output.out).splitlines()]


def test_every_event_has_an_example() -> None:
    assert {type(event) for event in EXAMPLES} == set(event_classes())


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.type)
@pytest.mark.fault("P7")
def test_no_event_moves_the_cursor(event: Event) -> None:
    clock = Clock()
    for output in (human(clock, verbosity=1), as_json(clock)):
        output.event(event)
        output.close()
        shown = text_of(output.out) + text_of(output.err)
        assert "\x1b" not in shown
        assert "\u202e" not in shown


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.type)
def test_every_event_is_a_json_line_of_its_type(event: Event) -> None:
    output = as_json(Clock())
    output.event(event)
    output.close()
    (found,) = lines_of(output)
    assert found["type"] == event.type


def test_what_only_v_shows() -> None:
    quiet = {type(event) for event in EXAMPLES if event_text(event, 0) is None}
    assert quiet == {WorkPlanned, Progress, PackStored, Committed, PartitionDone}
    assert {type(event) for event in EXAMPLES if event_text(event, 1) is None} == {WorkPlanned, Progress}


def test_json_progress_is_gathered_and_loses_nothing() -> None:
    clock = Clock()
    output = as_json(clock)
    for _ in range(100):
        clock.now += 0.05
        output.event(Progress("backup", 1, 10))
    output.event(Stage("commit"))
    output.event(Progress("backup", 1, 10))
    output.summary("backup", Stage("x"), 0)
    lines = lines_of(output)
    progress = [line for line in lines if line["type"] == "progress"]
    assert len(progress) <= 7
    assert sum(line["records"] for line in progress) == 101
    assert lines[-1]["type"] == "summary"
    stage = next(number for number, line in enumerate(lines) if line["type"] == "stage")
    assert sum(line["records"] for line in lines[:stage]) == 100


def test_partitions_that_end_do_not_make_progress_told_more_often() -> None:
    output = as_json(Clock())
    done = next(event for event in EXAMPLES if isinstance(event, PartitionDone))
    for _ in range(50):
        output.event(Progress("backup", 1, 10))
        output.event(done)
    output.close()
    told = [line["type"] for line in lines_of(output)]
    assert told == ["partition-done"] * 50 + ["progress"]


def test_an_error_is_the_last_json_line_and_talk_for_people() -> None:
    output = as_json(Clock())
    output.event(Progress("backup", 1, 10))
    output.error(KafkaUnreachable("no answer from k:1", hint="Look."), 14)
    last = lines_of(output)[-1]
    assert last == {
        "type": "error",
        "slug": "kafka-unreachable",
        "message": "no answer from k:1",
        "hint": "Look.",
        "exit_code": 14,
        "retryable": True,
    }
    assert text_of(output.err) == "kafkeep: no answer from k:1\n  hint: Look.\n"


def test_people_get_a_line_every_ten_seconds_without_a_terminal() -> None:
    clock = Clock()
    output = human(clock)
    output.event(WorkPlanned("backup", 1, 400, None))
    for _ in range(100):
        clock.now += 0.25
        output.event(Progress("backup", 1, 1_000_000))
    assert text_of(output.err).splitlines() == [
        "backup: 10 %, 40 MB, 40 records, 4 MB/s, 1:30 left",
        "backup: 20 %, 80 MB, 80 records, 4 MB/s, 1:20 left",
    ]
    assert text_of(output.out) == ""


def test_people_get_a_bar_on_a_terminal() -> None:
    clock = Clock()
    err = Terminal()
    output = human(clock, err=err, live=True)
    output.event(WorkPlanned("backup", 1, 10, None))
    clock.now += 1
    output.event(Progress("backup", 5, 1_000_000))
    output.event(Warned("careful", ""))
    output.close()
    output.close()
    shown = text_of(err)
    assert "warning: careful" in shown
    assert "50 %, 1 MB" in shown
    assert text_of(output.out) == ""


@pytest.mark.fault("P7")
def test_tables_are_escaped_redacted_and_never_cut() -> None:
    output = human(Clock())
    output.redact.add(Secret("canary-4711"))
    wide = "x" * 300
    output.show(
        Grid(("name", ">count"), ((EVIL, "1"), (wide, "2"), ("canary-4711", "3"), ("[red]x[/red]", "4"))), "done"
    )
    shown = text_of(output.out)
    assert "evil\\x1b[2J\\u202e" in shown
    assert wide in shown
    assert "canary" not in shown
    assert "[red]x[/red]" in shown
    assert shown.endswith("done\n")


def test_json_shows_no_tables_and_people_no_items() -> None:
    output = as_json(Clock())
    output.show("talk", Grid(("a",), (("b",),)))
    assert text_of(output.out) == ""
    people = human(Clock())
    people.item("point", Stage("x"))
    people.summary("points", Stage("x"), 0)
    assert text_of(people.out) == ""


def test_a_lost_reader_does_not_stop_the_work() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    for output in (
        JsonOutput(Gone(), io.StringIO(), verbosity=0, redact=Redactor(), clock=Clock()),
        HumanOutput(io.StringIO(), Gone(), verbosity=0, redact=Redactor(), clock=Clock()),
    ):
        output.event(Stage("records"))
    with pytest.raises(BrokenPipeError):
        JsonOutput(Gone(), io.StringIO(), verbosity=0, redact=Redactor(), clock=Clock()).summary("x", Stage("x"), 0)


def test_lines_of_many_threads_do_not_mix() -> None:
    output = as_json(Clock())

    def work() -> None:
        for _ in range(200):
            output.event(Stage("records", "x" * 200))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines_of(output)) == 800


def test_dumb_terminals_get_lines() -> None:
    for dumb, live in ((True, False), (False, True)):
        output = make_output(
            json=False,
            out=io.StringIO(),
            err=Terminal(),
            verbosity=0,
            redact=Redactor(),
            clock=Clock(),
            dumb=dumb,
            colour=True,
        )
        assert isinstance(output, HumanOutput)
        assert output.live is live


class TestTally:
    def test_bytes_go_before_records(self) -> None:
        tally = Tally.of(WorkPlanned("x", 1, 100, 1000), 0.0)
        tally.add(Progress("x", 90, 250))
        assert tally.share() == 0.25
        assert tally.seconds_left(10.0) == 30.0

    def test_nothing_to_do_is_all_done(self) -> None:
        assert Tally.of(WorkPlanned("x", 1, 0, None), 0.0).share() == 1.0

    def test_unknown_totals_have_no_share(self) -> None:
        tally = Tally.of(WorkPlanned("x", 1, None, None), 0.0)
        assert tally.share() is None
        assert tally.text(0.0) == "0 B, 0 records, 0 B/s"
