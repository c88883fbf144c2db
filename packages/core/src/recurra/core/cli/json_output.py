"""One JSON document on stdout, whatever numbers a command hands over."""

import math
import os
from collections.abc import Mapping


def print_json(document: object) -> None:
    """Print `document` as JSON on stdout, indented.

    Paths become text, arrays and tensors become lists, and numbers that JSON lacks (NaN, infinity)
    become null.

    Raises:
        TypeError: it holds something else than mappings, sequences, numbers, text, paths and None.
    """
    import json

    print(json.dumps(_plain(document), indent=2, allow_nan=False), flush=True)


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    # numpy's and torch's numbers, arrays and tensors: this room imports neither.
    if callable(to_list := getattr(value, "tolist", None)):
        return _plain(to_list())
    raise TypeError(f"{type(value).__name__} has no form in JSON")
