"""`python -m kafkeep` is `kafkeep`."""

from __future__ import annotations

import sys

from kafkeep.cli.main import main

sys.exit(main())
