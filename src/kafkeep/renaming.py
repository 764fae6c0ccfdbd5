"""Target names of topics. Pure."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from kafkeep.errors import UsageError
from kafkeep.records import dataclass

_IN_NAMES = frozenset(string.ascii_letters + string.digits + "._-=")
"""What a topic's name and the sign behind it may hold (clients/common/internals/Topic.java): never sed's delimiter."""


@dataclass(frozen=True, slots=True)
class Rename:
    """A rename of topics as sed writes it: `s/PATTERN/REPLACEMENT/`, or `OLD=NEW` for one topic."""

    pattern: str
    replacement: str
    literal: bool

    @classmethod
    def parse(cls, text: str) -> Rename:
        """Raises `UsageError` when the text is neither form or the pattern is not a regular expression."""
        if text.startswith("s") and len(text) > 3 and text[1] not in _IN_NAMES and text.count(text[1]) == 3:
            _, pattern, replacement, flags = text.split(text[1])
            try:
                re.compile(pattern)
                re.sub(pattern, replacement, "")
            except (re.error, IndexError, OverflowError, RecursionError) as error:
                raise UsageError(f"rename {text!r}: {error}") from error
            if flags:
                raise UsageError(f"rename {text!r}: no flags are known, found {flags!r}")
            return cls(pattern, replacement, literal=False)
        old, equals, new = text.partition("=")
        if not (equals and old and new):
            raise UsageError(f"rename {text!r} is neither s/PATTERN/REPLACEMENT/ nor OLD=NEW")
        return cls(old, new, literal=True)

    def apply(self, topic: str) -> str:
        if self.literal:
            return self.replacement if topic == self.pattern else topic
        return re.sub(self.pattern, self.replacement, topic, count=1)


def renamed(topic: str, renames: Sequence[Rename]) -> str:
    """The target name of a topic: the first rename that changes it decides."""
    for rename in renames:
        if (new := rename.apply(topic)) != topic:
            return new
    return topic
