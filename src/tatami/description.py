"""Frozen dataclasses that can be written as JSON and read back without running any code.

A network is data: layers, losses, optimisers, schedules and initial values are small frozen dataclasses of their
settings. `Described` gives them `to_json` and `from_json`. Reading looks the class up by name in a list that only
our own classes are on, and passes nothing but numbers, strings, tuples and other described objects.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from tatami.errors import SettingError, TatamiError, unknown_name

DEEPEST_NESTING = 8


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

    def __init_subclass__(cls, family: str | None = None, **keywords: Any) -> None:
        """Put the class on the list of its family."""
        super().__init_subclass__(**keywords)
        if family is not None:
            cls.family = family
            cls.members = {}
        cls.members[cls.__name__] = cls
        Described.every_member[cls.__name__] = cls

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
            f"a {family or 'setting'} is described by an object with a 'type', got {data!r:.80}"
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
    try:
        return cls(**values)
    except TatamiError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingError(f"{name} cannot be built from {settings!r:.200}: {error}") from error


def frozen(value: Any, depth: int) -> Any:
    """Turn JSON values back into settings: lists into tuples, dictionaries into described objects."""
    if depth > DEEPEST_NESTING:
        raise SettingError(f"a description is nested more than {DEEPEST_NESTING} levels deep")
    if isinstance(value, Mapping):
        return build(value, "", Described.every_member, depth)
    if isinstance(value, list | tuple):
        return tuple(frozen(entry, depth + 1) for entry in value)
    return value
