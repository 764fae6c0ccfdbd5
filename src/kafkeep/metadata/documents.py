"""A cluster image as JSON and as YAML, for people to read and to edit, and back. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from kafkeep.errors import UsageError
from kafkeep.metadata.form import from_form, to_form
from kafkeep.metadata.image import ClusterImage

if TYPE_CHECKING:
    import yaml

_HINT: Final = "Correct the named line; `kafkeep metadata export` writes the form that is read."


def to_json(image: ClusterImage) -> str:
    """Raises ValueError for an image that names one thing twice."""
    return json.dumps(to_form(image), indent=2, ensure_ascii=False) + "\n"


def to_yaml(image: ClusterImage) -> str:
    """Raises ValueError for an image that names one thing twice."""
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        def ignore_aliases(self, data: object) -> bool:
            """Everything is written where it is: anchors are not for people."""
            return True

    text: str = yaml.dump(to_form(image), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def read_document(text: str, file: str) -> ClusterImage:
    """The image of a JSON or YAML document: YAML when the name of `file` ends in `.yaml` or `.yml`, else JSON.

    Raises `UsageError` that names the file, the place inside, and what was expected there.
    """
    try:
        value = _read_yaml(text, file) if file.lower().endswith((".yaml", ".yml")) else _read_json(text, file)
        return from_form(value, file)
    except RecursionError as error:
        raise UsageError(f"{file} is nested too deeply", hint=_HINT) from error


def _read_json(text: str, file: str) -> object:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise UsageError(f"{file}: the key {name[:60]!r} is in one object twice", hint=_HINT)
            found[name] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}", hint=_HINT) from error


def _read_yaml(text: str, file: str) -> object:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            """YAML lets the last of equal keys win, in silence, and merged objects grow tenfold with every line."""
            seen: set[str] = set()
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    line = key.start_mark.line + 1
                    raise UsageError(f"{file} line {line}: objects are not merged (<<) here", hint=_HINT)
                if key.value in seen if isinstance(key, yaml.ScalarNode) else False:
                    line = key.start_mark.line + 1
                    message = f"{file} line {line}: the key {key.value[:60]!r} is in one object twice"
                    raise UsageError(message, hint=_HINT)
                if isinstance(key, yaml.ScalarNode):
                    seen.add(key.value)
            found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            return found

    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise UsageError(f"{file} is not YAML: {told}", hint=_HINT) from error
    except ValueError as error:
        # Of scalars that look like dates and are none.
        raise UsageError(f"{file} is not YAML: {error}", hint=_HINT) from error
