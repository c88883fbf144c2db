"""Take audio files apart: from a file to files of the same kind, one a speaker or one of all."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from recurra.core.cli import Done, FileInput
from recurra.core.errors import RecurraError
from recurra.speech import audio_files
from recurra.speech.audio.format import SPEAKER_MARK, SPEAKERS_MARK
from recurra.speech.audio.read import AudioSource, open_audio
from recurra.speech.audio.sink import AudioSink
from recurra.speech.audio_files import create_like, read_blocks, refuse_collisions
from recurra.speech.separator import SeparateOptions, Separator

Form = Literal["files", "multichannel"]
_INACTIVE_DB = -30.0  # to the recording: so little is what a separator leaves of nothing


def choose_outputs(
    inputs: Iterable[FileInput], output: str | None, n_speakers: int, form: Form
) -> list[tuple[FileInput, list[Path | None]]]:
    """Pair each input with the files of its speakers; None is standard output.

    As "files" they are `<stem>.speaker1.<ext>` and so on, beside the input, or in the folder
    `output`, which keeps the relative paths of input folders. As "multichannel" each input has one,
    `<stem>.speakers.<ext>`, in a folder too, or the file that `output` names; see
    `audio_files.choose_outputs`.

    Raises:
        RecurraError: another form, a pipe or one name where there are several files to write, or
            two inputs that would be written to one file.
    """
    if form not in ("files", "multichannel"):
        raise RecurraError(
            f"the output is 'files' or 'multichannel', not {form!r}; -o names the folder"
        )
    if form == "multichannel":
        pairs = audio_files.choose_outputs(inputs, output, SPEAKERS_MARK, mark_in_folder=True)
        return [(entry, [path]) for entry, path in pairs]
    if output is not None and audio_files.is_file_name(output):
        raise RecurraError(
            f"{output} is the name of one file, and each speaker gets one; "
            "give -o a folder, such as apart/"
        )
    named: list[tuple[FileInput, list[Path | None]]] = []
    for entry in inputs:
        if entry.path is None or output == "-":
            raise RecurraError(
                "a pipe cannot carry a file for each speaker; --output multichannel makes one file "
                "of a channel for each"
            )
        place = entry.path if output is None else Path(output) / entry.relative
        names = (f"{place.stem}{SPEAKER_MARK}{i}{place.suffix}" for i in range(1, n_speakers + 1))
        named.append((entry, [place.with_name(name) for name in names]))
    refuse_collisions((entry, path) for entry, paths in named for path in paths)
    return named


def separate_file(
    separator: Separator,
    entry: FileInput,
    outputs: Sequence[Path | None],
    options: SeparateOptions,
    advance: Callable[[float], None],
    *,
    downmix: bool = False,
    overwrite: bool = False,
) -> Done:
    """Take one file apart; nothing is written, or all is whole.

    A speaker who is more than 30 dB under the recording is not there: the note names him, and his
    file, or channel, is silent. The loudest one is always there. That shows at the end of the
    recording, so the voices wait for it in a file without a name, of 32-bit floats, where the first
    output will be.

    Args:
        separator: the model.
        entry: the input.
        outputs: a file for each speaker, in the input's format where the name allows that; or a
            single one of all: first the channels of the first speaker, and so on. None is standard
            output.
        options: for the model.
        advance: called with seconds of audio that are done.
        downmix: mix all channels into one first.
        overwrite: replace files that are there; the input never is.

    Returns:
        the outputs, the seconds of audio, and which speakers are inactive.

    Raises:
        RecurraError: the input cannot be read or an output cannot be written.
    """
    with (
        open_audio(sys.stdin.buffer if entry.path is None else entry.path) as source,
        ExitStack() as stack,
    ):
        channels = 1 if downmix else source.channels
        if outputs[0] is not None:
            outputs[0].parent.mkdir(parents=True, exist_ok=True)
        n_rows = separator.n_streams * channels

        def create(path: Path | None) -> AudioSink:
            target = sys.stdout.buffer if path is None else path
            n_channels = n_rows // len(outputs)
            return stack.enter_context(
                create_like(source, target, n_channels, entry, overwrite=overwrite)
            )

        sinks = [create(path) for path in outputs]
        folder = sinks[0].placement.temporary.parent
        waiting = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        levels = _keep_voices(waiting, separator, source, channels, options, advance)
        inactive = _inactive(levels)
        for rows in _read_back(waiting, n_rows, source.sample_rate):
            for i in inactive:
                rows[i * channels : (i + 1) * channels] = 0
            for sink, part in zip(sinks, np.split(rows, len(sinks)), strict=True):
                sink.write(part)
        seconds = sinks[0].frames / source.sample_rate
    return Done(
        output=outputs[0],
        also=[path for path in outputs[1:] if path is not None],
        details={"seconds_of_audio": round(seconds, 3), "inactive": [i + 1 for i in inactive]},
        notes=[
            f"speaker {i + 1} is not there ({-levels[i]:.0f} dB under the recording): silence"
            for i in inactive
        ],
    )


def _keep_voices(
    waiting: BinaryIO,
    separator: Separator,
    source: AudioSource,
    channels: int,
    options: SeparateOptions,
    advance: Callable[[float], None],
) -> list[float]:
    """Write the voices as float32 (n, S * C); return their levels in dB to the recording."""
    recording = _Energy()
    speakers = [_Energy() for _ in range(separator.n_streams)]
    blocks = recording.passing(read_blocks(source, channels))
    for voices in separator.stream_file(blocks, source.sample_rate, channels, options):
        waiting.write(voices.reshape(-1, voices.shape[2]).T.astype(np.float32).tobytes())
        for speaker, voice in zip(speakers, voices, strict=True):
            speaker.add(voice)
        advance(voices.shape[2] / source.sample_rate)
    return [speaker.db_to(recording) for speaker in speakers]


def _inactive(levels: Sequence[float]) -> list[int]:
    """Say who is not there, by levels in dB to the recording: never the loudest."""
    loudest = int(np.argmax(levels))
    return [i for i, level in enumerate(levels) if level < _INACTIVE_DB and i != loudest]


def _read_back(waiting: BinaryIO, n_rows: int, frames: int) -> Iterator[np.ndarray]:
    """Read what was written as (n, n_rows) from the beginning, as blocks (n_rows, n)."""
    waiting.seek(0)
    while block := waiting.read(4 * n_rows * frames):
        yield np.frombuffer(block, np.float32).reshape(-1, n_rows).T.copy()


class _Energy:
    """The energy of sound that goes by in blocks."""

    def __init__(self) -> None:
        self._sum = 0.0

    def add(self, block: np.ndarray) -> None:
        self._sum += float(np.square(block, dtype=np.float64).sum())

    def passing(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            self.add(block)
            yield block

    def db_to(self, whole: "_Energy") -> float:
        """Return the level against another in dB; 0 where the other is silent."""
        if not whole._sum:
            return 0.0
        return 10 * float(np.log10(max(self._sum, 1e-30) / whole._sum))
