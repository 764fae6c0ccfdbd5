"""`kafkeep metadata`: topics, settings, permissions and groups without records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kafkeep.cli.as_of import as_of_option
from kafkeep.cli.common import (
    TAG,
    Run,
    check_metadata_route,
    cluster_option,
    finish,
    flat,
    key_options,
    metadata_route_options,
    opened_cluster,
    opened_repository,
    pass_run,
    repo_option,
    topics_options,
    warn_of_credentials,
)
from kafkeep.cli.metadata_text import (
    backup_parts,
    diff_parts,
    export_parts,
    plan_parts,
    plan_status,
    result_parts,
    result_status,
)
from kafkeep.cli.services import has_connect, opened_services
from kafkeep.cli.users import ASK, ask_passwords, read_passwords
from kafkeep.errors import UsageError
from kafkeep.metadata.options import APPLY_AREAS, DIFFERENCE_AREAS, EXISTING, USERS
from kafkeep.metadata.steps_services import KEEP, SCHEMA_IDS

if TYPE_CHECKING:
    from kafkeep.metadata.image import ClusterImage
    from kafkeep.metadata.options import ApplyOptions

LAYOUTS: Final = ("plain", "j0")


@click.group()
def metadata() -> None:
    """Keep, compare, export and apply a cluster's topics, settings, permissions and groups, without its records."""


@metadata.command()
@repo_option
@cluster_option
@click.option("--name", metavar="NAME", help="Name of the recovery point.")
@click.option("--tag", "tags", multiple=True, type=TAG, help="A note on the recovery point. Repeatable.")
@metadata_route_options
@pass_run
def backup(
    run: Run,
    repo: str,
    cluster: str,
    name: str | None,
    tags: tuple[tuple[str, str], ...],
    metadata_route: str,
    include_credentials: bool,
) -> int:
    """Make a recovery point of all but the records: topics, configs, ACLs, quotas, users, groups and their positions.

    Takes seconds. `latest` goes on to mean the newest point with records for the verbs that need records.

    Exit status: 0 done, 3 done, and some part could not be read.
    """
    from kafkeep.metadata import run as operation

    check_metadata_route(metadata_route, include_credentials and not has_connect(run, cluster))
    warn_of_credentials(run, metadata_route, include_credentials)
    with (
        opened_repository(run, repo) as repository,
        opened_cluster(run, cluster) as source,
        opened_services(run, cluster) as services,
    ):
        point = operation.back_up_metadata(
            source,
            repository,
            name=name,
            tags=tags,
            now=run.now,
            route=metadata_route,
            credentials=include_credentials,
            services=services,
            sink=run.output.event,
        )
        image = operation.image_of_point(repository, point)
    return finish(run, "metadata backup", point, backup_parts(point, image), 0 if point.complete else 3)


@metadata.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@repo_option
@click.option("--name", metavar="NAME", help="Name of the recovery point.")
@click.option("--tag", "tags", multiple=True, type=TAG, help="A note on the recovery point. Repeatable.")
@click.option("--other-cluster", is_flag=True, help="Take a document of another cluster than the repository's.")
@pass_run
def import_(
    run: Run, file: Path, repo: str, name: str | None, tags: tuple[tuple[str, str], ...], other_cluster: bool
) -> int:
    """Make a recovery point of metadata.json or metadata.yaml of an export, edited or not.

    The point can be compared, applied and exported like any other. Its tags say that it was imported, of what, and when
    that was so; `latest` and `@time` never mean it.

    Exit status: 0 done, 3 done, and the document says that some part could not be read.
    """
    from kafkeep.metadata import run as operation
    from kafkeep.metadata.imports import import_image

    document = _document(file)
    with opened_repository(run, repo) as repository:
        point = import_image(
            repository,
            document,
            file=file.name,
            name=name,
            tags=tags,
            other_cluster=other_cluster,
            now=run.now,
            sink=run.output.event,
        )
        image = operation.image_of_point(repository, point)
    parts = backup_parts(point, image)
    return finish(run, "metadata import", point, parts, 0 if point.complete else 3)


@metadata.command()
@click.argument("point")
@repo_option
@as_of_option()
@click.option(
    "--dir", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write into."
)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="plain",
    show_default=True,
    help="plain: all files side by side in an empty folder. j0: folders by subject and time, added to what is there.",
)
@pass_run
def export(run: Run, point: str, repo: str, folder: Path, layout: str) -> int:
    """Write a recovery point's metadata as files for people and for Kafka's own tools.

    Text files, JSON and YAML that `metadata apply --file` reads, offsets as JSON and as the CSV that
    `kafka-consumer-groups` takes, and a script of Kafka's own commands that makes everything again without kafkeep.
    """
    from kafkeep.metadata import run as operation
    from kafkeep.metadata.export import export as write

    with opened_repository(run, repo) as repository:
        image = operation.image_of_point(repository, repository.point(point, with_records=False))
    files = write(image, folder, layout, now=run.now())
    return finish(run, "metadata export", {"files": [str(file) for file in files]}, export_parts(files, folder), 0)


@metadata.command()
@click.argument("point", required=False)
@click.option("--repo", metavar="R", help="Repository of POINT: a name from the settings, a URL or a folder.")
@key_options
@as_of_option()
@cluster_option
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="metadata.json or metadata.yaml of an export, edited or not, instead of POINT.",
)
@click.option(
    "--only", "only", multiple=True, type=click.Choice(APPLY_AREAS), help="Only this part. Repeatable.  [default: all]"
)
@topics_options
@click.option(
    "--existing",
    type=click.Choice(EXISTING),
    default="keep",
    show_default=True,
    help="What is there with another value: keep it, align it with the point, or fail before anything is done.",
)
@click.option("--prune-extra", is_flag=True, help="Also remove what the point does not have. Needs --yes.")
@click.option("--yes", is_flag=True, help="Confirm the removals of --prune-extra.")
@click.option("--replication-factor", type=click.IntRange(1, 32767), help="Of topics that are made, not the source's.")
@click.option(
    "--users-file",
    "passwords",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Passwords of SCRAM users: a line for each, the name, one tab, the password; no cluster shows them. - asks.",
)
@click.option(
    "--schema-ids",
    type=click.Choice(SCHEMA_IDS),
    default=KEEP,
    show_default=True,
    help="keep: schemas have the ids that records carry, or the plan is refused. map: the registry gives ids, and the "
    "result says which became which.",
)
@click.option(
    "--resume-connectors",
    is_flag=True,
    help="Start connectors that ran before. They are made stopped, and stay so without this.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@pass_run
def apply(
    run: Run, point: str | None, repo: str | None, cluster: str, file: Path | None, dry_run: bool, **given: Any
) -> int:
    """Make a cluster's topics, settings and permissions as a recovery point or a file has them.

    Idempotent: applied a second time it does nothing. What cannot be carried over is named with its reason. Records are
    `kafkeep restore`'s, positions of groups `kafkeep groups apply`'s.

    Exit status: 0 done, 3 some steps were refused or something is missing on the target, 4 nothing to do, 24 refused.
    """
    from kafkeep.metadata import run as operation
    from kafkeep.metadata.apply import apply_metadata

    image = _source(run, point, repo, file)
    options = apply_options(given)
    passwords = read_passwords(given["passwords"])
    if given["passwords"] == ASK and USERS in options.only:
        passwords = ask_passwords(user.name for user in image.inventory.scram_users)
    sink = run.output.event
    with opened_cluster(run, cluster) as target, opened_services(run, cluster) as services:
        plan = operation.prepare(
            target, image, options, passwords=passwords.keys(), now=run.now, services=services, sink=sink
        )
        if dry_run:
            return finish(run, "metadata apply", plan, plan_parts(plan, brief=_brief(run)), plan_status(plan))
        if plan.removals and not given["yes"]:
            raise UsageError(
                f"--prune-extra would remove {len(plan.removals)} thing(s)",
                hint="See them with --dry-run, and confirm with --yes.",
            )
        result = apply_metadata(target, plan, passwords=passwords, rng=run.rng, services=services, sink=sink)
    return finish(run, "metadata apply", result, result_parts(result, brief=_brief(run)), result_status(result))


@metadata.command()
@click.argument("left")
@click.argument("right", required=False)
@repo_option
@as_of_option()
@click.option("--cluster", metavar="C", help="A live cluster instead of RIGHT: a name from the settings, or host:port.")
@click.option(
    "--only",
    "only",
    multiple=True,
    type=click.Choice(DIFFERENCE_AREAS),
    help="Only this part. Repeatable.  [default: all]",
)
@pass_run
def diff(run: Run, left: str, right: str | None, repo: str, cluster: str | None, only: tuple[str, ...]) -> int:
    """Compare the metadata of two recovery points, or of a recovery point and a live cluster.

    Topics, every config, ACLs, quotas, users, features, positions and lag of groups. As a check for drift: `--only`
    what must not change.

    Exit status: 0 nothing differs, 3 nothing differs and some part could not be compared, 22 something differs.
    """
    from kafkeep.metadata import run as operation
    from kafkeep.metadata.differences import compare_images

    if (right is None) == (cluster is None):
        raise UsageError("metadata diff takes RIGHT, or --cluster C", hint="Give one of the two.")
    with opened_repository(run, repo) as repository:
        first = operation.image_of_point(repository, repository.point(left, with_records=False))
        if right is not None:
            second = operation.image_of_point(repository, repository.point(right, with_records=False))
    if cluster is not None:
        with opened_cluster(run, cluster) as live, opened_services(run, cluster) as services:
            second, _ = operation.image_of_cluster(live, now=run.now, services=services, sink=run.output.event)
    found = compare_images(first, second, only or DIFFERENCE_AREAS)
    status = 22 if found.differences else (3 if found.not_compared else 0)
    return finish(run, "metadata diff", found, diff_parts(found, brief=_brief(run)), status)


def _source(run: Run, point: str | None, repo: str | None, file: Path | None) -> ClusterImage:
    from kafkeep.metadata import run as operation

    if (point is None) == (file is None) or (point is None) != (repo is None):
        raise UsageError("metadata apply takes POINT and --repo, or --file", hint="Give one of the two.")
    if file is not None:
        if run.key_files or run.as_of is not None:
            what = "keys are given" if run.key_files else "--as-of is given"
            raise UsageError(f"{what}, and no repository is opened", hint="Leave them out beside --file.")
        return _document(file)
    with opened_repository(run, repo or "") as repository:
        return operation.image_of_point(repository, repository.point(point or "", with_records=False))


def _document(file: Path) -> ClusterImage:
    """The image of a document that a person may have edited. Raises `UsageError`."""
    from kafkeep.metadata.documents import read_document

    try:
        # Not as a text file: that would make line feeds of the carriage returns in it.
        return read_document(file.read_bytes().decode("utf-8-sig"), str(file))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text") from error


def apply_options(given: dict[str, Any]) -> ApplyOptions:
    """The operation's options from the command's."""
    from kafkeep.metadata.options import ApplyOptions

    return ApplyOptions(
        only=frozenset(given["only"] or APPLY_AREAS),
        topics=flat(given["topics"], ("*",)),
        exclude=flat(given["exclude"]),
        existing=given["existing"],
        prune_extra=given["prune_extra"],
        replication_factor=given["replication_factor"],
        schema_ids=given["schema_ids"],
        resume_connectors=given["resume_connectors"],
    )


def _brief(run: Run) -> bool:
    """Tables are made to fit a terminal; in a file or a pipe values are whole."""
    return run.output.out.isatty()
