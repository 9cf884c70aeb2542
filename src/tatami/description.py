"""Frozen dataclasses that can be written as JSON and read back without running any code.

A network is data: layers, losses, optimisers, schedules and initial values are small frozen dataclasses of their
settings. `Described` gives them `to_json` and `from_json`. Reading looks the class up by name in a list that only
our own classes are on, and passes nothing but numbers, strings, tuples and other described objects.

The type annotations of the fields are the rule for what a setting may be: they are checked when an object is built,
by a user or from a file, so that a layer never meets a kernel of 2.5 or an initial value that is a layer.
"""

import dataclasses
import functools
import reprlib
import types
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

import numpy as np

from tatami.errors import SettingError, TatamiError, unknown_name

DEEPEST_NESTING = 8
WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a text",
    type(None): "None",
}


class Described:
    """Base of the families (layers, losses, …) whose members are frozen dataclasses of settings.

    A family names itself once; every dataclass below it can then be read back by its class name:

    >>> @dataclasses.dataclass(frozen=True)
    ... class Colour(Described, family="colour"):
    ...     shade: int = 3
    >>> Colour(5).to_json()
    {'type': 'Colour', 'shade': 5}
    >>> Colour.from_json({"type": "Colour", "shade": 7})
    Colour(shade=7)
    """

    family: ClassVar[str] = ""
    members: ClassVar[dict[str, type["Described"]]] = {}
    every_member: ClassVar[dict[str, type["Described"]]] = {}

    def __init_subclass__(cls, family: str | None = None, abstract: bool = False, **keywords: Any) -> None:
        """Put the class on the list of its family, unless it is only a base of others."""
        super().__init_subclass__(**keywords)
        if family is not None:
            cls.family = family
            cls.members = {}
        if not abstract:
            cls.members[cls.__name__] = cls
            Described.every_member[cls.__name__] = cls

    def __post_init__(self) -> None:
        """Freeze settings that came as lists or NumPy numbers, and check each against its annotation.

        A class with checks of its own calls this one first.
        """
        for name in setting_names(type(self)):
            value = nested_tuple(getattr(self, name))
            object.__setattr__(self, name, value)
            check_setting(type(self), name, value)

    def to_json(self) -> dict[str, Any]:
        """Return the class's name and its settings as plain JSON values."""
        settings = {name: plain(getattr(self, name)) for name in setting_names(type(self))}
        return {"type": type(self).__name__, **settings}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Build the object that a description says, or raise an error that names what is wrong with it."""
        built = build(data, cls.family, cls.members, depth=0)
        if not isinstance(built, cls):
            raise SettingError(f"expected a description of {cls.__name__}, got one of {type(built).__name__}")
        return built


def setting_names(cls: Any) -> list[str]:
    """List the fields that a dataclass is built from, in order."""
    return [field.name for field in dataclasses.fields(cls) if field.init]


def plain(value: Any) -> Any:
    """Turn settings into JSON values: tuples into lists, described objects into dictionaries."""
    if isinstance(value, Described):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise SettingError(f"a setting cannot be written as JSON: {value!r} of type {type(value).__name__}")


def build(data: Any, family: str, members: Mapping[str, type[Described]], depth: int) -> Described:
    """Build one described object from plain JSON values."""
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
        raise SettingError(
            f"a {family or 'setting'} is described by an object with a 'type', got {reprlib.repr(data)}"
        )
    name = data["type"]
    if name not in members:
        raise unknown_name(family or "type", name, members)
    cls = members[name]
    known = setting_names(cls)
    settings = {str(key): value for key, value in data.items() if key != "type"}
    for key in settings:
        if key not in known:
            raise unknown_name(f"setting of {name}", key, known)
    values = {key: frozen(value, depth + 1) for key, value in settings.items()}
    for key, value in values.items():
        check_setting(cls, key, value)
    try:
        return cls(**values)
    except TatamiError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingError(f"{name} cannot be built from {reprlib.repr(settings)}: {error}") from error


def frozen(value: Any, depth: int) -> Any:
    """Turn JSON values back into settings: lists into tuples, dictionaries into described objects."""
    if depth > DEEPEST_NESTING:
        raise SettingError(f"a description is nested more than {DEEPEST_NESTING} levels deep")
    if isinstance(value, Mapping):
        return build(value, "", Described.every_member, depth)
    if isinstance(value, list | tuple):
        return tuple(frozen(entry, depth + 1) for entry in value)
    return value


def nested_tuple(values: Any) -> Any:
    """Turn nested lists, arrays and NumPy numbers into nested tuples of Python's own numbers."""
    if isinstance(values, np.ndarray | np.generic):
        values = values.tolist()
    if isinstance(values, list | tuple):
        return tuple(nested_tuple(entry) for entry in values)
    return values


@functools.cache
def annotations_of(cls: type) -> dict[str, Any]:
    """Return the resolved type annotations of a class."""
    return get_type_hints(cls)


def check_setting(cls: type, name: str, value: Any) -> None:
    """Raise unless a value is what the annotation of the setting allows."""
    annotation = annotations_of(cls)[name]
    if fits(value, annotation):
        return
    if get_origin(annotation) is Literal and isinstance(value, str):
        raise unknown_name(f"{name} of {cls.__name__}", value, get_args(annotation))
    raise SettingError(f"{cls.__name__}: {name} must be {in_words(annotation)}, got {reprlib.repr(value)}")


def fits(value: Any, annotation: Any) -> bool:
    """Say whether a value is of an annotated type: a bool is no number, and a number is finite.

    >>> fits((3, 3), int | Sequence[int]), fits(2.5, int), fits(2, float), fits("3", int | None)
    (True, False, True, False)
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(fits(value, choice) for choice in arguments)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, tuple | list) and all(fits(entry, arguments[0]) for entry in value)
    if annotation is float:
        return is_finite_number(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return annotation is Any or not isinstance(annotation, type) or isinstance(value, annotation)


def is_finite_number(value: Any) -> bool:
    """Say whether a value is a number (and not a bool) that a float can hold, neither infinite nor NaN."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return isfinite(value)
    except OverflowError:
        return False


def in_words(annotation: Any) -> str:
    """Say in words what an annotation allows.

    >>> in_words(int | Sequence[int] | None)
    'a whole number, a list of (a whole number) or None'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        *most, last = (in_words(choice) for choice in arguments)
        return f"{', '.join(most)} or {last}"
    if origin is Literal:
        *most, last = (repr(choice) for choice in arguments)
        return f"{', '.join(most)} or {last}"
    if origin is not None:
        return f"a list of ({in_words(arguments[0])})"
    if isinstance(annotation, type) and issubclass(annotation, Described):
        return f"an object of the family {annotation.family!r}"
    return WORDS.get(annotation, str(annotation))
