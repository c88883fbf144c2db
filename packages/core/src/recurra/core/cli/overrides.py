"""A config from a YAML file and `key=value` words, checked against its dataclass."""

import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from recurra.core.errors import RecurraError

if typing.TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Schema = TypeVar("Schema")
Keys = tuple[str | int, ...]

_SHOWN = 3  # problems in one message


def load_config(
    schema: type[Schema],
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    start: Schema | None = None,
) -> Schema:
    """Build a config: the defaults of `schema` (or `start`), then the file, then the overrides.

    A value has the type of its field: `"3"` is no number, 1 no boolean and 2.0 no whole number.
    Only what YAML cannot say is converted: a list to a tuple, text to a path, 1 to 1.0.

    Args:
        schema: frozen dataclass; its fields may be dataclasses themselves.
        path: YAML file with some of its fields; None for the defaults alone.
        overrides: words such as `learning_rate=1e-3` or `model.width=64`. Values are read as YAML;
            a field of text takes the value as it is written.
        start: a config whose values hold where nothing else is said, such as a named one.

    Raises:
        RecurraError: the file cannot be read, or a key is unknown (the nearest that exists is
            named), missing, or has a value that does not fit. One line, which names the file or
            the override.
    """
    import pydantic

    from recurra.core.cli.yaml_file import read_mapping

    values = {} if path is None else read_mapping(Path(path))
    origins: dict[Keys, str] = {}
    for override in overrides:
        keys, value = _parse(schema, override)
        _assign(values, keys, value, override)
        origins[keys] = f"override {override!r}"

    # A plain dataclass takes no config of its own; a list of one does, and hands it down.
    adapter = pydantic.TypeAdapter(
        list[schema],  # type: ignore[valid-type]
        config=pydantic.ConfigDict(extra="forbid"),
    )
    source = "config" if path is None else str(path)
    # As JSON, because pydantic is strict there about what YAML can say (numbers, text, booleans)
    # and lenient about what it cannot (tuples, paths, dataclasses).
    text = json.dumps([_filled(schema, values, start)], default=lambda value: _plain(value, source))
    try:
        return adapter.validate_json(text, strict=True)[0]
    except pydantic.ValidationError as error:
        problems = [_described(schema, found, source, origins) for found in error.errors()]
        rest = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise RecurraError("; ".join(problems[:_SHOWN]) + rest) from error


def _parse(schema: type[Any], override: str) -> tuple[Keys, Any]:
    from recurra.core.cli.yaml_file import read_value

    name, equals, text = override.partition("=")
    keys = tuple(name.strip().split("."))
    if not equals or not all(keys):
        raise RecurraError(f"override {override!r} is not of the form key=value")
    if _takes_text(_hint_at(schema, keys), text):
        return keys, text
    return keys, read_value(text, f"override {override!r}")


def _assign(values: dict[str, Any], keys: Keys, value: Any, override: str) -> None:
    section: Any = values
    for depth, key in enumerate(keys[:-1]):
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            parent = ".".join(str(part) for part in keys[: depth + 1])
            raise RecurraError(f"override {override!r}: {parent} has no keys of its own")
    section[keys[-1]] = value


def _filled(schema: type[Any], values: dict[str, Any], default: object) -> dict[str, Any]:
    """Complete the sections that `values` sets in part from the defaults of the fields they are in.

    A field `model: ModelConfig = ModelConfig(width=8)` of which a file sets only the depth keeps
    its width of 8; building the section from its own class alone would lose it.
    """
    filled: dict[str, Any] = {}
    if isinstance(default, schema):
        filled = {f.name: getattr(default, f.name) for f in dataclasses.fields(schema) if f.init}
    hints = typing.get_type_hints(schema)
    for key, value in values.items():
        section = _section(hints.get(key))
        if section is not None and isinstance(value, dict):
            inner = filled[key] if key in filled else _default(schema, key)
            value = _filled(section, value, inner)
        filled[key] = value
    return filled


def _plain(value: object, source: str) -> object:
    """What JSON has for a value of a default; further types of YAML have no place in a config."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise RecurraError(f"{source}: a {type(value).__name__} is no value of a config: {value!r:.60}")


def _default(schema: type[Any], key: str) -> object:
    field = next(field for field in dataclasses.fields(schema) if field.name == key)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _described(
    schema: type[Any], found: "ErrorDetails", source: str, origins: dict[Keys, str]
) -> str:
    keys: Keys = found["loc"][1:]  # the first is the place in the list
    origin = _origin(keys, source, origins)
    name = ".".join(str(key) for key in keys)
    if found["type"] == "unexpected_keyword_argument":
        return f"{origin}: unknown key {name}; {_nearest(schema, keys)}"
    if found["type"] == "missing":
        return f"{origin}: {name} is missing"
    place = f"{origin}: {name}" if name else origin
    if found["type"] == "value_error":  # raised by the dataclass itself, which says it all
        return f"{place}: {found['ctx']['error']}"
    return f"{place}: {found['msg'][0].lower()}{found['msg'][1:]}, not {found['input']!r:.60}"


def _origin(keys: Keys, source: str, origins: dict[Keys, str]) -> str:
    for given, override in origins.items():
        if keys[: len(given)] == given:
            return override
        # A section as a whole is wrong, and this override is a part of it.
        if given[: len(keys)] == keys:
            return f"{source} with {override}"
    return source


def _nearest(schema: type[Any], keys: Keys) -> str:
    section = _section(_hint_at(schema, keys[:-1])) or schema
    siblings = [field.name for field in dataclasses.fields(section)]
    close = difflib.get_close_matches(str(keys[-1]), siblings, n=1)
    elsewhere = [name for name in _known(schema, "") if name.split(".")[-1] == keys[-1]]
    if close:
        return f"did you mean {'.'.join(str(key) for key in (*keys[:-1], close[0]))}?"
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"known are {', '.join(siblings)}"


def _known(schema: type[Any], prefix: str) -> list[str]:
    names = []
    for key, hint in typing.get_type_hints(schema).items():
        section = _section(hint)
        names += [prefix + key] if section is None else _known(section, f"{prefix}{key}.")
    return names


def _hint_at(schema: type[Any], keys: Keys) -> Any:
    """The annotation of the field that dotted keys lead to; None where they lead nowhere."""
    hint: Any = schema
    for key in keys:
        section = _section(hint)
        if isinstance(key, int):
            hint = next(iter(typing.get_args(hint)), None)
        else:
            hint = None if section is None else typing.get_type_hints(section).get(key)
    return hint


def _section(hint: Any) -> type[Any] | None:
    """The dataclass that a field holds, also where it may be None; None for any other field."""
    choices = [choice for choice in _choices(hint) if choice is not types.NoneType]
    if len(choices) == 1 and isinstance(choices[0], type) and dataclasses.is_dataclass(choices[0]):
        return choices[0]
    return None


def _takes_text(hint: Any, text: str) -> bool:
    choices = _choices(hint)
    if types.NoneType in choices and text in ("", "~", "null"):
        return False
    return all(
        choice is types.NoneType
        or (isinstance(choice, type) and issubclass(choice, str | Path))
        or (
            typing.get_origin(choice) is typing.Literal
            and all(isinstance(value, str) for value in typing.get_args(choice))
        )
        for choice in choices
    )


def _choices(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)
