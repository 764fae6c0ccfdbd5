"""`kafkeep init`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from kafkeep.cli.common import Run, opened_store, pass_run, repo_option
from kafkeep.cli.jsonable import to_json


@dataclass(frozen=True, slots=True)
class Created:
    """What `init` made."""

    id: str
    url: str
    compression: str


@click.command()
@repo_option
@click.option(
    "--compression",
    type=click.Choice(["zstd", "none"]),
    help="For chunks of uncompressed batches.  [default: the setting of a named repository, else zstd]",
)
@pass_run
def init(run: Run, repo: str, compression: str | None) -> int:
    """Create a repository.

    Before anything is written, the store must show that it never overwrites an object that exists: two writers at once
    are safe only then. A store in a bucket is tried as `kafkeep doctor store` does, and what it did is kept as a report.

    Exit status: 0 created, 2 there is a repository already, 13 the store refused.
    """
    from kafkeep.repository.probing import probe_store
    from kafkeep.repository.repository import Repository

    named = run.settings.settings.repository.get(repo)
    chosen = compression if compression is not None else named.compression if named is not None else "zstd"
    with opened_store(run, repo) as store:
        repository = Repository.init(store, now=run.now, rng=run.rng, compression=chosen)
        if store.capabilities.decided_elsewhere:
            report = probe_store(store, now=run.now, rng=run.rng)
            repository.put_audit("store-probe", to_json(report))
        created = Created(id=repository.id, url=store.url, compression=chosen)
    run.output.show(f"repository {created.id} created at {created.url}")
    run.output.summary("init", created, 0)
    return 0
