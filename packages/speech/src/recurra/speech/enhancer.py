"""Clean recordings of any rate, length and number of channels."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.devices import choose_device
from recurra.core.errors import RecurraError
from recurra.speech.audio.resample import StreamResampler
from recurra.speech.bands import top_band_gain
from recurra.speech.models.frcrn import Frcrn
from recurra.speech.stream import EnhancerStream
from recurra.speech.windows import run_windows

DEFAULT_MODEL = "frcrn-small"
# Of two windows; short ones overlap by a third. The means of frcrn-small reach 4 s to each side. On
# two minutes of changing noise, in windows of 30 s and at six places of the joins, level steps were
# up to 0.98 dB with 6 s, 0.58 with 7 and 0.29 with 8, and SI-SDR against the whole at least 48, 49
# and 51 dB.
_OVERLAP_SECONDS = 8.0
_SHORTEST_WINDOW = 4.0  # seconds
Audio = TypeVar("Audio", np.ndarray, Tensor)


@dataclass(frozen=True)
class EnhanceOptions:
    """How a recording is cleaned.

    Attributes:
        band: what becomes of sound above the model's band: "keep" lets it follow the model's top
            band, "model" drops it.
        max_attenuation_db: no sound is turned down by more than this; None sets no limit.
        window_seconds: longer recordings are cleaned in windows of this length.
        jobs: windows in work at once. It changes the time, not the result.
    """

    band: Literal["keep", "model"] = "keep"
    max_attenuation_db: float | None = None
    window_seconds: float = 30.0
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.band not in ("keep", "model"):
            raise RecurraError(f"the band is 'keep' or 'model', not {self.band!r}")
        if not self.window_seconds >= _SHORTEST_WINDOW:
            raise RecurraError(
                f"a window of {self.window_seconds:g} s is too short: give {_SHORTEST_WINDOW:g} s "
                "or more"
            )
        if self.max_attenuation_db is not None and not self.max_attenuation_db >= 0:
            raise RecurraError(
                f"the attenuation limit is in dB, 0 or more, not {self.max_attenuation_db:g}"
            )
        if self.jobs < 1:
            raise RecurraError(f"the number of jobs is 1 or more, not {self.jobs}")


class Enhancer:
    """A model ready to clean recordings, on one device."""

    def __init__(
        self,
        model: Frcrn,
        *,
        device: str = "cpu",
        precision: Literal["f32", "bf16"] = "f32",
    ) -> None:
        """Make a fast copy of `model` on a device; `model` itself stays as it is.

        Raises:
            RecurraError: this machine has no such device, or the precision is another one.
        """
        if precision not in ("f32", "bf16"):
            raise RecurraError(f"the precision is f32 or bf16, not {precision!r}")
        self.device = choose_device(device)
        self.model = model.eval()
        self._fast = copy.deepcopy(model).fuse().to(self.device)
        self.precision = precision
        self.sample_rate = model.config.sample_rate

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str = DEFAULT_MODEL,
        *,
        device: str = "cpu",
        precision: Literal["f32", "bf16"] = "f32",
    ) -> Self:
        """Load a shipped model by name, a folder, or an id of the Hugging Face Hub."""
        return cls(Frcrn.from_pretrained(name_or_path), device=device, precision=precision)

    def __call__(
        self, audio: Audio, sample_rate: int, options: EnhanceOptions | None = None
    ) -> Audio:
        """Clean a recording; see `enhance`."""
        x, restore = _as_channels(audio)
        pieces = list(self.stream_file([x], sample_rate, x.shape[0], options or EnhanceOptions()))
        cleaned = np.concatenate([x[:, :0], *pieces], axis=1)
        return restore(cleaned)

    def stream(self, sample_rate: int, channels: int = 1) -> EnhancerStream:
        """Return a stream that cleans sound as it comes, block by block; causal models only.

        Raises:
            RecurraError: the model needs the whole recording.
        """
        return EnhancerStream(self.model, sample_rate, channels, device=self.device)

    def stream_file(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        options: EnhanceOptions,
    ) -> Iterator[np.ndarray]:
        """Clean a recording that is read in blocks, in flat memory.

        Args:
            blocks: float32 (C, n), any n, that follow each other.
            sample_rate: of the blocks, in Hz.
            channels: C.
            options: of the cleaning.

        Yields:
            float32 (C, n), together exactly as long as the blocks, aligned with them.
        """
        line = _Line(channels)
        gains = _Gains(self.sample_rate, sample_rate)
        down = StreamResampler(sample_rate, self.sample_rate, channels)
        up = StreamResampler(self.sample_rate, sample_rate, 2 * channels)
        window = round(options.window_seconds * self.sample_rate)
        at_model_rate = run_windows(
            _resampled(line.passing(blocks), down),
            lambda piece: self._run_window(piece, options),
            window=window,
            overlap=self._overlap(window),
            jobs=options.jobs,
        )
        for piece in _resampled(gains.splitting(at_model_rate, 2 * channels), up):
            noisy = line.take(piece.shape[1])
            enhanced, low = piece[:, : noisy.shape[1]].reshape(2, channels, -1)
            gain = gains.take(noisy.shape[1])
            if options.band == "keep" and sample_rate != self.sample_rate:
                enhanced = enhanced + gain * (noisy - low)
            if noisy.shape[1]:
                yield enhanced

    def _run_window(self, piece: np.ndarray, options: EnhanceOptions) -> np.ndarray:
        """Clean (C, n) at the model's rate: (3 * C, n), cleaned, as given, and the upper gain."""
        enhanced = self._clean_in_memory(piece)
        gain = top_band_gain(piece, enhanced, self.sample_rate)
        if options.max_attenuation_db is not None:
            floor = np.float32(10 ** (-options.max_attenuation_db / 20))
            enhanced = enhanced + floor * (piece - enhanced)
            gain = gain + floor * (1 - gain)
        return np.concatenate([enhanced, piece, gain])

    def _clean_in_memory(self, piece: np.ndarray) -> np.ndarray:
        """Clean (C, n) at the model's rate; where the device's memory is too small, in halves."""
        try:
            return self._clean(torch.from_numpy(np.ascontiguousarray(piece))).numpy()
        except torch.OutOfMemoryError as error:
            window = -(-3 * piece.shape[1] // 5)  # two of them, with the overlap of a third
            if window < _SHORTEST_WINDOW * self.sample_rate:
                raise RecurraError(
                    f"{self.device} has no memory for {piece.shape[1] / self.sample_rate:.1f} s of "
                    f"{piece.shape[0]} channels; use --device cpu"
                ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        halves = run_windows(
            [piece], self._clean_in_memory, window=window, overlap=self._overlap(window)
        )
        return np.concatenate(list(halves), axis=1)

    def _overlap(self, window: int) -> int:
        """Return the samples that windows of `window` samples share."""
        return min(round(_OVERLAP_SECONDS * self.sample_rate), window // 3)

    @torch.inference_mode()
    def _clean(self, x: Tensor) -> Tensor:
        """Clean x (C, n) at the model's rate, any n >= 1."""
        config = self.model.config
        gain = 1.0 if config.level_db is None else level_gain(x, config.level_db)
        # The outermost samples of an inverse transform are unsure, and it ends on its hop grid.
        edge = config.win_length - config.hop_length
        rest = -x.shape[1] % config.hop_length
        padded = functional.pad(x * gain, (edge, edge + rest)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            cleaned = self._fast(padded)
        return cleaned[:, edge : edge + x.shape[1]].float().cpu() / gain


def enhance(
    audio: Audio,
    sample_rate: int,
    *,
    model: str = DEFAULT_MODEL,
    options: EnhanceOptions | None = None,
) -> Audio:
    """Clean a recording of speech.

    Args:
        audio: (T,) or (C, T), numpy or torch; floating in [-1, 1], or int16, which is divided by
            32768 first.
        sample_rate: in Hz, any.
        model: a shipped name, a folder, or an id of the Hugging Face Hub.
        options: band, attenuation limit, windows.

    Returns:
        The same shape and kind, floating (float32 for int16), on the device that it came from, at
        the same level and exactly aligned.

    Raises:
        ValueError: another shape or dtype, a transposed array, samples that are not finite.
    """
    return Enhancer.from_pretrained(model)(audio, sample_rate, options)


def level_gain(x: Tensor, level_db: float) -> Tensor:
    """Return the gain that brings the loud half of each row of x (C, n) to `level_db`: (C, 1).

    First the whole, then the samples above the mean power are brought to the level. A silent row
    gets 1. Source: `audio_norm` of ClearerVoice-Studio (`dataloader/misc.py`).
    """
    power = x.double().square()
    loud = power > power.mean(dim=1, keepdim=True)
    loud_power = (power * loud).sum(dim=1) / loud.sum(dim=1).clamp(min=1)
    gain = 10 ** (level_db / 20) / loud_power.sqrt()
    return torch.where(loud_power > 1e-16, gain, 1.0)[:, None].to(x.dtype)


def _as_channels(audio: np.ndarray | Tensor):
    """Check a recording; return it as float32 (C, T) and a function that undoes the change."""
    is_tensor = isinstance(audio, Tensor)
    array = audio.detach().cpu().numpy() if is_tensor else np.asarray(audio)
    if array.ndim not in (1, 2):
        raise ValueError(f"audio is (T,) or (C, T), not {array.shape}")
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        raise ValueError(
            f"audio {array.shape} would be {array.shape[0]} channels of {array.shape[1]} samples: "
            "give (C, T); is it transposed?"
        )
    if array.dtype == np.int16:
        floats = array.astype(np.float32) / 32768
    elif np.issubdtype(array.dtype, np.floating):
        floats = array.astype(np.float32)
    else:
        raise ValueError(f"audio is floating or int16, not {array.dtype}")
    if not np.isfinite(floats).all():
        raise ValueError("audio has samples that are not finite (NaN or infinity)")
    dtype = array.dtype if np.issubdtype(array.dtype, np.floating) else np.dtype(np.float32)

    def restore(cleaned: np.ndarray) -> np.ndarray | Tensor:
        result = cleaned.reshape(array.shape).astype(dtype)
        return torch.from_numpy(result).to(audio.device) if is_tensor else result

    return np.atleast_2d(floats), restore


class _Line:
    """Keeps what went into the model until it is needed again beside what came out."""

    def __init__(self, channels: int) -> None:
        self._blocks = [np.zeros((channels, 0), np.float32)]

    def passing(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            self._blocks.append(block)
            yield block

    def take(self, count: int) -> np.ndarray:
        """Return the next `count` samples, or what there is."""
        line = np.concatenate(self._blocks, axis=1)
        self._blocks = [line[:, count:]]
        return line[:, :count]


class _Gains:
    """Keeps the gains above the band, which change slowly, and gives them at another rate.

    Each output sample takes the gain of the latest model sample: no filter, so none of its ringing.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._rate_in, self._rate_out = rate_in, rate_out
        self._rows: np.ndarray | None = None
        self._first = 0  # the model sample that the kept rows begin with
        self._given = 0

    def splitting(self, pieces: Iterable[np.ndarray], n_audio: int) -> Iterator[np.ndarray]:
        """Pass the first `n_audio` rows of each piece on and keep the others."""
        for piece in pieces:
            gains = piece[n_audio:]
            self._rows = (
                gains if self._rows is None else np.concatenate([self._rows, gains], axis=1)
            )
            yield piece[:n_audio]

    def take(self, count: int) -> np.ndarray:
        """Return the next `count` samples at the output rate."""
        assert self._rows is not None, "audio comes before its gains are taken"
        positions = (self._given + np.arange(count)) * self._rate_in // self._rate_out
        self._given += count
        index = np.minimum(positions - self._first, self._rows.shape[1] - 1)
        gains = self._rows[:, index]
        done = min(
            self._given * self._rate_in // self._rate_out - self._first, index.max(initial=0)
        )
        self._rows, self._first = self._rows[:, done:], self._first + done
        return gains


def _resampled(blocks: Iterable[np.ndarray], resampler: StreamResampler) -> Iterator[np.ndarray]:
    for block in blocks:
        piece = resampler.push(block)
        if piece.shape[1]:
            yield piece
    piece = resampler.flush()
    if piece.shape[1]:
        yield piece
