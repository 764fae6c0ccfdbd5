"""E9: documents that people write, as somebody else would write them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kafkeep.errors import UsageError
from kafkeep.metadata.documents import read_document

TENFOLD = 40


def merged(levels: int) -> str:
    """Ten times as many pairs with each line, were they merged."""
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: v" for n in range(10)) + "}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, levels)]
    return "\n".join(lines)


def listed(levels: int) -> str:
    """Ten times as many items with each line, were they written out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"topics: *a{levels - 1}"])


HOSTILE = {
    "merged objects": merged(TENFOLD),
    "lists of lists": listed(TENFOLD),
    "itself": "topics: &a [*a]",
    "merged with itself": "a: &a {<<: *a}",
    "python object": "topics: !!python/object/apply:os.system ['touch outside']",
    "python module": "topics: !!python/module:antigravity",
    "python name": "cluster_id: !!python/name:os.system",
    "unknown tag": "cluster_id: !secret x",
    "binary": "cluster_id: !!binary aGVsbG8=",
    "set": "topics: !!set {a, b}",
    "two documents": "{}\n---\n{}\n",
    "deep": "topics: " + "[" * 5000,
    "deep objects": "{a: " * 5000,
    "long number": "cluster_id: " + "9" * 10**6,
    "nul": "cluster_id: a\0b",
    "half a surrogate": 'cluster_id: "\\ud800"',
    "endless line": "cluster_id: [" + "x, " * 200_000,
}


@pytest.mark.fault("E9")
@pytest.mark.parametrize("name", HOSTILE)
def test_e9_hostile_yaml_is_refused_at_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    with pytest.raises(UsageError) as caught:
        read_document(HOSTILE[name], "all.yaml")
    assert time.process_time() - began < 20
    assert caught.value.exit_code == 2
    assert len(caught.value.message) < 2000
    assert list(tmp_path.iterdir()) == []
