"""Audio that is being read: what every kind of source has in common."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recurra.speech.audio.format import AudioError, AudioFormat, AudioWarning

Audio = NDArray[np.float32]


class AudioSource(ABC):
    """Audio read block by block, float32 (C, n) with full scale at 1. A context manager.

    Attributes:
        name: what messages call it.
        sample_rate: samples a second.
        channels: number of channels.
        frames: exact number of samples a channel, or None when only decoding can tell.
        seconds: the duration, exact or as the container says; None when nothing says it.
        start: seconds into its container at which the audio starts (0 but in some videos).
        format: container, sample type and codec.
        tags: title, artist, ... as far as the format has them.
        notes: what was wrong with the file although it was read (also given as warnings).
    """

    def __init__(
        self,
        name: str,
        sample_rate: int,
        channels: int,
        frames: int | None,
        audio_format: AudioFormat,
        tags: dict[str, str],
        seconds: float | None = None,
        start: float = 0.0,
    ) -> None:
        self.name, self.sample_rate, self.channels = name, sample_rate, channels
        self.frames, self.format, self.tags, self.start = frames, audio_format, tags, start
        self.seconds = frames / sample_rate if frames is not None else seconds
        self.notes: list[str] = []
        self._read_so_far = 0

    def blocks(self, size: int) -> Iterator[Audio]:
        """Give the audio once, in blocks (C, n) with n = `size` but for the last, n >= 1.

        Raises:
            AudioError: a sample is NaN or infinite (the first is named by its time), there is not
                one sample, or the file cannot be decoded any further than its very start.
        """
        if size < 1:
            raise ValueError(f"a block must have at least 1 sample, not {size}")
        for block in self._decode(size):
            self._check_finite(block)
            self._read_so_far += block.shape[1]
            yield block
        if self._read_so_far == 0:
            raise AudioError(f"{self.name}: holds no audio (0 samples)")

    @abstractmethod
    def close(self) -> None:
        """Release the file; safe to call twice."""

    def note(self, text: str) -> None:
        """Keep a remark about the file and give it as an AudioWarning."""
        self.notes.append(text)
        warnings.warn(f"{self.name}: {text}", AudioWarning, stacklevel=3)

    @abstractmethod
    def _decode(self, size: int) -> Iterator[Audio]:
        """Give blocks (C, n) with n = `size` but for the last."""

    def _check_finite(self, block: Audio) -> None:
        if math.isfinite(float(np.sum(block))) or np.isfinite(block).all():
            return
        first = int(np.argmin(np.isfinite(block).all(axis=0)))
        channel = int(np.argmin(np.isfinite(block[:, first])))
        at = self._read_so_far + first
        raise AudioError(
            f"{self.name}: sample {at} ({at / self.sample_rate:.3f} s, channel {channel + 1}) is "
            f"{block[channel, first]}: the file is damaged, or was written by a program that failed"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
