"""What to do with sound above the model's band: it follows the top of that band."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_FRAME_SECONDS = 0.02
_SMOOTH_FRAMES = 5
_FLOOR = 1e-10


def top_band_gain(noisy: np.ndarray, enhanced: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return how much of the model's upper band is left, smoothed, for the sound above the band.

    The gain of a frame is the root of the energy ratio between a quarter and seven eighths of the
    Nyquist frequency from the top (4 to 7 kHz at 16 kHz; above, 16 kHz speech is often empty),
    averaged over 0.1 s.

    Args:
        noisy: float32 (..., n), what the model was given.
        enhanced: float32 (..., n), what it made of that, aligned.
        sample_rate: of both, in Hz.

    Returns:
        float32 (..., n), from 0 to 1.
    """
    before, after = _top_band_energy(np.stack([noisy, enhanced]), sample_rate)
    return _at_samples((after / before).sqrt().clamp(max=1), noisy.shape[-1], sample_rate)


def top_band_shares(voices: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return how the sound above the model's band is shared out among voices: they add up to 1.

    The shares of a frame are those of the energies in the band of `top_band_gain`.

    Args:
        voices: float32 (S, ..., n), the voices in each channel.
        sample_rate: in Hz.

    Returns:
        float32 (S, ..., n), from 0 to 1.
    """
    energy = _top_band_energy(voices, sample_rate)
    return _at_samples(energy / energy.sum(dim=0), voices.shape[-1], sample_rate)


def _top_band_energy(audio: np.ndarray, sample_rate: int) -> Tensor:
    """Return the energy (..., T) of audio (..., n) in the top band, frame k around sample k hop."""
    hop = int(_FRAME_SECONDS * sample_rate)
    n_fft = 2 * hop
    padded = functional.pad(torch.from_numpy(audio), (hop, n_fft))
    frames = padded.unfold(-1, n_fft, hop) * torch.hann_window(n_fft)
    power = torch.fft.rfft(frames).abs().square()  # (..., T, F)
    low, high = n_fft // 4, n_fft // 2 * 7 // 8
    energy = power[..., low:high].sum(dim=-1)
    width = min(_SMOOTH_FRAMES, energy.shape[-1])
    smoothed = functional.avg_pool1d(
        energy.flatten(0, -2), width, stride=1, padding=width // 2, count_include_pad=False
    )
    return smoothed[:, : frames.shape[-2]].reshape(energy.shape) + _FLOOR


def _at_samples(values: Tensor, n: int, sample_rate: int) -> np.ndarray:
    """Interpolate values (..., T) of frames linearly at n samples: float32 (..., n)."""
    positions = np.arange(n) / int(_FRAME_SECONDS * sample_rate)
    centres = np.arange(values.shape[-1])
    rows = [np.interp(positions, centres, row) for row in values.flatten(0, -2).numpy()]
    return np.asarray(rows, dtype=np.float32).reshape(*values.shape[:-1], n)
