"""`kafkeep.records.dataclass` is held against the standard library's: the same classes, made by each."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import operator
import pickle
import pkgutil
import threading
import typing
from collections.abc import Callable, Iterator
from dataclasses import field, fields, is_dataclass, replace
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, Generic, TypeVar

import pytest

import kafkeep
from kafkeep import records
from kafkeep.model import OffsetRange, TopicPartition

T = TypeVar("T")
OPTIONAL = ("kafkeep.work.dask", "kafkeep.work.dask_worker", "kafkeep.lab", "kafkeep.__main__")
"""Parts that may lack what they need here, or that run when they are imported."""


def family(dataclass: Any) -> dict[str, Any]:
    """One of each kind that the project has."""

    @dataclass(frozen=True, slots=True)
    class Base:
        kind: ClassVar[str] = "base"
        name: str

    @dataclass(frozen=True, slots=True)
    class Derived(Base):
        kind: ClassVar[str] = "derived"
        number: int = 3
        hidden: int = field(default=0, compare=False, repr=False)

        def doubled(self) -> int:
            return self.number * 2

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Keyword:
        one: int
        many: list[int] = field(default_factory=list)

        def __post_init__(self) -> None:
            if self.one < 0:
                raise ValueError("below zero")

    @dataclass(frozen=True, slots=True, order=True)
    class Ordered:
        a: int
        b: str = ""

        def __str__(self) -> str:
            return f"{self.a}-{self.b}"

    @dataclass(slots=True)
    class Mutable:
        a: int = 1

    @dataclass(slots=True, eq=False)
    class ByIdentity:
        a: int = 1

    @dataclass(frozen=True, slots=True)
    class OwnMethods(Generic[T]):
        value: T

        def __eq__(self, other: object) -> bool:
            return isinstance(other, OwnMethods)

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "own"

    @dataclass(frozen=True, slots=True)
    class OwnEquality:
        value: int

        def __eq__(self, other: object) -> bool:
            return True

    @dataclass(frozen=True, slots=True)
    class Empty:
        pass

    return {name: each for name, each in locals().items() if isinstance(each, type)}


OURS, THEIRS = family(records.dataclass), family(dataclasses.dataclass)
Attempt = Callable[[dict[str, Any]], object]


def outcome(attempt: Attempt, classes: dict[str, Any]) -> object:
    try:
        return attempt(classes)
    except Exception as error:  # noqa: BLE001 - which one it is, and what it says, is compared
        return type(error).__name__, str(error)


def matched(value: object, classes: dict[str, Any]) -> object:
    derived = SimpleNamespace(**classes)
    match value:
        case derived.Derived(name, number, hidden):
            return name, number, hidden
    return None


ATTEMPTS: dict[str, Attempt] = {
    "repr": lambda c: repr(c["Derived"]("x", 4, 5)),
    "fields": lambda c: [[(f.name, f.type, f.compare, f.kw_only) for f in fields(each)] for each in c.values()],
    "defaults": lambda c: [f.default is dataclasses.MISSING for f in fields(c["Derived"])],
    "signatures": lambda c: [str(inspect.signature(each)) for each in c.values()],
    "hints": lambda c: [typing.get_type_hints(c[name]) for name in ("Derived", "Keyword", "Ordered")],
    "equal": lambda c: [c["Derived"]("x", 4, 5) == c["Derived"]("x", 4, 6), c["Derived"]("x") == c["Derived"]("y")],
    "equal to another class": lambda c: c["Base"]("x") == c["Derived"]("x"),
    "hash": lambda c: [
        hash(c["Derived"]("x", 4, 5)),
        hash(c["Ordered"](1)),
        hash(c["Empty"]()),
        hash(c["OwnMethods"](1)),
    ],
    "hash of own equality": lambda c: hash(c["OwnEquality"](3)),
    "no hash": lambda c: hash(c["Mutable"]()),
    "no hash is told": lambda c: c["Mutable"].__hash__,
    "identity": lambda c: (c["ByIdentity"]() == c["ByIdentity"](), c["ByIdentity"].__hash__ is object.__hash__),
    "order": lambda c: [c["Ordered"](1, "b") < c["Ordered"](2), sorted(map(c["Ordered"], (3, 1)))[0].a],
    "no order": lambda c: c["Mutable"]() < c["Mutable"](),
    "order among others": lambda c: c["Ordered"](1) >= 3,
    "all orders": lambda c: [
        compare(c["Ordered"](one), c["Ordered"](two))
        for compare in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)
        for one in (1, 2)
        for two in (1, 2)
    ],
    "inherited fields": lambda c: [
        hash(c["Derived"]("x", 4, 5)) == hash(c["Derived"]("x", 4, 6)),
        c["Derived"]("x", 4) == c["Derived"]("y", 4),
        c["Empty"]() == c["Empty"](),
    ],
    "own methods": lambda c: [repr(c["OwnMethods"](1)), c["OwnMethods"](1) == c["OwnMethods"](2), str(c["Ordered"](1))],
    "replace": lambda c: repr(replace(c["Derived"]("x"), number=9)),
    "replace by copy": lambda c: repr(copy.__replace__(c["Derived"]("x"), number=9)),  # type: ignore[attr-defined]
    "too many": lambda c: c["Base"](1, 2),
    "missing": lambda c: c["Keyword"](),
    "by position": lambda c: c["Keyword"](1),
    "post init": lambda c: c["Keyword"](one=-1),
    "factory": lambda c: c["Keyword"](one=1).many is not c["Keyword"](one=1).many,
    "frozen": lambda c: setattr(c["Derived"]("x"), "number", 4),
    "frozen against deleting": lambda c: delattr(c["Derived"]("x"), "number"),
    "mutable": lambda c: [m := c["Mutable"](), setattr(m, "a", 5), m.a][-1],
    "slots": lambda c: [each.__slots__ for each in c.values()],
    "no dict": lambda c: hasattr(c["Derived"]("x"), "__dict__"),
    "match": lambda c: [each.__match_args__ for each in c.values()],
    "matched": lambda c: matched(c["Derived"]("x"), c),
    "class variable": lambda c: (c["Derived"].kind, c["Derived"]("x").kind),
    "method": lambda c: c["Derived"]("x").doubled(),
    "asdict": lambda c: dataclasses.asdict(c["Keyword"](one=1, many=[2])),
    "is one": lambda c: [is_dataclass(each) for each in c.values()],
    "copy": lambda c: copy.deepcopy(c["Keyword"](one=1, many=[2])) == c["Keyword"](one=1, many=[2]),
    "state": lambda c: c["Derived"]("x", 4, 5).__getstate__(),
    "names": lambda c: [(each.__name__, each.__qualname__.split(".")[-1], each.__module__) for each in c.values()],
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_the_same_comes_out(attempt: Attempt) -> None:
    assert outcome(attempt, OURS) == outcome(attempt, THEIRS)


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_the_same_comes_out_of_a_class_that_was_not_used_before(attempt: Attempt) -> None:
    assert outcome(attempt, family(records.dataclass)) == outcome(attempt, family(dataclasses.dataclass))


def test_nothing_is_made_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    whole = dataclasses.dataclass
    monkeypatch.setattr(
        dataclasses, "dataclass", lambda **o: lambda cls: (made.append(cls.__name__), whole(**o)(cls))[1]
    )
    classes = family(records.dataclass)
    assert made == []
    one, two = classes["Ordered"](1), classes["Ordered"](2)
    assert made == [] and classes["Derived"]("x").number == 3
    assert one < two and not two < one and one != two and len({one, two}) == 2
    assert made == []
    assert classes["Ordered"].__match_args__ == ("a", "b") and made == ["Ordered"]
    assert one < two and len({one, two}) == 2 and made == ["Ordered"]


def test_values_travel() -> None:
    """Between processes, and from a reader that has not used the class before."""
    value = OffsetRange(3, 9)
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.copy(TopicPartition("orders", 1)) == TopicPartition("orders", 1)


def test_many_threads_may_be_first() -> None:
    for _ in range(30):
        ordered = family(records.dataclass)["Ordered"]
        gate, found = threading.Barrier(4), []

        def use(ordered: Any = ordered, gate: threading.Barrier = gate, found: list[object] = found) -> None:
            gate.wait()
            found.append(
                (ordered(1, "b") < ordered(2), repr(ordered(1)).endswith("Ordered(a=1, b='')"), hash(ordered(1)))
            )

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [(True, True, hash((1, "")))] * 4


def test_a_generic_class_may_be_made_by_its_parameter() -> None:
    """With the standard library's slots the name of the class that is set on the instance ends in a TypeError."""
    assert OURS["OwnMethods"][int](3).value == 3


def test_slots_are_asked_for() -> None:
    with pytest.raises(TypeError, match="slots=True"):

        @records.dataclass(frozen=True)
        class Roomy:
            a: int


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(kafkeep.__path__, "kafkeep."):
        if not found.name.startswith(OPTIONAL):
            yield importlib.import_module(found.name)


def test_every_class_of_the_project_can_be_made() -> None:
    """What the standard library refuses, such as a list as a default, it refuses at the first use."""
    seen = {thing for module in modules() for thing in vars(module).values() if isinstance(thing, type)}
    made = [each for each in seen if each.__module__.startswith("kafkeep.") and is_dataclass(each)]
    assert len(made) > 300
    for each in made:
        slots = {name for base in each.__mro__ for name in getattr(base, "__slots__", ())}
        assert {known.name for known in fields(each)} <= slots, each
        assert inspect.signature(each), each


def test_what_makes_an_instance_takes_what_the_standard_library_would() -> None:
    """`__init__` is ours: its parameters and defaults are held against the standard library's, for every class there is."""
    ours, left = {}, []
    for each in {thing for module in modules() for thing in vars(module).values() if isinstance(thing, type)}:
        if each in records._originals:
            try:
                ours[each] = records._made_init(each)
            except records._Unusual:
                left.append(each.__qualname__)
    assert len(ours) > 300 > 50 * len(left), left
    for each, init in ours.items():
        original, options = records._originals[each]
        copied = type(original)(*records._copied(original))
        theirs = vars(dataclasses.dataclass(**{**options, "slots": False})(copied))["__init__"]
        assert str(inspect.signature(init)) == str(inspect.signature(theirs)), each
        assert (init.__qualname__, init.__annotations__) == (theirs.__qualname__, theirs.__annotations__), each
