"""`python -m kafkeep` is `kafkeep`."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """The command line as a program of its own; returns the exit status."""
    # What is imported next makes tens of thousands of objects, none of them garbage; the command line sets how often it is
    # looked for.
    gc.disable()
    from kafkeep.cli.main import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
