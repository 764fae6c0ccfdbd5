"""Every verb, option, setting, error and event is documented, and what is generated is up to date."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from tests.support import generate_docs
from tests.support.generate_docs import DOCS, ROOT, commands, event_classes, pages

from kafkeep import settings
from kafkeep.cli.main import VERBS, cli
from kafkeep.errors import all_errors

COMMANDS = dict(commands())
FENCE = re.compile(r"```(?:console|sh|bash|shell)\n(.*?)```", re.DOTALL)
KAFKEEP_LINE = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?(kafkeep(?: .*)?)$", re.MULTILINE)


def text(name: str) -> str:
    return (DOCS / name).read_text()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_generated_parts_are_current(page: Path) -> None:
    assert page.read_text() == generate_docs.current(page.read_text()), "run python -m tests.support.generate_docs"


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_its_help_in_the_docs(path: str) -> None:
    assert f"<!-- generated: help {path} -->" in text("cli.md")


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_explains_itself(path: str) -> None:
    command = COMMANDS[path]
    assert command.help, f"{path} has no help text"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts[0]} has no help text"
            assert not re.search(r"password|secret", parameter.opts[0]), "secrets never come by the command line"


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_says_what_the_verb_says(verb: str) -> None:
    listed = VERBS[verb][1]
    own = (COMMANDS[f"kafkeep {verb}"].help or "").split("\n\n")[0].replace("\n", " ")
    words = set(re.findall(r"[a-z]+", listed.lower()))
    assert len(words & set(re.findall(r"[a-z]+", own.lower()))) >= len(words) // 2, (listed, own)


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.slug)
def test_every_error_is_explained(error: type[Exception]) -> None:
    slug = getattr(error, "slug", "")
    assert f"\n### `{slug}`\n" in text("errors.md")


def test_errors_md_explains_no_error_that_is_not_there() -> None:
    explained = set(re.findall(r"^### `([^`]+)`$", text("errors.md"), re.MULTILINE))
    assert explained == {error.slug for error in all_errors()}
    assert len({error.slug for error in all_errors()}) == len(all_errors()), "a slug names one error"


def test_every_exit_status_is_in_the_table() -> None:
    listed = {int(status) for status in re.findall(r"^\| (\d+) \|", text("errors.md"), re.MULTILINE)}
    assert {error.exit_code for error in all_errors()} - {130} <= listed


@pytest.mark.parametrize("model", list(settings.models()), ids=lambda model: model.__name__)
def test_every_setting_is_documented(model: type[settings.Strict]) -> None:
    page = text("settings.md")
    assert f"<!-- generated: settings {model.__name__} -->" in page
    for name, key in settings.keys(model).items():
        assert key.description, f"{model.__name__}.{name} has no description"
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("event", event_classes(), ids=lambda event: event.type)
def test_every_event_is_documented(event: type) -> None:
    kind = getattr(event, "type", "")
    assert text("cli.md").count(f"\n| `{kind}` | ") == 2, "one line says when it comes, one which fields it has"


def test_the_example_of_the_settings_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", text("settings.md"), re.DOTALL)
    (tmp_path / "kafkeep.toml").write_text(example)
    loaded = settings.load(None, env={}, cwd=tmp_path, home=tmp_path)
    assert set(loaded.settings.cluster) == {"production"}


def shown_calls() -> list[str]:
    """Every `kafkeep …` line in the fenced shell examples of README and docs."""
    found = []
    for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))):
        for block in FENCE.findall(page.read_text()):
            found += [f"{page.name}: {line}" for line in KAFKEEP_LINE.findall(block.replace("\\\n", " "))]
    return found


@pytest.mark.parametrize("call", shown_calls())
def test_every_call_that_the_docs_show_can_be_read(call: str) -> None:
    _, _, line = call.partition(": ")
    words = shlex.split(re.split(r" [|>&] ?", line)[0], comments=True)[1:]
    first = next((at for at, word in enumerate(words) if word in VERBS), len(words))
    cli.make_context("kafkeep", [*words[:first], "version"])
    command: click.Command = cli
    while isinstance(command, click.Group) and first < len(words):
        found = command.get_command(click.Context(command), words[first])
        assert found is not None, f"{words[first]} is no command"
        command, first = found, first + 1
    assert command is not cli
    if not isinstance(command, click.Group):
        command.make_context("kafkeep", words[first:])


def test_the_docs_show_calls() -> None:
    assert len(shown_calls()) >= 3


def test_the_glossary_has_every_word_of_the_house() -> None:
    words = "repository pack run chunk batch generation coverage commit point gap hole map guard verify check drill"
    words += " prune pin capture compare"
    defined = " ".join(re.findall(r"^\*\*([^*]+)\*\*", text("glossary.md"), re.MULTILINE))
    assert [word for word in words.split() if word not in defined] == []


def test_pages_link_only_to_what_is_there() -> None:
    for page in sorted(DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
