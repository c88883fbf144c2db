"""What to do with sound above the model's band: it follows the top of that band."""

import numpy as np
import torch
from torch.nn import functional

_FRAME_SECONDS = 0.02
_SMOOTH_FRAMES = 5


def top_band_gain(noisy: np.ndarray, enhanced: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return how much of the model's upper band is left, smoothed, for the sound above the band.

    The gain of a frame is the root of the energy ratio between a quarter and seven eighths of the
    Nyquist frequency from the top (4 to 7 kHz at 16 kHz; above, 16 kHz speech is often empty),
    averaged over 0.1 s.

    Args:
        noisy: float32 (C, n), what the model was given.
        enhanced: float32 (C, n), what it made of that, aligned.
        sample_rate: of both, in Hz.

    Returns:
        float32 (C, n), from 0 to 1.
    """
    hop = int(_FRAME_SECONDS * sample_rate)
    n_fft = 2 * hop
    pair = torch.from_numpy(np.stack([noisy, enhanced]))  # (2, C, n)
    n = pair.shape[-1]
    padded = functional.pad(pair, (hop, n_fft))
    frames = padded.unfold(-1, n_fft, hop) * torch.hann_window(n_fft)
    power = torch.fft.rfft(frames).abs().square()  # (2, C, T, F)
    low, high = n_fft // 4, n_fft // 2 * 7 // 8
    energy = power[..., low:high].sum(dim=-1)  # (2, C, T)
    width = min(_SMOOTH_FRAMES, energy.shape[-1])
    energy = functional.avg_pool1d(
        energy, width, stride=1, padding=width // 2, count_include_pad=False
    )[..., : frames.shape[-2]]
    gain = ((energy[1] + 1e-10) / (energy[0] + 1e-10)).sqrt().clamp(max=1)  # (C, T)
    # Frame k is centred at sample k * hop.
    positions = np.arange(n) / hop
    centres = np.arange(gain.shape[-1])
    rows = [np.interp(positions, centres, row) for row in gain.numpy()]
    return np.asarray(rows, dtype=np.float32).reshape(noisy.shape)
