"""Kaldi's log-mel filter bank and its differences: what MossFormer2's enhancer sees.

Source: `fbank` of Kaldi (`feature-fbank.cc`, `mel-computations.cc`, `feature-window.cc`) with the
options of ClearerVoice-Studio: Hamming window, no dither. Written out, for all rows at once, as the
last torchaudio is the only other that has it.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

_PRE_EMPHASIS = 0.97
_LOWEST_HZ = 20.0


def log_mel(
    audio: Tensor, sample_rate: int, *, win_length: int, hop_length: int, n_mels: int
) -> Tensor:
    """Return the logarithm of the power in each mel band of each frame that lies in the audio.

    Args:
        audio: (B, n), n >= win_length; Kaldi's samples are 16-bit numbers, full scale at 32768.
        sample_rate: in Hz.
        win_length, hop_length: of the frames, in samples.
        n_mels: bands, spread evenly in mel from 20 Hz to half the rate.

    Returns:
        (B, T, n_mels) with T = (n - win_length) // hop_length + 1.
    """
    n_fft = 1 << (win_length - 1).bit_length()
    frames = audio.unfold(-1, win_length, hop_length)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    frames = frames - _PRE_EMPHASIS * before
    window = torch.hamming_window(
        win_length, periodic=False, dtype=audio.dtype, device=audio.device
    )
    power = torch.fft.rfft(frames * window, n=n_fft).abs().square()  # (B, T, F)
    bands = power @ mel_bands(sample_rate, n_fft, n_mels).to(power)
    return bands.clamp(min=torch.finfo(torch.float32).eps).log()


def mel_bands(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Return triangles in mel, 1127 ln(1 + f / 700), over frequencies: (F, n_mels), float64."""

    def mel(hertz: float) -> float:
        return 1127.0 * math.log1p(hertz / 700.0)

    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    bins = 1127.0 * torch.log1p(bins / 700.0)
    edges = torch.linspace(mel(_LOWEST_HZ), mel(sample_rate / 2), n_mels + 2, dtype=torch.float64)
    width = edges[1] - edges[0]
    rising = (bins[:, None] - edges[:-2]) / width
    falling = (edges[2:] - bins[:, None]) / width
    bands = torch.minimum(rising, falling).clamp(min=0)
    bands[-1] = 0  # Kaldi leaves the bin at half the rate out
    return bands


def with_differences(features: Tensor) -> Tensor:
    """Put the first and second differences over time behind features (B, T, C): (B, T, 3 * C)."""
    first = _difference(features)
    return torch.cat([features, first, _difference(first)], dim=-1)


def _difference(x: Tensor) -> Tensor:
    """Slope of the line through five frames, the outermost ones repeated: (B, T, C)."""
    padded = functional.pad(x.transpose(1, 2), (2, 2), mode="replicate")
    slopes = torch.arange(-2, 3, dtype=x.dtype, device=x.device) / 10
    windows: Tensor = padded.unfold(2, 5, 1) @ slopes
    return windows.transpose(1, 2)
