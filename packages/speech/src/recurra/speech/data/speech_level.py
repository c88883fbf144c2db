"""How loud speech is while somebody speaks, after the idea of ITU-T P.56: pauses do not count."""

import numpy as np

FRAME = 512  # samples: 32 ms at 16 kHz
ACTIVE_BELOW_PEAK_DB = 30.0
SILENCE_DB = -120.0


def frame_power(audio: np.ndarray) -> np.ndarray:
    """Mean square of consecutive frames of 32 ms.

    Args:
        audio: (T,) float; a last part frame is left out unless it is the only one.

    Returns:
        (frames,) float32.
    """
    whole = len(audio) // FRAME
    if whole == 0:
        return np.array([np.mean(np.square(audio)) if len(audio) else 0.0], dtype=np.float32)
    frames = audio[: whole * FRAME].reshape(whole, FRAME)
    return np.einsum("ft,ft->f", frames, frames) / np.float32(FRAME)


def active_power(audio: np.ndarray) -> float:
    """Mean square over the frames that are at most 30 dB below the loudest one; 0 for silence."""
    power = frame_power(audio)
    peak = float(power.max())
    if peak <= 0.0:
        return 0.0
    return float(power[power > peak * 10 ** (-ACTIVE_BELOW_PEAK_DB / 10)].mean())


def active_level_db(audio: np.ndarray) -> float:
    """Active level in dB of full scale (a square wave of amplitude 1); -120 for silence."""
    return power_db(active_power(audio))


def power_db(power: float) -> float:
    """10 log10 of a mean square, never below -120."""
    return max(SILENCE_DB, 10.0 * float(np.log10(max(power, 1e-12))))


def gain_to(power: float, target_db: float) -> float:
    """The factor that brings a mean square to a level in dB; 1 for silence."""
    return 10.0 ** ((target_db - power_db(power)) / 20.0) if power > 1e-12 else 1.0
