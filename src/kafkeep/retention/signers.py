"""Who signed the recovery points of a repository whose commits are signed.

Whether a signature counts is decided when the log is read; here it is only told whose it is, so that a person who looks at a
plan sees which points a stolen key brought.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from kafkeep.errors import CorruptionError
from kafkeep.repository import chain
from kafkeep.repository.envelope import Kind, unwrap
from kafkeep.repository.names import log_name
from kafkeep.repository.nouns import Malformed
from kafkeep.repository.repository import Repository
from kafkeep.repository.trust import decode_signature
from kafkeep.retention.rules import Signer


def find_signers(repository: Repository) -> Mapping[int, Signer]:
    """By number of the point; nothing where nothing is signed. Reads one commit for each point. Raises `StoreError`."""
    if not repository.about.admins:
        return {}
    numbers = [point.number for point in repository.state.points]
    known = {key.id: key for key in repository.state.trusted}
    with ThreadPoolExecutor(max(1, repository.store.capabilities.parallel_reads)) as pool:
        keys = dict(zip(numbers, pool.map(lambda number: _key(repository, number), numbers), strict=True))
    return {
        number: Signer(key, known[key].name if key in known else "", key in known)
        for number, key in keys.items()
        if key is not None
    }


def _key(repository: Repository, number: int) -> str | None:
    """The id of the key; None for what cannot be read as it once was, which is for `verify` to tell."""
    name = log_name(number)
    try:
        data = chain.read_commit(repository.store, number)
        value = None if data is None else unwrap(data, Kind.COMMIT, name, repository.seal)
        return decode_signature(value["signature"]).key if isinstance(value, dict) else None
    except (CorruptionError, Malformed, KeyError):
        return None
