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


def made(maker: Maker, **options: Any) -> Any:  # noqa: ANN401
    """A class as a module would write it."""
    @maker(frozen=True, **options)
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


OURS, THEIRS = made(dataclass), made(dataclasses.dataclass)


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

    assert repr(Own("a")) == "own" and hash(Own("a")) == 5 and Own("a") == Own("a")
