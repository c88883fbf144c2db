"""Take the voices in recordings of any rate, length and number of channels apart."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.errors import RecurraError
from recurra.speech.bands import top_band_shares
from recurra.speech.models.load import load_separating
from recurra.speech.models.mossformer2_ss import MossFormer2Ss
from recurra.speech.recordings import Audio, RecordingModel, RecordingOptions, as_channels
from recurra.speech.speaker_order import SpeakerOrder, best_order
from recurra.speech.windows import Arrange

DEFAULT_MODEL = "mossformer2-small"
# Share of each voice's energy: it settles what voices that are alike have in common.
_RIDGE = 1e-9
_LOUDNESS_SAMPLES = 160  # 10 ms at 16 kHz


@dataclass(frozen=True)
class SeparateOptions(RecordingOptions):
    """How the voices of a recording are taken apart: the attributes of `RecordingOptions`.

    Windows are shorter than for cleaning: a separator keeps more of each second in memory.
    """

    window_seconds: float = 10.0


class Separator(RecordingModel):
    """A model ready to take voices apart, on one device.

    Every voice has the level that it has in the recording: those of a channel are scaled so that
    their sum is as near to it as can be. A voice is in the same place from the first to the last
    second and in all channels; see `SpeakerOrder`.
    """

    overlap_seconds = 2.5

    def __init__(
        self,
        model: MossFormer2Ss,
        *,
        device: str = "cpu",
        precision: Literal["f32", "bf16"] = "f32",
    ) -> None:
        """Make a fast copy of `model` on a device; `model` itself stays as it is.

        Raises:
            RecurraError: this machine has no such device, or the precision is another one.
        """
        super().__init__(model, device=device, precision=precision)
        self.n_streams = model.config.n_speakers

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str = DEFAULT_MODEL,
        *,
        speakers: int | None = None,
        device: str = "cpu",
        precision: Literal["f32", "bf16"] = "f32",
    ) -> Self:
        """Load a shipped model by name, a folder, or an id of the Hugging Face Hub.

        Raises:
            RecurraError: there is no such model, or it takes another number of speakers apart.
        """
        model = load_separating(name_or_path)
        if speakers not in (None, model.config.n_speakers):
            raise RecurraError(
                f"{name_or_path} takes {model.config.n_speakers} voices apart, not {speakers}; "
                "give another model"
            )
        return cls(model, device=device, precision=precision)

    def __call__(
        self, audio: Audio, sample_rate: int, options: SeparateOptions | None = None
    ) -> Audio:
        """Take the voices of a recording apart.

        Args:
            audio: (T,) or (C, T), numpy or torch; floating in [-1, 1], or int16, which is divided
                by 32768 first.
            sample_rate: in Hz, any.
            options: band, windows.

        Returns:
            (S, T) or (S, C, T) of the same kind, floating (float32 for int16), exactly aligned.

        Raises:
            ValueError: another shape or dtype, a transposed array, samples that are not finite.
        """
        x, restore = as_channels(audio)
        options = options or SeparateOptions()
        pieces = list(self.stream_file([x], sample_rate, x.shape[0], options))
        empty = np.zeros((self.n_streams, x.shape[0], 0), np.float32)
        return restore(np.concatenate([empty, *pieces], axis=2))

    def stream_file(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        options: SeparateOptions,
    ) -> Iterator[np.ndarray]:
        """Take the voices of a recording that is read in blocks apart, in flat memory.

        Args:
            blocks: float32 (C, n), any n, that follow each other.
            sample_rate: of the blocks, in Hz.
            channels: C.
            options: band, windows.

        Yields:
            float32 (S, C, n), together exactly as long as the blocks, aligned with them.
        """
        yield from self._stream(blocks, sample_rate, channels, options)

    def _new_order(self, channels: int) -> Arrange:
        return SpeakerOrder(self.n_streams, channels, self.sample_rate)

    def _run_windows(self, pieces: np.ndarray, options: RecordingOptions) -> np.ndarray:
        voices = self._run_in_memory(pieces)  # (B, S * C, n)
        by_speaker = voices.reshape(len(pieces), self.n_streams, *pieces.shape[1:]).swapaxes(0, 1)
        shares = top_band_shares(by_speaker, self.sample_rate).swapaxes(0, 1)
        return np.concatenate([voices, pieces, shares.reshape(voices.shape)], axis=1)

    def _clean(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        voices = self._at_level(rows, self._fast.separate)  # (B * C, S, n)
        gains = [fitted_gains(*pair) for pair in zip(voices, rows, strict=True)]
        windows = (voices * torch.stack(gains)).unflatten(0, x.shape[:2])  # (B, C, S, n)
        ordered = [torch.stack(_in_one_order(window), dim=1) for window in windows]
        return torch.stack(ordered).flatten(1, 2)


def fitted_gains(voices: Tensor, mixture: Tensor) -> Tensor:
    """Return the gains with which voices (S, n) add up to the mixture (n,) best: (S, 1).

    They are those of least squares among gains of at least 0: a network that was trained without
    regard to levels may turn a voice up or down, but not over. Voices that are alike share what
    they have in common.
    """
    wide = torch.cat([voices, mixture[None]]).double()
    products = wide @ wide.t()
    gram, target = products[:-1, :-1], products[:-1, -1]
    scale = gram.diagonal().clamp(min=1e-30).sqrt()
    ridge = _RIDGE * torch.eye(len(scale), dtype=torch.float64)
    gram, target = gram / scale / scale[:, None] + ridge, target / scale
    best, least = torch.zeros_like(target), 0.0
    for size in range(1, len(scale) + 1):
        for used in map(list, combinations(range(len(scale)), size)):
            gains = torch.linalg.solve(gram[used][:, used], target[used])
            error = -(gains @ target[used]).item()
            if gains.min() >= 0 and error < least:
                best, least = torch.zeros_like(target), error
                best[used] = gains
    return (best / scale)[:, None].to(voices.dtype)


def _in_one_order(voices: Tensor) -> list[Tensor]:
    """Bring the voices of each channel of (C, S, n) into the order of the first one: C of (S, n).

    They are matched by how their loudness goes, which the time that sound takes from one
    microphone to the other does not change.
    """
    loudness = functional.avg_pool1d(
        voices.square(), _LOUDNESS_SAMPLES, ceil_mode=True, count_include_pad=False
    ).sqrt()  # (C, S, T)
    ordered = [voices[0]]
    for channel in range(1, voices.shape[0]):
        score = loudness[0].double() @ loudness[channel].double().t()
        norms = loudness[0].norm(dim=1)[:, None] * loudness[channel].norm(dim=1)
        ordered.append(voices[channel, list(best_order(score / norms.clamp(min=1e-20)))])
    return ordered
