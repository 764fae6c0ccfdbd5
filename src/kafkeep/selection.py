"""Choosing topics and groups by name: globs, exclusions, Kafka's internal topics. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import lru_cache

from kafkeep.errors import UsageError
from kafkeep.records import dataclass

_WILDCARDS = frozenset("*?[")


@lru_cache(maxsize=4096)
def _matcher(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern[3:] if pattern.startswith("re:") else translate(pattern))
    except (re.error, OverflowError, RecursionError) as error:  # the latter two for huge counts and depths
        raise UsageError(f"pattern {pattern!r} is not a regular expression: {error}") from error


def matches(pattern: str, name: str) -> bool:
    """True when the glob (or, after `re:`, the regular expression) matches the whole name."""
    return _matcher(pattern).fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Selection:
    """Names chosen by any of `include` and by none of `exclude`.

    Internal topics (their names start with two underscores) are chosen only by a pattern that itself starts with two
    underscores, so that `*` never drags in `__consumer_offsets`.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    hides_internal: bool = True
    """False for names to which Kafka's rule does not apply: a group may begin with two underscores like any other."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.chooses(name)

    def chooses(self, name: str) -> bool:
        internal = self.hides_internal and name.startswith("__")
        wanted = any(
            matches(pattern, name) and (not internal or pattern.removeprefix("re:").lstrip("^").startswith("__"))
            for pattern in self.include
        )
        return wanted and not any(matches(pattern, name) for pattern in self.exclude)

    def pick(self, names: Iterable[str]) -> tuple[str, ...]:
        """The chosen names in sorted order."""
        return tuple(sorted(name for name in set(names) if self.chooses(name)))

    def exact_names(self) -> tuple[str, ...]:
        """Includes that name one topic exactly: they must exist, whereas a glob may match nothing."""
        return tuple(
            pattern
            for pattern in self.include
            if not pattern.startswith("re:") and not _WILDCARDS.intersection(pattern)
        )

    def unmatched(self, names: Sequence[str]) -> tuple[str, ...]:
        """Exactly named includes that are not among `names`."""
        known = set(names)
        return tuple(name for name in self.exact_names() if name not in known)
