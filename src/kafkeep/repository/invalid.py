"""What a commit that breaks a rule is refused with. Pure."""

from __future__ import annotations


class Invalid(ValueError):
    """The rule a commit would break."""
