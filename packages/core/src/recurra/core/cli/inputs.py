"""What the inputs of a command mean: files, folders, globs and the pipe `-`."""

import glob
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from recurra.core.errors import RecurraError


@dataclass(frozen=True)
class FileInput:
    """One file to work on.

    Attributes:
        path: the file; None is standard input.
        relative: where its result belongs inside an output folder.
    """

    path: Path | None
    relative: Path

    def __str__(self) -> str:
        """Return what messages call it."""
        return "-" if self.path is None else str(self.path)


def expand_inputs(arguments: Iterable[str], *, wanted: Callable[[Path], bool]) -> list[FileInput]:
    """Turn a command's arguments into files, each once, in the order given.

    A file is taken whatever its name. A folder gives every `wanted` file below it, in order of
    name, and keeps the paths inside it. A pattern that the shell did not expand is expanded here.
    A name that does not exist is passed on, so that it fails alone when it is opened.

    Args:
        arguments: paths, patterns or `-`.
        wanted: chooses among the files of folders and patterns; hidden files never count.

    Raises:
        RecurraError: a folder or a pattern without one wanted file.
    """
    found: list[FileInput] = []
    for argument in arguments:
        path = Path(argument)
        if argument == "-":
            found.append(FileInput(None, Path("-")))
        elif path.is_dir():
            found += _of_folder(path, wanted)
        elif not path.exists() and glob.has_magic(argument):
            found += _of_pattern(argument, wanted)
        else:
            found.append(FileInput(path, Path(path.name)))
    return list({_identity(entry): entry for entry in reversed(found)}.values())[::-1]


def _of_folder(folder: Path, wanted: Callable[[Path], bool]) -> list[FileInput]:
    files = [
        FileInput(path, path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _visible(path.relative_to(folder)) and wanted(path)
    ]
    if not files:
        raise RecurraError(f"{folder}: no file in this folder that this command can read")
    return files


def _of_pattern(pattern: str, wanted: Callable[[Path], bool]) -> list[FileInput]:
    paths = sorted(Path(match) for match in glob.glob(pattern, recursive=True))
    files = [FileInput(path, Path(path.name)) for path in paths if path.is_file() and wanted(path)]
    if not files:
        raise RecurraError(f"{pattern}: matches no file that this command can read")
    return files


def _visible(relative: Path) -> bool:
    return not any(part.startswith(".") for part in relative.parts)


def _identity(entry: FileInput) -> str:
    return "-" if entry.path is None else str(entry.path.absolute())
