"""Bring recordings of speech to the rate of a model that makes the sound above their band."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from torch import Tensor

from recurra.core.errors import RecurraError
from recurra.speech.audio.resample import StreamResampler
from recurra.speech.models.load import load_upsampling
from recurra.speech.recordings import RecordingModel, WindowOptions, resampled


@dataclass(frozen=True)
class UpsampleOptions(WindowOptions):
    """How a recording is cut up: the attributes of `WindowOptions`.

    Windows are shorter than for cleaning: each second of them takes about 60 MB.
    """

    window_seconds: float = 10.0


class Upsampler(RecordingModel):
    """A model ready to make the sound above the band of recordings, on one device.

    What a recording has in its band stays as it is. Where the band ends is seen anew in each
    window, and by the energy in it: sound above that is replaced, also where there is some.
    """

    overlap_seconds = 2.5

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        device: str = "cpu",
        precision: Literal["f32", "bf16"] = "f32",
    ) -> Self:
        """Load a folder, or an id of the Hugging Face Hub.

        Raises:
            RecurraError: there is no such model, or it does something else.
        """
        return cls(load_upsampling(name_or_path), device=device, precision=precision)

    def __call__(
        self, audio: np.ndarray, sample_rate: int, options: UpsampleOptions | None = None
    ) -> np.ndarray:
        """Upsample a recording: float32 (C, T) to (C, ceil(T * rate of the model / sample_rate)).

        Raises:
            RecurraError: as `stream_file`.
        """
        pieces = list(self.stream_file([audio], sample_rate, len(audio), options))
        return np.concatenate([audio[:, :0], *pieces], axis=1)

    def stream_file(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        options: UpsampleOptions | None = None,
    ) -> Iterator[np.ndarray]:
        """Upsample a recording that is read in blocks, in flat memory.

        Args:
            blocks: float32 (C, n), any n, that follow each other.
            sample_rate: of the blocks, in Hz.
            channels: C.
            options: windows.

        Returns:
            float32 (C, n) at the model's rate, one after the other: together as long as the blocks,
            rounded up to a sample, and aligned with them.

        Raises:
            RecurraError: the rate is higher than the model's.
        """
        if sample_rate > self.sample_rate:
            raise RecurraError(
                f"a recording of {sample_rate} Hz has more than the {self.sample_rate} Hz of this "
                "model; resample it first"
            )
        down = StreamResampler(sample_rate, self.sample_rate, channels)
        return self._in_windows(resampled(blocks, down), channels, options or UpsampleOptions())

    def _run_windows(self, pieces: np.ndarray, options: WindowOptions) -> np.ndarray:
        return self._run_in_memory(pieces)

    def _clean(self, x: Tensor) -> Tensor:
        return self._at_level(x.flatten(0, 1), self._fast.widen).unflatten(0, x.shape[:2])
