"""Noise that is computed: coloured noise, mains hum, fans, clicks, and babble of many voices."""

from collections.abc import Callable

import numpy as np

from recurra.speech.data.filtering import SAMPLE_RATE, fast_length
from recurra.speech.data.sources import SpeechSource

MAINS_HERTZ = (50.0, 60.0)
BABBLE_VOICES = (3, 7)
_LOWEST_HERTZ = 50.0


def coloured(rng: np.random.Generator, length: int) -> np.ndarray:
    """Noise whose power falls with f^0 (white) to f^2 (brown), through a random smooth equaliser.

    Half of the time its level wanders by some dB within the piece, as wind and surf do.

    Returns:
        (T,) float32 of root mean square 1, as every function of this module.
    """
    audio = _shaped(rng, length, exponent=rng.uniform(0.0, 2.0), equaliser_db=6.0)
    if rng.random() < 0.5:
        audio = audio * _wander(rng, length, depth_db=rng.uniform(3.0, 10.0))
    return _unit(audio)


def hum(rng: np.random.Generator, length: int) -> np.ndarray:
    """Mains hum at 50 or 60 Hz with up to 30 harmonics, over a little hiss."""
    base = MAINS_HERTZ[rng.integers(2)] * rng.uniform(0.998, 1.002)
    count = int(rng.integers(4, 31))
    # Rectifiers and transformers hum at twice the mains: even harmonics are the strong ones.
    odd = rng.uniform(0.05, 1.0)
    strength = np.arange(1, count + 1) ** -rng.uniform(0.3, 1.5) * rng.uniform(0.3, 1.0, count)
    strength[::2] *= odd
    tone = _harmonics(rng, length, base, strength)
    return _unit(_unit(tone) + rng.uniform(0.01, 0.3) * _shaped(rng, length, 1.0, 6.0))


def fan(rng: np.random.Generator, length: int) -> np.ndarray:
    """Air through blades: dark noise that swells with each blade, and the tones of the blades."""
    blades = rng.uniform(20.0, 220.0)  # per second
    air = _shaped(rng, length, exponent=rng.uniform(0.7, 1.8), equaliser_db=8.0)
    time = np.arange(length, dtype=np.float32) * np.float32(2 * np.pi * blades / SAMPLE_RATE)
    swell = 1.0 + rng.uniform(0.0, 0.6) * np.sin(time + np.float32(rng.uniform(0, 2 * np.pi)))
    strength = np.arange(1, 9) ** -rng.uniform(0.5, 1.5) * rng.uniform(0.2, 1.0, 8)
    tones = _unit(_harmonics(rng, length, blades, strength))
    return _unit(air * swell + rng.uniform(0.0, 0.7) * tones)


def clicks(rng: np.random.Generator, length: int) -> np.ndarray:
    """Keys, mice, drops: short resonances at random moments, over faint hiss."""
    out = 0.003 * rng.standard_normal(length, dtype=np.float32)
    count = 1 + int(rng.poisson(rng.uniform(1.0, 12.0) * length / SAMPLE_RATE))
    size = int(0.03 * SAMPLE_RATE)
    time = np.arange(size, dtype=np.float32) / SAMPLE_RATE
    body = rng.uniform(300.0, 5000.0)
    for start in rng.integers(0, length, count):
        pitch = body * rng.uniform(0.7, 1.4)
        burst = rng.standard_normal(size, dtype=np.float32) + 2 * np.sin(2 * np.pi * pitch * time)
        burst *= np.exp(-time / rng.uniform(0.0005, 0.006)) * rng.uniform(0.2, 1.0)
        end = min(start + size, length)
        out[start:end] += burst[: end - start].astype(np.float32)
    return _unit(out)


def babble(
    rng: np.random.Generator, length: int, speech: SpeechSource, *, without: str | None
) -> np.ndarray:
    """Three to seven voices at once, at different levels; not the voice `without`."""
    out = np.zeros(length, dtype=np.float32)
    for _ in range(int(rng.integers(BABBLE_VOICES[0], BABBLE_VOICES[1] + 1))):
        voice = speech.draw_voice(rng, other_than=without)
        gain = np.float32(10 ** (rng.uniform(-6.0, 0.0) / 20))
        out += gain * speech.draw(rng, length, voice=voice).audio
    return _unit(out)


COMPUTED: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "coloured": coloured,
    "hum": hum,
    "fan": fan,
    "clicks": clicks,
}


def draw_computed(rng: np.random.Generator, length: int) -> tuple[str, np.ndarray]:
    """One of the kinds of `COMPUTED`: coloured noise half of the time, else any other."""
    names = list(COMPUTED)
    name = names[0] if rng.random() < 0.5 else names[1 + int(rng.integers(len(names) - 1))]
    return name, COMPUTED[name](rng, length)


def _shaped(
    rng: np.random.Generator, length: int, exponent: float, equaliser_db: float
) -> np.ndarray:
    """White noise through f^(-exponent/2) and an equaliser of eight random gains."""
    size = fast_length(length)
    spectrum = np.fft.rfft(rng.standard_normal(size, dtype=np.float32))
    octave = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), _LOWEST_HERTZ))
    knots = np.linspace(octave[0], octave[-1], 8)
    gain_db = np.interp(octave, knots, rng.normal(0.0, equaliser_db / 2, 8))
    gain_db -= 10 * np.log10(2) * exponent * (octave - octave[0])
    spectrum *= np.power(10.0, gain_db / 20).astype(np.float32)
    spectrum[0] = 0.0
    return _unit(np.fft.irfft(spectrum, size)[:length].astype(np.float32))


def _wander(rng: np.random.Generator, length: int, depth_db: float) -> np.ndarray:
    """A gain (T,) that moves between random values, about two a second."""
    knots = int(2 * length / SAMPLE_RATE) + 2
    values = rng.uniform(-depth_db / 2, depth_db / 2, knots)
    level = np.interp(np.linspace(0, knots - 1, length), np.arange(knots), values)
    return np.power(10.0, level / 20).astype(np.float32)


def _harmonics(
    rng: np.random.Generator, length: int, base: float, strength: np.ndarray
) -> np.ndarray:
    """A sum of cosines at the multiples of `base` that lie below 7.6 kHz."""
    count = min(len(strength), int(7600 / base))
    time = np.arange(length, dtype=np.float32) * np.float32(2 * np.pi * base / SAMPLE_RATE)
    # By z^k = z^(k-1) z: one complex exponential instead of one a harmonic.
    turn = np.exp(1j * time.astype(np.float64)).astype(np.complex64)
    phase = np.exp(2j * np.pi * rng.random(len(strength))).astype(np.complex64)
    out = np.zeros(length, dtype=np.complex64)
    for k in reversed(range(count)):  # Horner's scheme
        out = (out + strength[k].astype(np.float32) * phase[k]) * turn
    return out.real.copy()


def _unit(audio: np.ndarray) -> np.ndarray:
    """Scale (T,) to root mean square 1."""
    rms = float(np.sqrt(np.mean(np.square(audio))))
    return (audio / np.float32(max(rms, 1e-9))).astype(np.float32)
