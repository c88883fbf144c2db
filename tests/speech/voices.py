"""Voices that are computed: harmonics under formants, in syllables and sentences, with pauses."""

import numpy as np
from scipy import signal

RATE = 8000


def voice(rng, seconds, *, longest_silence=5.0):
    """Return seconds of one voice, float32 at 8 kHz, that says something and pauses."""
    n = round(seconds * RATE)
    pitch, formants = rng.uniform(90, 260), rng.uniform(0.85, 1.25) * np.array([500, 1500, 2500])
    drift = np.cumsum(rng.standard_normal(n // 400 + 2)) * 0.02
    hertz = pitch * np.exp(
        0.15 * np.sin(np.interp(np.arange(n), np.arange(len(drift)) * 400, drift))
    )
    phase = np.cumsum(hertz) / RATE
    buzz = 2 * (phase % 1) - 1
    sound = np.zeros(n)
    for formant in formants:
        shifted = formant * rng.uniform(0.9, 1.1)
        b, a = signal.iirpeak(shifted, 6, fs=RATE)
        sound += signal.lfilter(b, a, buzz)
    return (0.1 * sound / sound.std() * _syllables(rng, n, longest_silence)).astype(np.float32)


def _syllables(rng, n, longest_silence):
    """Return an envelope (n,): syllables four a second, sentences of 1 to 4 s, silences between."""
    envelope = np.zeros(n)
    at = round(rng.uniform(0, longest_silence) * RATE)
    while at < n:
        length = round(rng.uniform(1, 4) * RATE)
        t = np.arange(min(length, n - at)) / RATE
        envelope[at : at + length] = np.sin(np.pi * rng.uniform(3, 5) * t) ** 2
        at += length + round(rng.uniform(0, longest_silence) * RATE)
    return envelope
