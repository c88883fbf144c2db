"""Clean audio files: from a file to a file of the same kind."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recurra.core.cli import Done, FileInput
from recurra.core.errors import RecurraError
from recurra.speech.audio.read import AudioSource, open_audio
from recurra.speech.audio.sink import AudioSink
from recurra.speech.audio_files import create_like, read_blocks
from recurra.speech.enhancer import EnhanceOptions, Enhancer


@dataclass(frozen=True)
class FileOptions:
    """What happens around the model.

    Attributes:
        downmix: mix all channels into one first.
        overwrite: replace files that are there; the input never is.
        residual: where to write what was taken out; None does not.
    """

    downmix: bool = False
    overwrite: bool = False
    residual: Path | None = None


def enhance_file(
    enhancer: Enhancer,
    entry: FileInput,
    output: Path | None,
    options: EnhanceOptions,
    file_options: FileOptions,
    advance: Callable[[float], None],
) -> Done:
    """Clean one file; nothing is written, or it is whole.

    Args:
        enhancer: the model.
        entry: the input.
        output: the file to make, in the input's format where its name allows that; None writes the
            input's format to standard output.
        options: for the model.
        file_options: around the model.
        advance: called with seconds of audio that are done.

    Returns:
        the output, the residual, and the seconds of audio.

    Raises:
        RecurraError: the input cannot be read or the output cannot be written.
    """
    with open_audio(sys.stdin.buffer if entry.path is None else entry.path) as source:
        channels = 1 if file_options.downmix else source.channels
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
        target = sys.stdout.buffer if output is None else output

        def create(target: Path | BinaryIO) -> AudioSink:
            return create_like(source, target, channels, entry, overwrite=file_options.overwrite)

        with create(target) as sink:
            residual = file_options.residual
            if residual is None:
                samples = _run(enhancer, source, channels, options, [sink], advance)
            else:
                with create(residual) as taken:
                    samples = _run(enhancer, source, channels, options, [sink, taken], advance)
    return Done(
        output=output,
        also=() if residual is None else (residual,),
        details={"seconds_of_audio": round(samples / source.sample_rate, 3)},
    )


def refuse_one_file_for_two(outputs: Iterable[Path | None], residual: Path | None) -> None:
    """Make sure that what was taken out does not go where the result goes.

    Raises:
        RecurraError: both have one name.
    """
    if residual is not None and residual.resolve() in {p.resolve() for p in outputs if p}:
        raise RecurraError(f"{residual}: the result and --residual are one file; name another")


def _run(
    enhancer: Enhancer,
    source: AudioSource,
    channels: int,
    options: EnhanceOptions,
    sinks: list[AudioSink],
    advance: Callable[[float], None],
) -> int:
    """Write what is cleaned to the first sink, what was taken out to a second; count samples."""
    waiting: list[np.ndarray] = []

    def read() -> Iterator[np.ndarray]:
        for block in read_blocks(source, channels):
            if len(sinks) > 1:
                waiting.append(block)
            yield block

    samples = 0
    for piece in enhancer.stream_file(read(), source.sample_rate, channels, options):
        sinks[0].write(piece)
        if len(sinks) > 1:
            line = np.concatenate(waiting, axis=1)
            sinks[1].write(line[:, : piece.shape[1]] - piece)
            waiting[:] = [line[:, piece.shape[1] :]]
        samples += piece.shape[1]
        advance(piece.shape[1] / source.sample_rate)
    return samples
