"""The short-time Fourier transform of FRCRN: square-root Hann window, no centring, no padding."""

import torch
from torch import Tensor
from torch.nn import functional


def sqrt_hann(win_length: int, like: Tensor) -> Tensor:
    """Return the root of the periodic Hann window, (win_length,), typed and placed as `like`."""
    return torch.hann_window(win_length, dtype=like.dtype, device=like.device).sqrt()


def stft(audio: Tensor, win_length: int, hop_length: int) -> Tensor:
    """Transform the frames that lie wholly inside the audio.

    Source: `ConvSTFT` of ClearerVoice-Studio (`conv_stft.py`).

    Args:
        audio: (..., n), n >= win_length.
        win_length: samples of a frame.
        hop_length: samples from one frame to the next.

    Returns:
        complex (..., T, F) with T = (n - win_length) // hop_length + 1, F = win_length // 2 + 1.
    """
    frames = audio.unfold(-1, win_length, hop_length)  # (..., T, win_length)
    return torch.fft.rfft(frames * sqrt_hann(win_length, audio))


def istft(spectrum: Tensor, win_length: int, hop_length: int) -> Tensor:
    """Overlap-add the frames and divide by the summed squared windows.

    Source: `ConviSTFT` of ClearerVoice-Studio (`conv_stft.py`), whose pseudo-inverse kernel is the
    inverse real FFT. The first and last samples are divided by almost nothing: give the analysis a
    hop of zeros at both ends and drop what comes back for them.

    Args:
        spectrum: complex (B, T, F), T >= 1.
        win_length: samples of a frame.
        hop_length: samples from one frame to the next.

    Returns:
        audio (B, (T - 1) * hop_length + win_length).
    """
    frames = torch.fft.irfft(spectrum, n=win_length)  # (B, T, win_length)
    window = sqrt_hann(win_length, frames)
    audio = overlap_add(frames * window, hop_length)
    energy = window.square().expand(1, frames.shape[1], win_length)
    return audio / (overlap_add(energy, hop_length) + 1e-8)


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Add frames (B, T, W) that start `hop_length` apart: (B, (T - 1) * hop_length + W)."""
    n_frames, width = frames.shape[1], frames.shape[2]
    length = (n_frames - 1) * hop_length + width
    columns = frames.transpose(1, 2)  # (B, W, T)
    folded = functional.fold(columns, (1, length), (1, width), stride=(1, hop_length))
    return folded[:, 0, 0]
