"""Who signed the recovery points of a repository whose commits are signed.

Whether a signature counts is decided when the log is read; here it is only told whose it is, so that a person who looks at a
plan sees which points a stolen key brought.
"""

from __future__ import annotations

from collections.abc import Mapping

from kafkeep.repository.repository import Repository
from kafkeep.retention.rules import Signer


def find_signers(repository: Repository) -> Mapping[int, Signer]:
    """By number of the point; nothing where nothing is signed."""
    if not repository.about.admins:
        return {}
    known = {key.id: key for key in repository.state.trusted}
    return {
        point.number: Signer(
            point.signer, known[point.signer].name if point.signer in known else "", point.signer in known
        )
        for point in repository.state.points
        if point.signer is not None
    }
