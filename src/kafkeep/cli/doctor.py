"""`kafkeep doctor`."""

from __future__ import annotations

import click

from kafkeep.cli.common import Run, opened_store, pass_run, place_option
from kafkeep.cli.render import Grid
from kafkeep.errors import StoreNotCreateOnly


@click.group()
def doctor() -> None:
    """Try out what kafkeep depends on."""


@doctor.command("store")
@place_option
@pass_run
def store_command(run: Run, repo: str) -> int:
    """Try out whether a store does what a repository needs of it.

    Small objects are made under hint/, where nothing counts, read back, and deleted again if the login may. The place may
    hold a repository or be empty; a repository there is not changed.

    Exit status: 0 fit, or fit for one writer at a time where the repository was made for that; 13 the store cannot be
    reached or is not fit: then a repository in it could lose what one writer committed to another.
    """
    from kafkeep.cli.stores import ONE_WRITER, takes_one_writer
    from kafkeep.repository.probing import probe_store

    with opened_store(run, repo) as store:
        report = probe_store(store, now=run.now, rng=run.rng)
        single = takes_one_writer(store)
    rows = tuple(
        (probe.name, "yes" if probe.passed else "no" if probe.needed else "no, not needed", probe.found)
        for probe in report.probes
    )
    run.output.show(Grid(("probe", "passed", "what was seen"), rows))
    if not report.fit and not (single and report.fit_for_one):
        raise StoreNotCreateOnly(f"{report.url} is not fit for a repository: {report.failure}")
    writers = "any number of writers" if report.fit else "one writer at a time"
    run.output.show(f"{report.url} is fit for a repository with {writers}")
    if single:
        run.output.show(f"the repository here takes {ONE_WRITER}")
    run.output.summary("doctor store", report, 0)
    return 0
