"""Writes a cluster image into a folder, for people and for Kafka's own tools."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Final

from kafkeep.errors import UsageError
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.layouts import J0, LAYOUTS, PLAIN, ExportFile, j0_files, plain_files

_HINT: Final = "Name a folder that is not there yet or is empty."
_PLACE_HINT: Final = "Check that the place can be written and has room; an export can be done again."


def export(image: ClusterImage, directory: Path, layout: str = PLAIN, *, now: datetime) -> tuple[Path, ...]:
    """Writes all files of a layout (of `LAYOUTS`) and returns their paths, sorted.

    Each file appears whole or not at all, for its owner only (folders 0700, files 0600, scripts 0700). `plain` wants a
    folder that is absent or empty; `j0` adds folders of `now` to what is there and never replaces a file.

    Raises:
        UsageError: an unknown layout, a folder that holds something, or a place that cannot be written; ValueError for
            an image that names one thing twice.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"{layout!r} is no layout", hint=f"Layouts are {' and '.join(LAYOUTS)}.")
    files = j0_files(image, now) if layout == J0 else plain_files(image)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if layout == PLAIN and any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty", hint=_HINT)
        for file in files:
            if (directory / file.path).exists():
                hint = "Take another folder, or wait a second."
                raise UsageError(f"{directory / file.path} is there already", hint=hint)
        return tuple(_write(directory, file) for file in files)
    except OSError as error:
        reason = error.strerror or "cannot be written"
        raise UsageError(f"cannot write {error.filename or directory}: {reason}", hint=_PLACE_HINT) from error


def _write(directory: Path, file: ExportFile) -> Path:
    path = directory / file.path
    for folder in reversed(path.relative_to(directory).parents):
        (directory / folder).mkdir(mode=0o700, exist_ok=True)
    unfinished = path.with_name(".unfinished")
    unfinished.unlink(missing_ok=True)
    mode = 0o700 if file.executable else 0o600
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
            opened.write(file.text.encode())
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return path
