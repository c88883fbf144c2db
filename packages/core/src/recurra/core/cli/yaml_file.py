"""YAML files and values with errors of one line. The one module of this room that imports yaml."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from recurra.core.errors import RecurraError


class _UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader, but a key given twice is an error; yaml keeps the last in silence."""

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
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise RecurraError(f"{origin}: {line}{error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RecurraError(f"{origin} is not YAML: {error}") from error
