"""How loud audio is, in dB relative to full scale: a sine of amplitude 1 has -3.01 dB RMS."""

import numpy as np
from numpy.typing import NDArray

_FRAME_SECONDS = 0.02


def rms_db(audio: NDArray[np.floating]) -> float:
    """Root mean square over all samples and channels of (T,) or (C, T); -inf for silence."""
    return _db(float(np.mean(np.square(audio, dtype=np.float64)))) if audio.size else -np.inf


def peak_db(audio: NDArray[np.floating]) -> float:
    """The largest absolute sample of (T,) or (C, T); -inf for silence."""
    peak = float(np.max(np.abs(audio))) if audio.size else 0.0
    return _db(peak * peak)


def frame_levels_db(audio: NDArray[np.floating], sample_rate: int) -> NDArray[np.float64]:
    """RMS of each 20 ms frame of (T,) or (C, T), the last one shorter: (frames,)."""
    channels = np.atleast_2d(audio)  # (C, T)
    size = max(1, round(_FRAME_SECONDS * sample_rate))
    power = np.mean(np.square(channels, dtype=np.float64), axis=0)  # (T,)
    starts = np.arange(0, power.size, size)
    counts = np.minimum(size, power.size - starts)
    if not starts.size:
        return np.zeros(0)
    sums = np.add.reduceat(power, starts)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(sums / counts)


def active_mask(
    audio: NDArray[np.floating], sample_rate: int, below_peak_db: float = 40.0
) -> NDArray[np.bool_]:
    """Which 20 ms frames of (T,) or (C, T) are near the loudest, within `below_peak_db`: (frames,).

    Silent audio has no active frame.
    """
    levels = frame_levels_db(audio, sample_rate)
    if not levels.size or not np.isfinite(levels.max()):
        return np.zeros(levels.size, dtype=bool)
    return levels >= levels.max() - below_peak_db


def active_level_db(
    audio: NDArray[np.floating], sample_rate: int, below_peak_db: float = 40.0
) -> float:
    """RMS over the active frames only, so that pauses do not count; -inf for silence.

    A simple stand-in for ITU-T P.56: on speech with pauses the two agree within a few dB.
    """
    levels = frame_levels_db(audio, sample_rate)
    active = active_mask(audio, sample_rate, below_peak_db)
    if not active.any():
        return -np.inf
    return _db(float(np.mean(10 ** (levels[active] / 10))))


def gain_for(change_db: float) -> float:
    """The factor on samples that changes their level by `change_db`."""
    return float(10 ** (change_db / 20))


def _db(power: float) -> float:
    return 10 * float(np.log10(power)) if power > 0 else -np.inf
