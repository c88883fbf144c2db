"""Upsample audio files: from a file to a file of the same kind at the rate of a model."""

import sys
from collections.abc import Callable
from pathlib import Path

from recurra.core.cli import Done, FileInput
from recurra.speech.audio.read import open_audio
from recurra.speech.audio_files import create_like, read_blocks
from recurra.speech.upsampler import UpsampleOptions, Upsampler


def upsample_file(
    upsampler: Upsampler,
    entry: FileInput,
    output: Path | None,
    options: UpsampleOptions,
    advance: Callable[[float], None],
    *,
    downmix: bool = False,
    overwrite: bool = False,
) -> Done:
    """Upsample one file; nothing is written, or it is whole.

    Args:
        upsampler: the model.
        entry: the input.
        output: the file to make, in the input's format where its name allows that; None writes the
            input's format to standard output.
        options: for the model.
        advance: called with seconds of audio that are done.
        downmix: mix all channels into one first.
        overwrite: replace a file that is there; the input never is.

    Returns:
        the output, and the seconds of audio.

    Raises:
        RecurraError: the input cannot be read, has a higher rate than the model, or the output
            cannot be written.
    """
    with open_audio(sys.stdin.buffer if entry.path is None else entry.path) as source:
        channels, rate = 1 if downmix else source.channels, upsampler.sample_rate
        blocks = read_blocks(source, channels)
        pieces = upsampler.stream_file(blocks, source.sample_rate, channels, options)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
        target = sys.stdout.buffer if output is None else output
        with create_like(
            source, target, channels, entry, sample_rate=rate, overwrite=overwrite
        ) as sink:
            for piece in pieces:
                sink.write(piece)
                advance(piece.shape[1] / rate)
        return Done(output=output, details={"seconds_of_audio": round(sink.frames / rate, 3)})
