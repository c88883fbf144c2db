"""What commands on audio files share: which files are inputs, how they are read and written."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recurra.core.cli import FileInput
from recurra.core.errors import RecurraError
from recurra.speech.audio.format import is_media_name, is_result_name
from recurra.speech.audio.read import AudioSource
from recurra.speech.audio.sink import AudioSink
from recurra.speech.audio.write import create_audio

_BLOCK_SECONDS = 1.0


def is_input(path: Path) -> bool:
    """Tell whether a file in a folder is an input: audio or video by its name, no result."""
    return is_media_name(path) and not is_result_name(path)


def choose_outputs(
    inputs: Iterable[FileInput], output: str | None, mark: str, *, mark_in_folder: bool = False
) -> list[tuple[FileInput, Path | None]]:
    """Pair each input with the file that its result goes to; None is standard output.

    Without `output`: beside the input as `<stem><mark>.<ext>`, and a pipe to a pipe. An output
    folder (one that exists, or a name that ends in a slash, or any name for several inputs but that
    of an audio or video file) gets the input's own name, with `mark_in_folder` the mark too, and
    keeps the relative paths of input folders.

    Raises:
        RecurraError: two inputs would be written to one file, or several to standard output;
            several inputs and the name of one file; standard input has no name in a folder; the
            name of one file ends in no format that there is; an output is an input.
    """
    inputs = list(inputs)
    if len(inputs) > 1 and output is not None and is_file_name(output):
        raise RecurraError(
            f"{output} is the name of one file, and there are {len(inputs)} inputs; "
            "give -o a folder, such as cleaned/"
        )
    pairs: list[tuple[FileInput, Path | None]] = []
    for entry in inputs:
        path = _output_of(
            entry, output, mark, alone=len(inputs) == 1, mark_in_folder=mark_in_folder
        )
        pairs.append((entry, path))
    refuse_collisions(pairs)
    return pairs


def _output_of(
    entry: FileInput, output: str | None, mark: str, *, alone: bool, mark_in_folder: bool
) -> Path | None:
    if output == "-" or (output is None and entry.path is None):
        return None
    if output is None:
        assert entry.path is not None
        return _marked(entry.path, mark)
    folder = Path(output)
    if alone and not folder.is_dir() and not output.endswith(("/", "\\")):
        same = entry.path is not None and entry.path.suffix == folder.suffix
        if folder.suffix and not same and not is_media_name(folder):
            raise RecurraError(
                f"{output}: {folder.suffix} is no audio or video format; name one, such as .wav, "
                ".flac or .mp3"
            )
        return folder
    if entry.path is None:
        if alone:
            raise RecurraError(f"{output} is a folder; name the file that standard input becomes")
        raise RecurraError(
            f"several inputs need a folder ({output}), and standard input has no name in it; "
            "give it alone, with -o FILE"
        )
    return folder / (_marked(entry.relative, mark) if mark_in_folder else entry.relative)


def _marked(path: Path, mark: str) -> Path:
    return path.with_name(path.stem + mark + path.suffix)


def is_file_name(output: str) -> bool:
    """Tell whether `-o` names one audio or video file, and no folder that is there or to make."""
    path = Path(output)
    return is_media_name(path) and not path.is_dir() and not output.endswith(("/", "\\"))


def refuse_collisions(pairs: Iterable[tuple[FileInput, Path | None]]) -> None:
    """Make sure that each output, None for standard output, is of one input, and is no input.

    Raises:
        RecurraError: two inputs would be written to one file, or several to standard output, or one
            to an input.
    """
    pairs = list(pairs)
    inputs = {_identity(entry.path): entry for entry, _ in pairs if entry.path is not None}
    taken: dict[object, FileInput] = {}
    for entry, path in pairs:
        file = None if path is None else _identity(path)
        if file is not None and (overwritten := inputs.get(file)):
            raise RecurraError(
                f"{path}: is the input itself, which is never overwritten; name another output"
                if overwritten == entry
                else f"{path}: what {entry} becomes would go there, and it is an input too, which "
                "is never overwritten; leave one of the two out, or give -o another folder"
            )
        if file in taken:
            where = "standard output" if path is None else str(path)
            raise RecurraError(f"{taken[file]} and {entry} would both be written to {where}")
        taken[file] = entry


def _identity(path: Path) -> object:
    """What two names of one file have in common, links among them."""
    try:
        status = path.stat()
    except OSError:  # not there yet
        return path.resolve()
    return status.st_dev, status.st_ino


def read_blocks(source: AudioSource, channels: int) -> Iterator[np.ndarray]:
    """Give a recording in blocks (C, n) of a second; with fewer channels than it has, their mean.

    Raises:
        AudioError: as `AudioSource.blocks`.
    """
    for block in source.blocks(max(1, round(_BLOCK_SECONDS * source.sample_rate))):
        yield block.mean(axis=0, keepdims=True) if channels < source.channels else block


def create_like(
    source: AudioSource,
    target: Path | BinaryIO,
    channels: int,
    entry: FileInput,
    *,
    sample_rate: int | None = None,
    overwrite: bool,
) -> AudioSink:
    """Start a file in the format and with the tags of its input; see `create_audio`.

    Its rate is the input's too where `sample_rate` is None.

    Raises:
        AudioError: as `create_audio`.
    """
    like = source.format
    if channels != source.channels:  # they are not at the places that the input states
        like = replace(like, channel_mask=None, layout=None)
    return create_audio(
        target,
        like,
        sample_rate or source.sample_rate,
        channels,
        tags=source.tags,
        overwrite=overwrite,
        original=entry.path,
        start=source.start,
    )
