"""HiFi-GAN: a waveform from the mel spectrogram of its frames, with snakes for activations.

Source: Kong et al. 2020, "HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity
Speech Synthesis" (arXiv 2010.05646, section 2.2 and its official features), with the activation of
Ziyin et al. 2020, "Neural networks fail to learn periodic functions and how to fix it" (arXiv
2006.08195), as `MossFormer2_SR_48K` of ClearerVoice-Studio has it. Only the generator is here.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recurra.core.errors import RecurraError

_LINEAR_HZ, _LINEAR_MELS = 1000.0, 15.0  # Slaney's scale is linear up to here
_OCTAVE = 27 / math.log(6.4)  # mels by which a frequency above that grows e-fold


@dataclass(frozen=True)
class HifiGanConfig:
    """The sizes of the generator; the defaults are those of `MossFormer2_SR_48K`.

    Attributes:
        channels: before the first stage; each stage halves them.
        up_kernels: taps of each stage's transposed convolution, multiples of 4; half of them is by
            how much the stage raises the rate.
        kernels: taps of the residual blocks of a stage, odd; the blocks run side by side.
        dilations: of the units of a block, one after the other.
    """

    channels: int = 1024
    up_kernels: tuple[int, ...] = (16, 16, 4, 4)
    kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)

    def __post_init__(self) -> None:
        if any(kernel % 4 for kernel in self.up_kernels) or not all(k % 2 for k in self.kernels):
            raise RecurraError(
                f"kernels are odd and up_kernels multiples of 4, not {self.kernels} and "
                f"{self.up_kernels}"
            )

    @property
    def hop_length(self) -> int:
        """Samples that a frame becomes."""
        return math.prod(kernel // 2 for kernel in self.up_kernels)


class HifiGan(nn.Module):
    """Frames (B, T, n_mels) in, samples (B, T * hop_length) from -1 to 1 out."""

    def __init__(self, config: HifiGanConfig, *, n_mels: int) -> None:
        super().__init__()
        widths = [config.channels >> i for i in range(len(config.up_kernels) + 1)]
        self.first = nn.Conv1d(n_mels, widths[0], 7, padding=3)
        self.stages = nn.ModuleList(
            UpsamplingStage(width, kernel, config)
            for width, kernel in zip(widths, config.up_kernels, strict=False)
        )
        self.snake = Snake(widths[-1])
        self.last = nn.Conv1d(widths[-1], 1, 7, padding=3)

    def forward(self, frames: Tensor) -> Tensor:
        """Make a waveform of frames (B, T, n_mels)."""
        x = self.first(frames.transpose(1, 2))
        for stage in self.stages:
            x = stage(x)
        return torch.tanh(self.last(self.snake(x)))[:, 0]


class UpsamplingStage(nn.Module):
    """Half as many channels at kernel / 2 times the rate, then the mean of residual blocks."""

    def __init__(self, width: int, kernel: int, config: HifiGanConfig) -> None:
        super().__init__()
        self.snake = Snake(width)
        self.up = nn.ConvTranspose1d(width, width // 2, kernel, kernel // 2, padding=kernel // 4)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ResidualUnit(width // 2, taps, step) for step in config.dilations))
            for taps in config.kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        """Raise the rate of x (B, C, T)."""
        x = self.up(self.snake(x))
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for block in self.blocks:
            total = total + block(x)
        return total / len(self.blocks)


class ResidualUnit(nn.Module):
    """x + two filters, the first one dilated, each behind a snake."""

    def __init__(self, width: int, taps: int, dilation: int) -> None:
        super().__init__()
        self.snake1, self.snake2 = Snake(width), Snake(width)
        reach = taps // 2
        self.conv1 = nn.Conv1d(width, width, taps, padding=reach * dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(width, width, taps, padding=reach)

    def forward(self, x: Tensor) -> Tensor:
        """Filter x (B, C, T)."""
        filtered: Tensor = self.conv2(self.snake2(self.conv1(self.snake1(x))))
        return x + filtered


class Snake(nn.Module):
    """x + sin(a x)^2 / a, with an `a` for each channel: periodic, and never far from x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Bend x (B, C, T)."""
        alpha = self.alpha[:, None]
        return x + torch.sin(alpha * x).square() / (alpha + 1e-9)


def log_mel_magnitudes(
    audio: Tensor, sample_rate: int, *, win_length: int, hop_length: int, n_mels: int, top_hz: float
) -> Tensor:
    """Return what HiFi-GAN is given: the logarithm of mel magnitudes of frames in the audio.

    Args:
        audio: (B, n), n >= win_length, full scale at 1.
        sample_rate: in Hz.
        win_length, hop_length: of the Hann windows, in samples.
        n_mels: bands from 0 Hz to `top_hz`.

    Returns:
        (B, T, n_mels) with T = (n - win_length) // hop_length + 1.
    """
    window = torch.hann_window(win_length, dtype=audio.dtype, device=audio.device)
    spectrum = torch.fft.rfft(audio.unfold(-1, win_length, hop_length) * window)  # (B, T, F)
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
    bands = magnitude @ slaney_bands(sample_rate, win_length, n_mels, top_hz).to(magnitude)
    return bands.clamp(min=1e-5).log()


def slaney_bands(sample_rate: int, n_fft: int, n_mels: int, top_hz: float) -> Tensor:
    """Return triangles of area 1, evenly spread in mel from 0 Hz: (F, n_mels), float64.

    The scale is linear to 1 kHz and logarithmic above. Source: Slaney 1998, "Auditory Toolbox", as
    `librosa.filters.mel` has it, which the official code calls.
    """
    top = _LINEAR_MELS * top_hz / _LINEAR_HZ
    if top_hz > _LINEAR_HZ:
        top = _LINEAR_MELS + _OCTAVE * math.log(top_hz / _LINEAR_HZ)
    mels = torch.linspace(0, top, n_mels + 2, dtype=torch.float64)
    above = _LINEAR_HZ * ((mels - _LINEAR_MELS) / _OCTAVE).exp()
    edges = torch.where(mels < _LINEAR_MELS, mels * _LINEAR_HZ / _LINEAR_MELS, above)
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * sample_rate / n_fft
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    return triangles.clamp(min=0) * 2 / (high - low)
