"""Where the records of repartitioned topics lie on their way: `--spool-dir` of `restore` and `compare`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from kafkeep.errors import UsageError

spool_option = click.option(
    "--spool-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the records of repartitioned topics lie on their way; they need about what they take at the source.  "
    "[default: the system's folder for temporary files]",
)


def spool_folder(given: Path | None) -> str | None:
    """The folder for temporary files: the one given, or the system's ($TMPDIR, /tmp); None when it has none.

    Raises `UsageError` when the one given is no folder.
    """
    if given is None:
        try:
            return tempfile.gettempdir()
        except OSError:
            return None
    folder = given.absolute()
    if not folder.is_dir():
        raise UsageError(f"--spool-dir {folder} is no folder", hint="Name a folder that exists.")
    return str(folder)
