"""YAML files and values with errors of one line. The one module of this room that imports yaml.

Words mean what YAML 1.2 says: only true and false are booleans, 1e-4 is a number, 010 is ten, and
yes, off, 12:30 and 2026-01-01 are text. PyYAML by itself reads YAML 1.1, where each is the other.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from recurra.core.errors import RecurraError


class _Loader(yaml.SafeLoader):
    """The safe loader for YAML 1.2; a key given twice is an error, yaml keeps the last in silence.

    Source of the patterns: YAML 1.2.2, 10.3.2 (core schema); as in 1.1, digits may be grouped by _.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping, refusing a key that it already has."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} is there twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    bases = {"0o": 8, "0x": 16}
    return int(text[2:], bases[text[:2]]) if text[:2] in bases else int(text)


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?\d+(?:_\d+)*|0o[0-7]+|0x[\da-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.\d+|\d+(?:_\d+)*(?:\.\d*)?)(?:[eE][-+]?\d+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping; an empty file is an empty one.

    Raises:
        RecurraError: the file cannot be read, is not YAML, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecurraError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecurraError(f"{path} is not a text file") from error
    value = read_value(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RecurraError(f"{path} holds a {type(value).__name__}, not keys with values")
    return value


def read_value(text: str, origin: str) -> Any:
    """Read a piece of YAML; `origin` says in errors where it came from.

    Raises:
        RecurraError: it is not YAML, or has a key twice.
    """
    try:
        # A subclass of the safe loader: it makes plain values only.
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise RecurraError(f"{origin}: {line}{error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RecurraError(f"{origin} is not YAML: {error}") from error
