"""Take audio files apart: from a file to one file of the same kind a speaker."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from recurra.core.cli import Done, FileInput
from recurra.core.errors import RecurraError
from recurra.speech.audio.format import SPEAKER_MARK
from recurra.speech.audio.read import open_audio
from recurra.speech.audio.sink import AudioSink
from recurra.speech.audio_files import create_like, read_blocks, refuse_collisions
from recurra.speech.separator import SeparateOptions, Separator

_INACTIVE_DB = -30.0  # to the recording: so little is what a separator leaves of nothing


def choose_outputs(
    inputs: Iterable[FileInput], folder: str | None, n_speakers: int
) -> list[tuple[FileInput, list[Path]]]:
    """Pair each input with the files of its speakers, `<stem>.speaker1.<ext>` and so on.

    They go beside the input, or into `folder`, which keeps the relative paths of input folders.

    Raises:
        RecurraError: an input is a pipe, or two inputs would be written to one file.
    """
    pairs = []
    for entry in inputs:
        if entry.path is None:
            raise RecurraError("separate writes several files, so it needs the name of one: not -")
        place = entry.path if folder is None else Path(folder) / entry.relative
        names = (f"{place.stem}{SPEAKER_MARK}{i}{place.suffix}" for i in range(1, n_speakers + 1))
        pairs.append((entry, [place.with_name(name) for name in names]))
    refuse_collisions((entry, path) for entry, paths in pairs for path in paths)
    return pairs


def separate_file(
    separator: Separator,
    entry: FileInput,
    outputs: Sequence[Path],
    options: SeparateOptions,
    advance: Callable[[float], None],
    *,
    downmix: bool = False,
    overwrite: bool = False,
) -> Done:
    """Take one file apart; nothing is written, or all is whole.

    A speaker who is more than 30 dB under the recording is not there: the note names him, and his
    file is silent.

    Args:
        separator: the model.
        entry: the input, not a pipe.
        outputs: a file for each speaker, in the input's format where the name allows that.
        options: for the model.
        advance: called with seconds of audio that are done.
        downmix: mix all channels into one first.
        overwrite: replace files that are there; the input never is.

    Returns:
        the outputs, the seconds of audio, and which speakers are inactive.

    Raises:
        RecurraError: the input cannot be read or an output cannot be written.
    """
    assert entry.path is not None, "choose_outputs refuses pipes"
    with open_audio(entry.path) as source, ExitStack() as stack:
        channels = 1 if downmix else source.channels
        outputs[0].parent.mkdir(parents=True, exist_ok=True)

        def create(path: Path) -> AudioSink:
            return stack.enter_context(
                create_like(source, path, channels, entry, overwrite=overwrite)
            )

        sinks = [create(path) for path in outputs]
        recording = _Energy()
        speakers = [_Energy() for _ in outputs]
        blocks = recording.passing(read_blocks(source, channels))
        for voices in separator.stream_file(blocks, source.sample_rate, channels, options):
            for sink, speaker, voice in zip(sinks, speakers, voices, strict=True):
                sink.write(voice)
                speaker.add(voice)
            advance(voices.shape[2] / source.sample_rate)
        levels = [speaker.db_to(recording) for speaker in speakers]
        inactive = [i for i, level in enumerate(levels) if level < _INACTIVE_DB]
        for i in inactive:
            sinks[i].abort()
            _write_silence(create(outputs[i]), sinks[i].frames, source.sample_rate)
        seconds = sinks[0].frames / source.sample_rate
    return Done(
        output=outputs[0],
        also=tuple(outputs[1:]),
        details={"seconds_of_audio": round(seconds, 3), "inactive": [i + 1 for i in inactive]},
        notes=[
            f"speaker {i + 1} is not there ({-levels[i]:.0f} dB under the recording): silence"
            for i in inactive
        ],
    )


def _write_silence(sink: AudioSink, frames: int, block: int) -> None:
    for start in range(0, frames, block):
        sink.write(np.zeros((sink.channels, min(block, frames - start)), np.float32))


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
