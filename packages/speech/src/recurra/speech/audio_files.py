"""What commands on audio files share: which files are inputs, how they are read and written."""

from collections.abc import Iterable, Iterator
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


def refuse_collisions(pairs: Iterable[tuple[FileInput, Path | None]]) -> None:
    """Make sure that each output, None for standard output, is of one input.

    Raises:
        RecurraError: two inputs would be written to one file, or several to standard output.
    """
    taken: dict[Path | None, FileInput] = {}
    for entry, path in pairs:
        if path in taken:
            where = "standard output" if path is None else str(path)
            raise RecurraError(f"{taken[path]} and {entry} would both be written to {where}")
        taken[path] = entry


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
    overwrite: bool,
) -> AudioSink:
    """Start a file in the format, at the rate and with the tags of its input; see `create_audio`.

    Raises:
        AudioError: as `create_audio`.
    """
    return create_audio(
        target,
        source.format,
        source.sample_rate,
        channels,
        tags=source.tags,
        overwrite=overwrite,
        original=entry.path,
        start=source.start,
    )
