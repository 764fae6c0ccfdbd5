"""The product and the second reader side by side."""

from __future__ import annotations

import json
from typing import Any

from blake3 import blake3
from tests.golden.make_repositories import described
from tests.support import sealed
from tests.support.second_reader import Reader

from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore


def reader_of(store: MemoryStore) -> Reader:
    return Reader.open(store.objects.get, sealed.secret())


def seen_by(reader: Reader) -> dict[str, Any]:
    """What the second reader finds, in the shape of `expected.json`."""
    return {
        "id": reader.repository["id"],
        "head": reader.head,
        "points": [
            {
                "number": number,
                "name": point["name"],
                "partitions": [
                    {
                        "generation": list(of),
                        "range": [start, stop],
                        "runs": [
                            [piece.start, piece.stop, blake3(reader.run(piece)).hexdigest()]
                            for piece in pieces
                            if piece.pack is not None
                        ],
                        "gaps": [[piece.start, piece.stop] for piece in pieces if piece.pack is None],
                    }
                    | ({"held_back": held} if (held := reader.held_back(number, of)) else {})
                    for of, start, stop, pieces in reader.content(number)
                ],
            }
            for number, point in reader.points.items()
        ],
    }


def in_that_shape(expected: dict[str, Any]) -> dict[str, Any]:
    """What `described` tells, without what the second reader leaves out."""
    points = [
        {
            "number": point["number"],
            "name": point["name"],
            "partitions": [part | {"gaps": [one[:2] for one in part["gaps"]]} for part in point["partitions"]],
        }
        for point in expected["points"]
    ]
    return {"id": expected["id"], "head": expected["head"], "points": points}


def same_state(reader: Reader, repository: Repository) -> bool:
    state = repository.state
    ours = {
        (of.topic, of.topic_id, of.partition, of.lineage): (known.start, known.next_offset, not known.open)
        for of, known in state.generations.items()
    }
    theirs = {of: (known.start, known.next, known.closed) for of, known in reader.histories.items()}
    packs = {entry.name for entry in state.packs}
    return (
        (reader.head, reader.cluster_id, theirs, set(reader.packs)) == (state.head, state.cluster_id, ours, packs)
        and seen_by(reader) == in_that_shape(json.loads(json.dumps(described(repository))))
    )  # fmt: skip
