"""Whether records can be opened here: asked before anything else is done with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kafkeep.errors import KeyRefused
from kafkeep.model import RunRef

if TYPE_CHECKING:
    from kafkeep.repository.repository import Repository


def require_keys(repository: Repository, runs: Iterable[RunRef]) -> None:
    """Raises `KeyRefused`, naming a topic, unless all of these runs can be opened with the keys that the repository was
    opened with; `CorruptObject` for a damaged key, `StoreError`. One read for each key, none where nothing is encrypted.
    """
    keyring = repository.keyring
    if keyring is None:
        return
    for key in sorted({run.key for run in runs if run.key is not None}):
        try:
            keyring.topic_private(key)
        except KeyRefused as error:
            known = repository.state.keys.topic_keys.get(key)
            if known is None or keyring.identity is None:
                raise
            raise KeyRefused(
                f"records of {known.topic[0]} cannot be opened: {error.message}",
                hint="`kafkeep keys check` tells all topics that cannot; whoever can open them wraps their keys again with"
                " `kafkeep keys add`.",
            ) from error
