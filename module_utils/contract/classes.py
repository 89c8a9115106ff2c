"""``dataclass`` of the standard library, made in a fifth of the time.

The standard library compiles up to ten functions for each class. Over all classes that a check of manifests needs,
that is a fifth of the whole time. Here only ``__init__`` is compiled; the others are shared.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    def dataclass(  # noqa: ANN201
        cls=None, /, *, repr=True, eq=True, order=False, frozen=False, slots=False, **others  # noqa: ANN001, ANN003
    ):
        """As ``dataclasses.dataclass``; that one does it where a class asks for more than that, or is derived."""
        if cls is None:
            return lambda cls: dataclass(cls, repr=repr, eq=eq, order=order, frozen=frozen, slots=slots, **others)
        derived = any(map(dataclasses.is_dataclass, cls.__bases__))
        if others or derived or any(map(special, vars(cls).values())):
            return dataclasses.dataclass(cls, repr=repr, eq=eq, order=order, frozen=frozen, slots=slots, **others)
        cls.__doc__ = cls.__doc__ or cls.__name__  # It would be made of the signature, slowly.
        cls = dataclasses.dataclass(cls, init=False, repr=False, eq=False, slots=slots)
        methods = {"__repr__": shown} if repr else {}
        if eq:
            methods |= {"__eq__": equal, "__hash__": hashed if frozen else None}
        if order:
            methods |= ORDER
        if frozen:
            methods |= FROZEN
        if frozen and slots:
            methods |= STATE
        for name, method in methods.items():
            # A class that has an __eq__ has a __hash__ of None.
            if vars(cls).get(name) is None:
                setattr(cls, name, method)
        if "__init__" not in vars(cls):
            cls.__init__ = constructor(cls, frozen)
        # Read by the standard library where another class is derived from this one.
        for name, value in (("init", True), ("repr", repr), ("eq", eq), ("order", order), ("frozen", frozen)):
            setattr(cls.__dataclass_params__, name, value)
        return cls


def special(value: Any) -> bool:  # noqa: ANN401
    """Whether a field is not simply a parameter of ``__init__`` that counts when two are compared."""
    return isinstance(value, dataclasses.Field) and not (
        value.init and value.compare and value.hash is None and value.kw_only is dataclasses.MISSING)


def constructor(cls: Any, frozen: bool) -> Any:  # noqa: ANN401
    """``__init__``, with the fields as its parameters."""
    names: dict[str, Any] = {"put": object.__setattr__, "missing": dataclasses.MISSING}
    parameters, lines = ["self"], []
    for number, one in enumerate(dataclasses.fields(cls)):
        value = one.name
        if one.default is not dataclasses.MISSING:
            names[f"default{number}"] = one.default
            parameters.append(f"{one.name}=default{number}")
        elif one.default_factory is not dataclasses.MISSING:
            names[f"default{number}"] = one.default_factory
            parameters.append(f"{one.name}=missing")
            value = f"default{number}() if {one.name} is missing else {one.name}"
        else:
            parameters.append(one.name)
        lines.append(f" put(self, {one.name!r}, {value})\n" if frozen else f" self.{one.name} = {value}\n")
    lines.append(" self.__post_init__()\n" if hasattr(cls, "__post_init__") else " pass\n")
    exec(f"def __init__({', '.join(parameters)}):\n{''.join(lines)}", names)
    return names["__init__"]


def values(item: Any) -> tuple[Any, ...]:  # noqa: ANN401
    return tuple([getattr(item, name) for name in item.__dataclass_fields__])


def by(compare: Callable[[Any, Any], bool]) -> Callable[[Any, object], bool]:
    """A comparison of two of the same class, field by field."""
    def compared(self: Any, other: object) -> bool:  # noqa: ANN401
        return compare(values(self), values(other)) if other.__class__ is self.__class__ else NotImplemented

    return compared


equal = by(operator.eq)


def hashed(self: Any) -> int:  # noqa: ANN401
    return hash(values(self))


@recursive_repr()
def shown(self: Any) -> str:  # noqa: ANN401
    parts = [f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr]
    return f"{type(self).__qualname__}({', '.join(parts)})"


def put(self: Any, name: str, value: object) -> None:  # noqa: ANN401
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def drop(self: Any, name: str) -> None:  # noqa: ANN401
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def restore(self: Any, state: tuple[Any, ...]) -> None:  # noqa: ANN401
    for name, value in zip(self.__dataclass_fields__, state, strict=True):
        object.__setattr__(self, name, value)


ORDER = {f"__{name}__": by(getattr(operator, name)) for name in ("lt", "le", "gt", "ge")}
FROZEN = {"__setattr__": put, "__delattr__": drop}
STATE = {"__getstate__": values, "__setstate__": restore}
"""For copies and pickles of what has slots: they would set the fields."""
