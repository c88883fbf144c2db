"""Filters without delay, as a gain at each frequency."""

from collections.abc import Callable

import numpy as np

SAMPLE_RATE = 16_000
# Room for the filter to ring: what leaves the end of a clip must not come back at its beginning.
_PADDING = SAMPLE_RATE // 20


def filter_gain(audio: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Multiply the spectrum of a clip by a real gain.

    Args:
        audio: (T,) float32 at 16 kHz.
        gain: from frequencies in Hz (F,) to factors (F,).

    Returns:
        (T,) float32.
    """
    size = fast_length(len(audio) + _PADDING)
    spectrum = np.fft.rfft(audio, size)
    spectrum *= gain(np.fft.rfftfreq(size, 1 / SAMPLE_RATE)).astype(np.float32)
    return np.fft.irfft(spectrum, size)[: len(audio)].astype(np.float32)


def fast_length(length: int) -> int:
    """The next length of the form 2^a, 3 2^a, 5 2^a or 9 2^a, for which an FFT is fast."""
    power = max(1 << max(length - 1, 1).bit_length(), 16)
    return min(n for n in (power, power * 3 // 4, power * 5 // 8, power * 9 // 16) if n >= length)
