"""What cleaning and separating share: a recording of any rate and length through a model.

It is read in blocks, brought to the model's rate, worked on in windows that overlap, brought back,
and gets the sound above the model's band again: memory is flat, and every sample is in its place.
"""

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from recurra.core.devices import choose_device
from recurra.core.errors import RecurraError
from recurra.speech.audio.resample import StreamResampler
from recurra.speech.models.load import Model
from recurra.speech.windows import Arrange, run_windows

Audio = TypeVar("Audio", np.ndarray, Tensor)
_SHORTEST_WINDOW = 4.0  # seconds
_CUDA_BATCH = 4


@dataclass(frozen=True)
class WindowOptions:
    """How a recording is cut up for a model.

    Attributes:
        window_seconds: longer recordings are worked on in windows of this length.
        jobs: batches of windows in work at once. It changes the time, not the result.
        batch: windows in one batch; None is 4 on a GPU of CUDA and else 1. Results differ by
            rounding alone. Where memory is too small for a batch, halves of it are run.
    """

    window_seconds: float = 30.0
    jobs: int = 1
    batch: int | None = None

    def __post_init__(self) -> None:
        if not self.window_seconds >= _SHORTEST_WINDOW:
            raise RecurraError(
                f"a window of {self.window_seconds:g} s is too short: give {_SHORTEST_WINDOW:g} s "
                "or more"
            )
        if self.jobs < 1:
            raise RecurraError(f"the number of jobs is 1 or more, not {self.jobs}")
        if self.batch is not None and self.batch < 1:
            raise RecurraError(f"a batch has 1 window or more, not {self.batch}")


@dataclass(frozen=True)
class RecordingOptions(WindowOptions):
    """How a recording goes through a model and comes back at its own rate.

    Attributes:
        band: what becomes of sound above the model's band: "keep" lets it follow the model's top
            band, "model" drops it.
    """

    band: Literal["keep", "model"] = "keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.band not in ("keep", "model"):
            raise RecurraError(f"the band is 'keep' or 'model', not {self.band!r}")


class RecordingModel(ABC):
    """A model ready for recordings, on one device; each channel gives `n_streams` others.

    Attributes:
        model: as it was given; a fast copy of it does the work.
        sample_rate: of the model, in Hz.
        n_streams: S, what each channel becomes: one cleaned channel, or several voices.
        overlap_seconds: what windows share at most; they never share more than a third.
    """

    n_streams = 1
    overlap_seconds: float

    def __init__(
        self, model: Model, *, device: str = "cpu", precision: Literal["f32", "bf16"] = "f32"
    ) -> None:
        """Make a fast copy of `model` on a device; `model` itself stays as it is.

        Raises:
            RecurraError: this machine has no such device, or the precision is another one.
        """
        if precision not in ("f32", "bf16"):
            raise RecurraError(f"the precision is f32 or bf16, not {precision!r}")
        self.device = choose_device(device)
        self.model = model.eval()
        self._fast = copy.deepcopy(model).to(self.device).fuse()
        self.precision = precision
        self.sample_rate = model.config.sample_rate
        # What may fit into memory: windows at once, and samples of one.
        self._largest_batch, self._longest = sys.maxsize, sys.maxsize

    @abstractmethod
    def _clean(self, x: Tensor) -> Tensor:
        """Run the model on windows x (B, C, n) at its rate, any n >= 1: (B, S * C, n)."""

    @abstractmethod
    def _run_windows(self, pieces: np.ndarray, options: Any) -> np.ndarray:
        """Turn windows (B, C, n) at the model's rate into the rows that go on from there.

        For `_stream` they are (B, S * C + C + S * C, n): what the model made of a window, what it
        was given, and how much of the sound above the model's band belongs to each stream, from 0
        to 1.
        """

    def _new_order(self, channels: int) -> Arrange | None:
        """Return what puts the streams of windows that follow each other in one order."""
        return None

    def _stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        options: RecordingOptions,
    ) -> Iterator[np.ndarray]:
        """Turn blocks (C, n), any n, into (S, C, n), together as long and aligned with them."""
        n_rows = self.n_streams * channels
        line = _Line(channels)
        gains = _Gains(self.sample_rate, sample_rate)
        down = StreamResampler(sample_rate, self.sample_rate, channels)
        up = StreamResampler(self.sample_rate, sample_rate, n_rows + channels)
        at_model_rate = self._in_windows(resampled(line.passing(blocks), down), channels, options)
        for piece in resampled(gains.splitting(at_model_rate, n_rows + channels), up):
            given = line.take(piece.shape[1])
            n = given.shape[1]
            streams = piece[:n_rows, :n].reshape(self.n_streams, channels, n)
            shares = gains.take(n).reshape(streams.shape)
            if options.band == "keep" and sample_rate != self.sample_rate:
                streams = streams + shares * (given - piece[n_rows:, :n])
            if n:
                yield streams

    def _in_windows(
        self, blocks: Iterable[np.ndarray], channels: int, options: WindowOptions
    ) -> Iterator[np.ndarray]:
        """Run what `_run_windows` does on blocks (C, n) at the model's rate, and join it."""
        window = round(options.window_seconds * self.sample_rate)
        return run_windows(
            blocks,
            lambda pieces: self._run_windows(pieces, options),
            window=window,
            overlap=self._overlap(window),
            jobs=options.jobs,
            batch=options.batch or (_CUDA_BATCH if self.device.type == "cuda" else 1),
            arrange=self._new_order(channels),
        )

    def _run_in_memory(self, pieces: np.ndarray) -> np.ndarray:
        """Run the model on windows (B, C, n): (B, S * C, n).

        Where the device's memory is too small, so many at once as fit, and if not even one does,
        halves of it.
        """
        if pieces.shape[2] > self._longest:
            return np.stack([self._run_halves(piece) for piece in pieces])
        first, rest = pieces[: self._largest_batch], pieces[self._largest_batch :]
        done = self._try(first)
        if done is None and len(first) > 1:
            self._largest_batch = len(first) // 2
            return self._run_in_memory(pieces)
        if done is None:
            self._longest = pieces.shape[2] - 1
            return self._run_in_memory(pieces)
        return np.concatenate([done, self._run_in_memory(rest)]) if len(rest) else done

    def _try(self, pieces: np.ndarray) -> np.ndarray | None:
        """Run the model on windows (B, C, n); None where the device's memory is too small."""
        try:
            with torch.inference_mode():
                return self._clean(torch.from_numpy(np.ascontiguousarray(pieces))).numpy()
        except torch.OutOfMemoryError:
            pass  # here the error, and with it what the model had in memory, is let go
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _run_halves(self, piece: np.ndarray) -> np.ndarray:
        """Run the model on a window (C, n) in two, which overlap by a third: (S * C, n)."""
        window = -(-3 * piece.shape[1] // 5)
        if window < _SHORTEST_WINDOW * self.sample_rate:
            raise RecurraError(
                f"{self.device} has no memory for {piece.shape[1] / self.sample_rate:.1f} s of "
                f"{piece.shape[0]} channels; use --device cpu"
            )
        halves = run_windows(
            [piece],
            self._run_in_memory,
            window=window,
            overlap=self._overlap(window),
            arrange=self._new_order(piece.shape[0]),
        )
        return np.concatenate(list(halves), axis=1)

    def _at_level(self, x: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        """Run a function of (C, n) at the level that the model wants: (C, ..., n), on the CPU."""
        level_db = self.model.config.level_db
        gain = torch.ones(x.shape[0], 1) if level_db is None else level_gain(x, level_db)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            y = run((x * gain).to(self.device)).float().cpu()
        return y / gain.reshape(-1, *(1,) * (y.dim() - 1))

    def _overlap(self, window: int) -> int:
        """Return the samples that windows of `window` samples share."""
        return min(round(self.overlap_seconds * self.sample_rate), window // 3)


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


def as_channels(audio: np.ndarray | Tensor):
    """Check a recording (T,) or (C, T), numpy or torch, floating or int16.

    Returns:
        float32 (C, T), and a function that brings (..., C, T) into the kind and shape of `audio`,
        with further axes before.

    Raises:
        ValueError: another shape or dtype, a transposed array, samples that are not finite.
    """
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
        result = cleaned.reshape(*cleaned.shape[:-2], *array.shape).astype(dtype)
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


def resampled(blocks: Iterable[np.ndarray], resampler: StreamResampler) -> Iterator[np.ndarray]:
    """Give blocks (C, n) at the resampler's other rate."""
    for block in blocks:
        piece = resampler.push(block)
        if piece.shape[1]:
            yield piece
    piece = resampler.flush()
    if piece.shape[1]:
        yield piece
