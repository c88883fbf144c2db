"""A folder that is there whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recurra.core.errors import RecurraError


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder under a hidden name beside it, which it loses when the block ends.

    An exception in the block leaves nothing. What a killed process left under the hidden name, the
    next one for the same folder clears.

    Yields:
        the folder to write to, empty.

    Raises:
        RecurraError: `folder` is there with files in it, is a file, or is the current folder.
    """
    target = folder.resolve()
    if target == Path.cwd():
        raise RecurraError(f"{folder} is the current folder; give the name of a new one")
    if target.exists() and not target.is_dir():
        raise RecurraError(f"{folder}: is a file; give the name of a new folder")
    if target.is_dir() and any(target.iterdir()):
        raise RecurraError(f"{folder}: is not empty; give a new folder")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.is_dir():
            target.rmdir()  # Windows renames over no folder, not even an empty one
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
