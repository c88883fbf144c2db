"""Errors that are meant for a person: one line that names the thing and the remedy."""

import importlib
from types import ModuleType


class RecurraError(Exception):
    """Something the user can act on. Commands print its message as one line, no traceback."""


class CheckpointError(RecurraError):
    """Weights or a config that do not fit; the message lists what is unknown or missing."""


class MissingExtraError(RecurraError, ImportError):
    """A library that only one feature needs is not installed."""


def import_extra(module: str, *, extra: str, package: str) -> ModuleType:
    """Import `module`, which comes with `package[extra]`.

    Raises:
        MissingExtraError: it is not installed; the message gives the command that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs {module.split('.')[0]}: uv pip install '{package}[{extra}]'"
        ) from error
