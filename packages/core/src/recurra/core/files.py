"""Files that are there whole or not at all, and that are not replaced unasked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recurra.core.errors import RecurraError


def refuse_to_overwrite(*paths: Path | None, force: bool) -> None:
    """See, before any work, that no file is lost that the person did not ask to replace.

    Args:
        paths: what a command is about to write; None is nothing.
        force: what is there may be replaced.

    Raises:
        RecurraError: one of them is there, and `force` is false.
    """
    for path in paths:
        if path is not None and path.exists() and not force:
            raise RecurraError(f"{path} is there already; give --force to replace it")


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name beside `path`; it takes its place when the block ends.

    An exception inside, or a process killed at any moment, leaves what was at `path` before.

    Yields:
        the path to write to; nothing is there yet.

    Raises:
        RecurraError: `path` is a folder or in a folder that is missing (before the block runs), or
            the disk is full or not writable.
    """
    if path.is_dir():
        raise RecurraError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise RecurraError(f"{path}: the folder {path.parent} does not exist")
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with open(partial, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise RecurraError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put a rename in `folder` on the disk, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
