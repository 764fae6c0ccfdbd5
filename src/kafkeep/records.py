"""Dataclasses whose methods are made when a class is first used.

`dataclasses.dataclass` writes the text of six or more methods for each class and compiles it: half a millisecond, for some
hundreds of classes that a command imports, most of which it never makes an instance of. `dataclass` here gives the class its
slots at once. `__init__`, which is all that most classes need, is made with the first instance, the hash and each comparison
when they are first asked for; the rest is the standard library's, as soon as somebody asks for any of it. What comes out is
the same: `fields`, `replace`, `is_dataclass`, comparison, hash, pickling and pattern matching work as ever.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """As the standard library's with these options, of which `slots=True` must be one."""

        def made(original: type) -> type:
            return _slotted(original, options)

        return made if cls is None else made(cls)


_ORDER: Final = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}
_OPERATORS: Final = {"__eq__": "==", **_ORDER}
_CLASS_VARIABLE: Final = ("ClassVar", "typing.ClassVar")
_LEFT_ALONE: Final = frozenset(("__dict__", "__weakref__", "__doc__", "__setattr__", "__delattr__"))
"""What a finished class has and the one with slots has already, in its own way."""
_originals: Final[weakref.WeakKeyDictionary[type, tuple[type, dict[str, bool]]]] = weakref.WeakKeyDictionary()
"""What each class here was made of: the class as it was written, and the options."""


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

    def begin() -> None:
        try:
            slotted.__init__ = _made_init(slotted)  # type: ignore[misc]
        except _Unusual:
            finish()

    def list_fields() -> None:
        """Of a class that inherits nothing the standard library reads them off without writing a method."""
        name, _, own = _copied(original)
        bare: type = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=options.get("kw_only", False))(
            type(original)(name, (), own)
        )
        fields: dict[str, dataclasses.Field[Any]] = {}
        for base in reversed(original.__mro__[1:]):
            fields.update(getattr(base, "__dataclass_fields__", {}))
        slotted.__dataclass_fields__ = {**fields, **vars(bare)["__dataclass_fields__"]}  # type: ignore[attr-defined]

    def compare(name: str) -> Callable[[], None]:
        def make() -> None:
            try:
                setattr(slotted, name, _made_comparison(slotted, name))
            except _Unusual:
                finish()

        return make

    own_ways = {"__init__": begin, "__dataclass_fields__": list_fields}
    own_ways |= {name: compare(name) for name in (*_OPERATORS, "__hash__")}
    body.update({name: _Later(name, own_ways.get(name, finish)) for name in later})
    if options.get("frozen"):
        for name, method in _FROZEN.items():
            body.setdefault(name, method)
    if options.get("eq", True) and not options.get("frozen") and body.get("__hash__") is None:
        body["__hash__"] = None
    slotted: type = type(original)(original.__name__, original.__bases__, body)
    _originals[slotted] = original, options
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
        names += _ORDER
    return [name for name in names if name == "__hash__" or name not in body]


class _Unusual(Exception):
    """A class that is left to the standard library as a whole: it knows more kinds of fields, and what to refuse."""


class _Part(NamedTuple):
    """A field, as far as `__init__` has to do with it."""

    name: str
    annotation: object
    default: object
    factory: Any
    keyword: bool
    compared: bool


class _Factory:
    """Stands for the default of a parameter that has none but what its factory makes."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY: Final = _Factory()


def _own_parts(original: type, options: dict[str, bool]) -> Iterator[_Part]:
    if not options.get("init", True):
        raise _Unusual
    for name, annotation in vars(original).get("__annotations__", {}).items():
        if str(annotation).startswith(_CLASS_VARIABLE):
            continue
        default = vars(original).get(name, dataclasses.MISSING)
        factory: object = dataclasses.MISSING
        keyword = options.get("kw_only", False)
        compared = True
        if isinstance(default, dataclasses.Field):
            if not default.init or default.hash is not None:
                raise _Unusual
            compared = default.compare
            keyword = default.kw_only if isinstance(default.kw_only, bool) else keyword
            factory, default = default.default_factory, default.default
        odd = name == "self" or name.startswith("_") or "InitVar" in str(annotation) or "KW_ONLY" in str(annotation)
        if odd or type(default).__hash__ is None:
            raise _Unusual
        yield _Part(name, annotation, default, factory, keyword, compared)


def _parts(slotted: type) -> list[_Part]:
    """All fields, inherited ones first, as the standard library orders them."""
    found: dict[str, _Part] = {}
    for kind in reversed(slotted.__mro__):
        if kind in _originals:
            found.update((part.name, part) for part in _own_parts(*_originals[kind]))
        elif "__dataclass_fields__" in vars(kind):
            raise _Unusual
    return list(found.values())


def _made_init(slotted: type) -> Any:
    """`__init__` of a class as the standard library would write it."""
    parts = _parts(slotted)
    frozen = _originals[slotted][1].get("frozen", False)
    names: dict[str, Any] = {"__name__": slotted.__module__, "_factory": _FACTORY}
    parameters: dict[bool, list[str]] = {False: [], True: []}
    lines = []
    optional = False
    for part in parts:
        name, value, parameter = part.name, part.name, part.name
        if part.factory is not dataclasses.MISSING:
            names[f"_make_{name}"] = part.factory
            value, parameter = f"_make_{name}() if {name} is _factory else {name}", f"{name}=_factory"
        elif part.default is not dataclasses.MISSING:
            names[f"_default_{name}"] = part.default
            parameter = f"{name}=_default_{name}"
        elif optional and not part.keyword:
            raise _Unusual  # one that is needed behind one that is not
        optional = optional or (parameter != name and not part.keyword)
        parameters[part.keyword].append(parameter)
        names[f"_set_{name}"] = getattr(slotted, name).__set__ if frozen else None
        lines.append(f" _set_{name}(self, {value})" if frozen else f" self.{name} = {value}")
    if hasattr(slotted, "__post_init__"):
        lines.append(" self.__post_init__()")
    keywords = ["*", *parameters[True]] if parameters[True] else []
    head = f"def __init__({', '.join(['self', *parameters[False], *keywords])}):\n"
    exec(head + ("\n".join(lines) or " pass"), names)
    init = names["__init__"]
    init.__qualname__ = f"{slotted.__qualname__}.__init__"
    init.__annotations__ = {**{part.name: part.annotation for part in parts}, "return": None}
    return init


def _made_comparison(slotted: type, name: str) -> Any:
    """`__hash__` or a comparison of a class as the standard library would write it."""
    mine, others = (
        "(" + "".join(f"{of}.{part.name}, " for part in _parts(slotted) if part.compared) + ")"
        for of in ("self", "other")
    )
    if name == "__hash__":
        text = f"def __hash__(self):\n return hash({mine})"
    else:
        text = (
            f"def {name}(self, other):\n"
            f" if other.__class__ is self.__class__:\n  return {mine} {_OPERATORS[name]} {others}\n"
            " return NotImplemented"
        )
    names: dict[str, Any] = {"__name__": slotted.__module__}
    exec(text, names)
    method = names[name]
    method.__qualname__ = f"{slotted.__qualname__}.{name}"
    return method


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
