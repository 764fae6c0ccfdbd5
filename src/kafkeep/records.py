"""Dataclasses whose methods are made when a class is first used.

`dataclasses.dataclass` writes the text of six or more methods for each class and compiles it: half a millisecond, for some
hundreds of classes that a command imports, most of which it never makes an instance of. `dataclass` here gives the class its
slots at once, and has the standard library make the rest as soon as somebody asks for any of it. What comes out is the same:
`fields`, `replace`, `is_dataclass`, comparison, hash, pickling and pattern matching work as ever.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """As the standard library's with these options, of which `slots=True` must be one."""

        def made(original: type) -> type:
            return _slotted(original, options)

        return made if cls is None else made(cls)


_COMPARISONS: Final = ("__lt__", "__le__", "__gt__", "__ge__")
_CLASS_VARIABLE: Final = ("ClassVar", "typing.ClassVar")
_LEFT_ALONE: Final = frozenset(("__dict__", "__weakref__", "__doc__", "__setattr__", "__delattr__"))
"""What a finished class has and the one with slots has already, in its own way."""


class _Later:
    """Stands for something that the standard library has yet to make of a class, under that thing's name."""

    __slots__ = ("_finish", "_name")

    def __init__(self, name: str, finish: Callable[[], None]) -> None:
        self._name = name
        self._finish = finish

    def __get__(self, instance: object, owner: type) -> Any:
        self._finish()
        return getattr(owner if instance is None else instance, self._name)


def _slotted(original: type, options: dict[str, bool]) -> type:
    if not options.get("slots"):
        raise TypeError(f"{original.__name__} is to have slots=True")
    body = {name: value for name, value in vars(original).items() if name not in ("__dict__", "__weakref__")}
    names = [
        name for name, kind in body.get("__annotations__", {}).items() if not str(kind).startswith(_CLASS_VARIABLE)
    ]
    for name in names:
        body.pop(name, None)
    inherited = {name for base in original.__mro__[1:] for name in getattr(base, "__slots__", ())}
    body["__slots__"] = tuple(name for name in names if name not in inherited)
    body["__qualname__"] = original.__qualname__
    later = _made_later(vars(original), options)

    def finish() -> None:
        """Twice at once does no harm: both make the same."""
        whole = dataclasses.dataclass(**{**options, "slots": False})(type(original)(*_copied(original)))
        for name, value in vars(whole).items():
            if name in later or (name not in body and name not in names and name not in _LEFT_ALONE):
                setattr(slotted, name, value)

    body.update({name: _Later(name, finish) for name in later})
    if options.get("frozen"):
        for name, method in _FROZEN.items():
            body.setdefault(name, method)
    if options.get("eq", True) and not options.get("frozen") and body.get("__hash__") is None:
        body["__hash__"] = None
    slotted: type = type(original)(original.__name__, original.__bases__, body)
    return slotted


def _copied(original: type) -> tuple[str, tuple[type, ...], dict[str, Any]]:
    """What a class like the original is made of. The documentation keeps the standard library from writing one."""
    body = {name: value for name, value in vars(original).items() if name not in ("__dict__", "__weakref__")}
    return (
        original.__name__,
        original.__bases__,
        {**body, "__qualname__": original.__qualname__, "__doc__": original.__name__},
    )


def _made_later(body: Any, options: dict[str, bool]) -> list[str]:
    """What the standard library would add to a class with this body, but for what is the same for all classes."""
    names = ["__dataclass_fields__", "__dataclass_params__", "__init__", "__repr__", "__match_args__"]
    if hasattr(dataclasses, "_replace"):
        names.append("__replace__")  # from Python 3.13 on, for copy.replace
    if options.get("eq", True):
        names.append("__eq__")
        own_hash = body.get("__hash__")
        if options.get("frozen") and own_hash is None:
            names.append("__hash__")
    if options.get("order"):
        names += _COMPARISONS
    return [name for name in names if name == "__hash__" or name not in body]


def _refuse_set(self: object, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[object]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[object]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


_FROZEN: Final = {
    "__setattr__": _refuse_set,
    "__delattr__": _refuse_delete,
    "__getstate__": _state,
    "__setstate__": _set_state,
}

__all__: Final = ("dataclass",)
