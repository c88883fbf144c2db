"""Cut the silence off both ends of a clip and set speech to one level."""

import numpy as np

from recurra.speech.data.filtering import SAMPLE_RATE
from recurra.speech.data.speech_level import active_power, gain_to

SPEECH_LEVEL_DB = -26.0
_FRAME = SAMPLE_RATE // 100
_MARGIN = 3  # frames: the beginning of an f and the end of a breath lie below the threshold
_FADE = SAMPLE_RATE // 200
_PEAK = 0.98


def trim(audio: np.ndarray, *, below_peak_db: float) -> np.ndarray:
    """Keep from the first to the last 10 ms frame that is near the loudest one; fade both ends.

    Args:
        audio: (T,) float32.
        below_peak_db: frames further below the loudest frame than this count as silence.

    Returns:
        (T',) float32, empty for silence.
    """
    frames = len(audio) // _FRAME
    if frames == 0:
        return audio[:0]
    power = np.square(audio[: frames * _FRAME]).reshape(frames, _FRAME).mean(axis=1)
    loud = np.flatnonzero(power > max(power.max() * 10 ** (-below_peak_db / 10), 1e-10))
    if not len(loud):
        return audio[:0]
    first = max(loud[0] - _MARGIN, 0) * _FRAME
    last = min((loud[-1] + 1 + _MARGIN) * _FRAME, len(audio))
    return fade(audio[first:last].copy())


def fade(audio: np.ndarray, samples: int = _FADE) -> np.ndarray:
    """Raise and lower the ends of (T,) in place, so that joins do not click; returns it."""
    samples = min(samples, len(audio) // 2)
    if samples:
        ramp = np.linspace(0.0, 1.0, samples, endpoint=False, dtype=np.float32)
        audio[:samples] *= ramp
        audio[len(audio) - samples :] *= ramp[::-1]
    return audio


def level_speech(audio: np.ndarray) -> np.ndarray:
    """Scale speech (T,) to -26 dB active level, lower where its peaks would clip."""
    return limit_peak(audio * np.float32(gain_to(active_power(audio), SPEECH_LEVEL_DB)))


def limit_peak(audio: np.ndarray) -> np.ndarray:
    """Scale (T,) down where it would not fit 16 bits; ogg files decode to more than full scale."""
    peak = float(np.abs(audio).max(initial=0.0))
    return audio * np.float32(_PEAK / peak) if peak > _PEAK else audio
