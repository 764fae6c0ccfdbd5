"""The golden repositories with saved states: what the second reader needs of them, and what it does not believe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.golden.make_signed import ADMIN_KEY, WRITER_KEY
from tests.support import second_reader
from tests.support.readers import seen_by
from tests.support.second_reader import Broken, Corrupt, Reader, Unknown, roots
from tests.support.second_reader.documents import document, log_name

from kafkeep.repository.envelope import Kind, canonical, digest, wrap
from kafkeep.repository.trust import signed_text

HERE = Path(__file__).parent / "repositories"
ROOTED, TRIMMED = HERE / "format-1-rooted" / "repository", HERE / "format-1-trimmed" / "repository"
SECRET = (HERE / "format-1-trimmed" / "identity").read_text().strip()
SAVED = 22
"""The newest state of the first one."""


def objects_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_of_a_trimmed_log_only_what_is_needed_is_read() -> None:
    """The head is found without a hint, and what lies in slots below the root is ignored."""
    asked: list[str] = []
    get = second_reader.from_folder(TRIMMED)
    reader = Reader.open(lambda name: asked.append(name) or get(name), SECRET)  # type: ignore[func-returns-value]
    log = [name for name in asked if name.startswith("log/")]
    assert reader.root is not None and reader.root > 2 * roots.MILESTONE
    assert len(log) <= 40 and not any(name.startswith("hint/") for name in asked)
    assert log_name(77) not in log and get(log_name(77)) is not None, "what a sleeper left there"
    assert get(log_name(76)) is None and get(log_name(roots.MILESTONE)) is not None


def test_a_state_that_was_saved_is_the_fold_of_all_commits() -> None:
    """A reader that knows no admin reads the whole log, and comes to the same."""
    objects = objects_of(ROOTED)
    begun = Reader.open(objects.get)
    folded = Reader.open(objects.get, admins={WRITER_KEY.public})
    assert begun.root == folded.root == SAVED
    for name in ("head", "cluster_id", "packs", "points", "epoch", "retired", "swept", "pins", "floors"):
        assert getattr(begun, name) == getattr(folded, name), name
    assert begun.signed.trusted == folded.signed.trusted and sorted(begun.alarms) == sorted(folded.alarms)
    assert {of: (known.start, known.next, known.closed, known.pieces) for of, known in begun.histories.items()} == {
        of: (known.start, known.next, known.closed, known.pieces) for of, known in folded.histories.items()
    }
    assert seen_by(begun) == seen_by(folded)


# --- what is not believed ---------------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], None]


def with_root(change: Change, *, signed_by: object = ADMIN_KEY) -> dict[str, bytes]:
    """The repository as if its newest saved state, and its commit, had been written with something else in it, and all that
    is before that were gone.
    """
    objects = objects_of(ROOTED)
    commit = document(objects[log_name(SAVED)], 2)
    reference = commit["body"]["document"]
    root = document(objects[f"doc/{reference[:2]}/{reference}"], 32)
    both = {"commit": commit, "root": root}
    change(both)
    data = wrap(Kind.STATE, root)
    objects[f"doc/{digest(data)[:2]}/{digest(data)}"] = data
    if commit["body"]["document"] == reference:
        commit["body"]["document"] = digest(data)
    commit.pop("signature")
    if signed_by is not None:
        text = signed_text(document(objects["kafkeep.json"], 1)["id"], canonical(commit))
        commit["signature"] = {"key": signed_by.id, "value": signed_by.sign(text)}  # type: ignore[attr-defined]
    objects[log_name(SAVED)] = wrap(Kind.COMMIT, commit)
    for number in [*range(1, SAVED), *range(SAVED + 1, 40)]:
        objects.pop(log_name(number), None)
    return objects


def opened(objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setattr(roots, "MILESTONE", SAVED)
    return Reader.open(objects.get)


def set_in(where: str, **values: object) -> Change:
    return lambda both: both[where].update(values)


def without(table: str) -> Change:
    return lambda both: both["root"]["tables"].pop(table)


CHANGES: dict[str, Change] = {
    "another head": set_in("root", head=SAVED - 2),
    "another digest": set_in("root", head_digest="00" * 32),
    "a later version": set_in("root", version=2),
    "tables that are none": set_in("root", tables={"head": "x"}),
    "a document that is not there": set_in("root", tables={"head": ["00" * 32]}),
    "no head": without("head"),
    "no segments": without("segments"),
    "another kind": set_in("commit", kind="epoch"),
    "another body": set_in("commit", body={"document": "../.."}),
    "another number": set_in("commit", seq=SAVED + 1),
    "another place": set_in("commit", prev="00" * 32),
}


def test_a_root_as_it_was_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = opened(with_root(lambda both: None), monkeypatch)
    assert (reader.root, reader.head) == (SAVED, SAVED) and len(reader.points) >= 3


@pytest.mark.parametrize("change", CHANGES)
def test_a_root_with_something_else_in_it_is_refused(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((Broken, Corrupt, Unknown)):
        opened(with_root(CHANGES[change]), monkeypatch)


@pytest.mark.parametrize("key", [None, WRITER_KEY], ids=["nobody", "a-writer"])
def test_a_root_signed_by_somebody_else_is_refused(key: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((Broken, Corrupt)):
        opened(with_root(lambda both: None, signed_by=key), monkeypatch)


def documents_of(objects: dict[str, bytes]) -> Iterator[str]:
    """All that the newest saved state consists of but pages, which are read where they are needed."""
    reference = document(objects[log_name(SAVED)], 2)["body"]["document"]
    root = document(objects[f"doc/{reference[:2]}/{reference}"], 32)
    for each in (reference, *(one for listed in root["tables"].values() for one in listed)):
        yield f"doc/{each[:2]}/{each}"


def test_a_flip_in_a_saved_state_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = with_root(lambda both: None)
    for name in (*documents_of(objects), log_name(SAVED)):
        for place in range(0, len(objects[name]), 37):
            damaged = bytearray(objects[name])
            damaged[place] ^= 0x20
            with pytest.raises((Broken, Corrupt, Unknown)):
                opened(objects | {name: bytes(damaged)}, monkeypatch)
