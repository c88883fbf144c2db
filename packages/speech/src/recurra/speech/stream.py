"""Clean sound while it is made: a causal model fed block by block, with a constant small delay."""

import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from recurra.core.errors import RecurraError
from recurra.speech.audio.short_resample import ShortResampler
from recurra.speech.models.frcrn import Frcrn
from recurra.speech.models.frcrn_step import FrcrnStep
from recurra.speech.models.stft import sqrt_hann

Audio = np.ndarray


class EnhancerStream:
    """Cleans blocks of any size as they come; the output is aligned and, once flushed, as long.

    Sample i comes back at the latest when sample i + `latency` has been pushed, so a player that
    starts with `latency` samples of silence never runs dry. At another rate than the model's, sound
    above the model's band is dropped, and the resampling on both sides adds to the latency. The
    network runs in float32, frame by frame.

    Attributes:
        sample_rate, channels: of the blocks.
        latency: samples at `sample_rate`: the model's window, its look-ahead and the resampling.
    """

    def __init__(
        self, model: Frcrn, sample_rate: int, channels: int, *, device: str | torch.device = "cpu"
    ) -> None:
        """Copy the model's weights; several streams of one model are independent.

        Raises:
            RecurraError: the model is not causal, or needs the level of the whole recording.
            ValueError: a rate or a number of channels below one.
        """
        config = model.config
        self._frames = FrameStream(model, channels, device=device)
        self._down = ShortResampler(sample_rate, config.sample_rate, channels)
        self._up = ShortResampler(config.sample_rate, sample_rate, channels)
        self.sample_rate = sample_rate
        self.channels = channels
        self.latency = stream_latency(
            config.win_length, config.hop_length, config.sample_rate, sample_rate
        )
        self._taken = 0
        self._given = 0

    @property
    def latency_seconds(self) -> float:
        """The latency in seconds."""
        return self.latency / self.sample_rate

    def push(self, block: Audio) -> Audio:
        """Take a block (C, n) of float32, any n, and return what is ready, (C, m).

        Raises:
            ValueError: another shape or a dtype that is not floating.
            RecurraError: a sample is not finite; nothing of the block is taken.
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"a block must be ({self.channels}, n), not {block.shape}")
        if not np.issubdtype(block.dtype, np.floating):
            raise ValueError(f"a block must be floating in [-1, 1], not {block.dtype}")
        finite = np.isfinite(block).all(axis=0)
        if not finite.all():
            at = (self._taken + int(np.argmin(finite))) / self.sample_rate
            raise RecurraError(f"the sample at {at:.3f} s is not finite (NaN or infinity)")
        self._taken += block.shape[1]
        at_model_rate = self._down.push(block.astype(np.float32, copy=False))
        return self._give(self._up.push(self._frames.push(at_model_rate)))

    def flush(self) -> Audio:
        """End the stream and return the rest, (C, m). The stream is spent afterwards."""
        pieces = [self._frames.push(self._down.flush()), self._frames.flush()]
        rest = [self._up.push(piece) for piece in pieces] + [self._up.flush()]
        return self._give(np.concatenate(rest, axis=1))

    def _give(self, piece: Audio) -> Audio:
        # Both resamplers round their lengths up, so there may be a sample too many at the end.
        piece = piece[:, : self._taken - self._given]
        self._given += piece.shape[1]
        return piece


class FrameStream:
    """The same at the model's own rate: inverse transforms overlap, one frame each hop.

    Sample i comes back when the last frame that covers it is complete, at the latest with sample
    i + win_length - 1.
    """

    def __init__(self, model: Frcrn, rows: int, *, device: str | torch.device = "cpu") -> None:
        config = model.config
        if config.causal and config.level_db is not None:
            raise RecurraError(
                "this model needs the level of the whole recording (level_db is set), so it cannot "
                "run live"
            )
        step = FrcrnStep(model).to(device)
        self._device = torch.device(device)
        self._hop, self._edge = config.hop_length, config.win_length - config.hop_length
        self._state = step.initial_state(rows)
        self._step = _started(step, self._state, config.win_length // 2 + 1)
        window = sqrt_hann(config.win_length, self._state[0])
        self._analysis = window
        self._synthesis = window / interior_energy(window, config.hop_length)
        self._input = torch.zeros(rows, config.win_length)
        self._output = torch.zeros(rows, config.win_length)
        self._waiting = np.zeros((rows, 0), np.float32)
        self._taken = 0
        self._given = -self._edge  # the first frames begin before the recording

    def push(self, block: Audio) -> Audio:
        """Take a block (C, n) of float32 and return the samples that are complete, (C, m)."""
        self._taken += block.shape[1]
        return self._run(block)

    def flush(self) -> Audio:
        """Return the rest, so that as many samples came back as were pushed."""
        silence = self._edge + -self._taken % self._hop
        rest = self._run(np.zeros((self._waiting.shape[0], silence), np.float32))
        return rest[:, : rest.shape[1] - (self._given - self._taken)]

    def _run(self, block: Audio) -> Audio:
        line = np.concatenate([self._waiting, block], axis=1)
        whole = line.shape[1] - line.shape[1] % self._hop
        pieces = [line[:, :0]]
        with torch.inference_mode():
            for start in range(0, whole, self._hop):
                pieces.append(self._frame(line[:, start : start + self._hop]))
        self._waiting = line[:, whole:].copy()
        ready = np.concatenate(pieces, axis=1)
        skipped = min(max(0, -self._given), ready.shape[1])
        self._given += ready.shape[1]
        return ready[:, skipped:]

    def _frame(self, hop: Audio) -> Audio:
        """Take the next hop of input, (C, hop), and return the next hop of output."""
        newest = torch.from_numpy(np.ascontiguousarray(hop))
        self._input = torch.cat([self._input[:, self._hop :], newest], dim=1)
        spectrum = torch.fft.rfft(self._input.to(self._device) * self._analysis)
        masked, self._state = self._step(torch.view_as_real(spectrum), self._state)
        frame = torch.fft.irfft(torch.view_as_complex(masked), n=self._input.shape[1])
        self._output = self._output + (frame * self._synthesis).cpu()
        ready = self._output[:, : self._hop].numpy()
        self._output = torch.nn.functional.pad(self._output[:, self._hop :], (0, self._hop))
        return ready


@lru_cache
def stream_latency(win_length: int, hop_length: int, model_rate: int, sample_rate: int) -> int:
    """Return the samples at `sample_rate` that a stream holds back at most.

    At the model's rate that is the window. At others it is found by counting what comes out of a
    second of silence, a millisecond at a time.
    """
    if sample_rate == model_rate:
        return win_length
    down = ShortResampler(sample_rate, model_rate, 1)
    up = ShortResampler(model_rate, sample_rate, 1)
    block = np.zeros((1, -(-sample_rate // 1000)), np.float32)
    edge = win_length - hop_length
    pushed = arrived = framed = returned = held = 0
    while pushed < sample_rate:
        pushed += block.shape[1]
        arrived += down.push(block).shape[1]
        ready = max(0, arrived - arrived % hop_length - edge)
        returned += up.push(np.zeros((1, ready - framed), np.float32)).shape[1]
        framed = ready
        held = max(held, pushed - returned)
    return held + block.shape[1]


def interior_energy(window: Tensor, hop_length: int) -> Tensor:
    """Return the summed squared windows at each sample of a frame among its like: (win_length,)."""
    energy = window.square()
    of_phase = [energy[phase::hop_length].sum() for phase in range(hop_length)]
    repeats = -(-len(window) // hop_length)
    return torch.stack(of_phase).repeat(repeats)[: len(window)] + 1e-8


Step = Callable[[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]


@torch.inference_mode()
def _started(step: FrcrnStep, state: list[Tensor], n_bins: int) -> Step:
    """Return the step ready to run: on the CPU as a frozen trace, which halves the time a frame.

    torch.compile would need a C++ compiler on the user's machine. The first calls of a trace are
    slow, so they are made here.
    """
    if state[0].device.type != "cpu":
        return step
    frame = state[0].new_zeros(state[0].shape[0], n_bins, 2)
    with warnings.catch_warnings():
        # TorchScript is deprecated, yet nothing else in torch 2.11 runs a graph without a compiler.
        warnings.simplefilter("ignore")
        traced = torch.jit.freeze(torch.jit.trace(step, (frame, state), check_trace=False))
    for _ in range(3):
        traced(frame, state)
    return traced
