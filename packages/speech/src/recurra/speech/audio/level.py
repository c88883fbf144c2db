"""How loud speech is while somebody speaks, after the idea of ITU-T P.56: pauses do not count."""

import numpy as np

ACTIVE_BELOW_PEAK_DB = 30.0
SILENCE_DB = -120.0
_FRAME_SECONDS = 0.032


def frame_power(audio: np.ndarray, sample_rate: int = 16_000) -> np.ndarray:
    """Mean square of consecutive frames of 32 ms.

    Args:
        audio: (T,) float; a last part frame is left out unless it is the only one.
        sample_rate: in Hz.

    Returns:
        (frames,) float32.
    """
    size = round(_FRAME_SECONDS * sample_rate)
    whole = len(audio) // size
    if whole == 0:
        return np.array([np.mean(np.square(audio)) if len(audio) else 0.0], dtype=np.float32)
    frames = audio[: whole * size].reshape(whole, size)
    return np.einsum("ft,ft->f", frames, frames) / np.float32(size)


def active_power(audio: np.ndarray, sample_rate: int = 16_000) -> float:
    """Mean square over the frames that are at most 30 dB below the loudest one; 0 for silence."""
    power = frame_power(audio, sample_rate)
    peak = float(power.max())
    if peak <= 0.0:
        return 0.0
    return float(power[power > peak * 10 ** (-ACTIVE_BELOW_PEAK_DB / 10)].mean())


def active_level_db(audio: np.ndarray, sample_rate: int = 16_000) -> float:
    """Active level in dB of full scale (a square wave of amplitude 1); -120 for silence.

    Args:
        audio: (T,) float, full scale at 1.
        sample_rate: in Hz.
    """
    return power_db(active_power(audio, sample_rate))


def power_db(power: float) -> float:
    """10 log10 of a mean square, never below -120."""
    return max(SILENCE_DB, 10.0 * float(np.log10(max(power, 1e-12))))


def gain_to(power: float, target_db: float) -> float:
    """The factor that brings a mean square to a level in dB; 1 for silence."""
    return 10.0 ** ((target_db - power_db(power)) / 20.0) if power > 1e-12 else 1.0
