"""The generated parts of docs/: `python -m tests.support.generate_docs` writes them, tests/docs checks them.

A generated part lies between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import click

from kafkeep import events, settings
from kafkeep.cli.main import VERBS, cli
from kafkeep.errors import all_errors

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WIDTH = 100
PART = re.compile(r"(<!-- generated: (?P<name>[^>]+?) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)


def commands() -> Iterator[tuple[str, click.Command]]:
    """(`kafkeep lab up`, command) of every command there is, groups before what they hold."""
    root = click.Context(cli, info_name="kafkeep")
    yield "kafkeep", cli
    for name in VERBS:
        command = cli.get_command(root, name)
        if command is None:
            raise LookupError(f"{name} is listed in VERBS and has no command")
        yield from _below(f"kafkeep {name}", command)


def _below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            if inner is not None:
                yield from _below(f"{path} {name}", inner)


def help_text(path: str, command: click.Command) -> str:
    """What `PATH --help` prints, at a fixed width."""
    context = click.Context(
        command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=["-h", "--help"]
    )
    return command.get_help(context)


def help_part(path: str, command: click.Command) -> str:
    return f"```text\n{help_text(path, command)}\n```\n"


def error_table() -> str:
    """Every error: slug, exit status, whether kafkeep tries again by itself, hint."""
    rows = ["| slug | exit | retried | class | hint |", "| --- | --- | --- | --- | --- |"]
    rows += [
        f"| `{error.slug}` | {error.exit_code} | {'yes' if error.default_retryable else 'no'} "
        f"| `{error.__name__}` | {_cell(error.default_hint)} |"
        for error in all_errors()
    ]
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def settings_table(model: type[settings.Strict]) -> str:
    rows = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for name, key in settings.keys(model).items():
        rows.append(f"| `{name}` | {_takes(key)} | {_default(key)} | {_cell(key.description)} |")
    return "\n".join(rows) + "\n"


def _takes(key: settings.Key) -> str:
    if key.table is not None:
        return "secret source" if key.table is settings.SecretSource else "table"
    kinds: dict[object, str] = {
        typing.Literal: "one word",
        tuple: "list of text",
        bool: "true or false",
        float: "number",
        int: "whole number",
        str: "text",
    }
    return kinds[typing.get_origin(key.base) or key.base]


def _default(key: settings.Key) -> str:
    if key.needed:
        return "needed"
    if key.default is None or key.default == ():
        return "none"
    return f"`{str(key.default).lower() if isinstance(key.default, bool) else key.default}`"


def event_classes() -> list[type[events.Event]]:
    """Every event, in the order of definition."""
    found = [thing for thing in vars(events).values() if isinstance(thing, type) and issubclass(thing, events.Event)]
    return [event for event in found if event is not events.Event]


def event_table() -> str:
    rows = ["| type | fields |", "| --- | --- |"]
    for event in event_classes():
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(event))
        rows.append(f"| `{event.type}` | {fields} |")
    return "\n".join(rows) + "\n"


def parts() -> dict[str, str]:
    """Every generated part by its name."""
    found = {f"help {path}": help_part(path, command) for path, command in commands()}
    found |= {f"settings {model.__name__}": settings_table(model) for model in settings.models()}
    return found | {"errors": error_table(), "events": event_table()}


def current(text: str) -> str:
    """The page with its generated parts as they should be. KeyError for a part that nothing generates."""
    known = parts()
    return PART.sub(lambda found: f"{found[1]}{known[found['name']]}{found[4]}", text)


def pages() -> list[Path]:
    return sorted(path for path in DOCS.glob("*.md") if "<!-- generated:" in path.read_text())


def main() -> None:
    for page in pages():
        page.write_text(current(page.read_text()))


if __name__ == "__main__":
    main()
