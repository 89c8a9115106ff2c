"""The quickly made dataclasses are those of the standard library in all that can be seen of them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from functools import cached_property
from typing import Any

import pytest

from contract.classes import dataclass

Maker = Callable[..., Any]


def made(maker: Maker, **options: bool) -> Any:  # noqa: ANN401
    """A class as a module would write it."""
    @maker(**options)
    class Sample:
        """A sample."""

        name: str
        count: int = 3
        items: list[int] = dataclasses.field(default_factory=list)
        hidden: str = dataclasses.field(default="h", repr=False)

        @property
        def twice(self) -> int:
            return self.count * 2

    return Sample


OURS, THEIRS = made(dataclass, frozen=True), made(dataclasses.dataclass, frozen=True)
OPTIONS: list[dict[str, bool]] = [
    {}, {"frozen": True}, {"slots": True}, {"frozen": True, "slots": True}, {"order": True}, {"eq": False},
    {"frozen": True, "order": True, "slots": True}, {"frozen": True, "eq": False}, {"slots": True, "eq": False},
    {"slots": True, "eq": False, "repr": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_kind_does_what_that_of_the_standard_library_does(options: dict[str, bool]) -> None:
    def seen(one: Any, what: Callable[[Any], object]) -> object:  # noqa: ANN401
        try:
            return what(one)
        except Exception as error:
            return type(error)

    def changed(one: Any) -> object:  # noqa: ANN401
        item = one("a")
        item.name = "b"
        return item.name

    def deleted(one: Any) -> object:  # noqa: ANN401
        item = one("a")
        del item.name
        return hasattr(item, "name")

    def added(one: Any) -> object:  # noqa: ANN401
        item = one("a")
        try:
            item.other = 1
        except (AttributeError, TypeError):  # Its own mistake, where frozen meets slots.
            return "refused"
        return item.other

    ours, theirs = made(dataclass, **options), made(dataclasses.dataclass, **options)
    same: list[Callable[[Any], object]] = [
        changed, deleted, added, lambda one: repr(one("a", 1)).partition(" at 0x")[0], lambda one: one("a") == one("a"),
        lambda one: one("a") == one("b"), lambda one: one("a") != one("a"), lambda one: one("a") == "a",
        lambda one: one("a") < one("b"), lambda one: one("a", 2) <= one("a", 1), lambda one: one("a") > one("b"),
        lambda one: one("a") >= one("a"), lambda one: one("a") < "b", lambda one: one.__hash__ is None,
        lambda one: hash(one("a", 1, ())) == hash(one("a", 1, ())), lambda one: hash(one("a")), lambda one: one(),
        lambda one: one("a", 1, [], "x", "y"), lambda one: one(name="a", other=1), lambda one: one("a", count=5).twice,
        lambda one: dataclasses.replace(one("a"), count=7).count, lambda one: copy.deepcopy(one("a", 1, [[2]])).items,
        lambda one: hasattr(one("a"), "__dict__"), lambda one: one.__match_args__, lambda one: one.__doc__,
        lambda one: [(field.name, field.default, field.init) for field in dataclasses.fields(one)],
        lambda one: dataclasses.astuple(one("a")), lambda one: str(inspect.signature(one).parameters.keys()),
    ]
    for number, what in enumerate(same):
        left, right = seen(ours, what), seen(theirs, what)
        if not isinstance(left, int) or isinstance(left, bool):  # Else the hash of an object.
            assert left == right, number


@dataclass(frozen=True, slots=True)
class Slotted:
    """At the top of a module, so that it can be pickled."""

    name: str
    count: int = 3
    next: Slotted | None = None


@dataclass(frozen=True)
class Plain:
    """At the top of a module, so that it can be pickled."""

    name: str
    items: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.strip())

    @cached_property
    def long(self) -> str:
        return self.name * 2


@pytest.mark.parametrize("arguments", [("a",), ("a", 1), ("a", 1, [2]), ("a", 1, [2], "x")])
def test_what_is_made_and_shown(arguments: tuple[Any, ...]) -> None:
    ours, theirs = OURS(*arguments), THEIRS(*arguments)
    assert repr(ours) == repr(theirs)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert ours.twice == theirs.twice
    assert OURS("a").items is not OURS("a").items
    assert OURS.__match_args__ == THEIRS.__match_args__
    assert OURS.__doc__ == "A sample."
    assert list(inspect.signature(OURS).parameters) == list(inspect.signature(THEIRS).parameters)


@pytest.mark.parametrize("arguments", [(), ("a", 1, [], "x", "y")])
def test_wrong_arguments(arguments: tuple[Any, ...]) -> None:
    for one in (OURS, THEIRS):
        with pytest.raises(TypeError):
            one(*arguments)
        with pytest.raises(TypeError):
            one(name="a", other=1)


def test_what_is_equal() -> None:
    class Derived(Plain):
        pass

    assert Plain("a") == Plain(" a ") and Plain("a") != Plain("b") and Plain("a") != object()
    assert Plain("a") != Derived("a") and Derived("a") == Derived("a")
    assert hash(Plain("a", (1,))) == hash(Plain("a", (1,)))
    assert len({Slotted("a"), Slotted("a"), Slotted("b")}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(OURS("a"))


@pytest.mark.parametrize("item", [Plain("a"), Slotted("a"), OURS("a")])
def test_nothing_can_be_set(item: Any) -> None:  # noqa: ANN401
    for name in ("name", "other"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(item, name, "x")
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'name'"):
        del item.name
    assert item.name == "a"


@pytest.mark.parametrize("item", [Plain("a", (1,)), Slotted("a", 4, Slotted("b"))])
def test_copies(item: Any) -> None:  # noqa: ANN401
    assert pickle.loads(pickle.dumps(item)) == copy.deepcopy(item) == copy.copy(item) == item
    assert dataclasses.replace(item, name="c").name == "c"
    assert dataclasses.replace(item) == item
    assert next(one.name for one in dataclasses.fields(item)) == "name"


def test_slots_and_what_is_cached() -> None:
    assert not hasattr(Slotted("a"), "__dict__")
    assert Plain("a").long == "aa"
    match Slotted("a", 5):
        case Slotted(name, count):
            assert (name, count) == ("a", 5)


def test_what_contains_itself_is_shown() -> None:
    one = OURS("a", 1, [])
    one.items.append(one)
    assert "..." in repr(one)


def test_what_is_special_is_left_to_the_standard_library() -> None:
    @dataclass(frozen=True, order=True)
    class Ordered:
        name: str

    @dataclass
    class Open:
        name: str

    @dataclass(frozen=True)
    class Special:
        name: str
        place: int = dataclasses.field(default=0, compare=False)
        late: int = dataclasses.field(default=0, init=False)

    @dataclass(frozen=True)
    class Below(Plain):
        more: int = 0

    assert Ordered("a") < Ordered("b")
    item = Open("a")
    item.name = "b"
    assert item == Open("b")
    assert Special("a", 1) == Special("a", 2)
    with pytest.raises(TypeError):
        Special("a", 1, 2)  # type: ignore[call-arg]
    assert Below(" a", (), 2) == Below("a", (), 2) and "more=2" in repr(Below("a", (), 2))
    with pytest.raises(TypeError, match="cannot inherit non-frozen"):
        @dataclass
        class Wrong(Plain):  # type: ignore[misc]
            pass


def test_own_methods_are_kept() -> None:
    @dataclass(frozen=True)
    class Own:
        name: str

        def __repr__(self) -> str:
            return "own"

        def __hash__(self) -> int:
            return 5

    @dataclass(frozen=True)
    class Compared:
        name: str

        def __eq__(self, other: object) -> bool:
            return True

    @dataclass
    class Made:
        name: str

        def __init__(self) -> None:
            self.name = "made"

    assert repr(Own("a")) == "own" and hash(Own("a")) == 5 and Own("a") == Own("a")
    assert Compared("a") == Compared("b") and hash(Compared("a")) == hash(Compared("a"))
    assert Made() == Made() and Made().name == "made"
