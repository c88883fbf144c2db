"""More voices, noises and microphones than were recorded: other speeds, other frequency responses.

Speed moves pitch and formants together (Ko et al. 2015, "Audio augmentation for speech
recognition"), which makes another voice of a voice and another machine of a machine.
"""

from collections.abc import Callable, Sequence

import numpy as np
import soxr

from recurra.speech.data.filtering import SAMPLE_RATE

# An equaliser has a free gain at each of these frequencies and is smooth between them.
EQUALISER_HERTZ = np.geomspace(60.0, 8000.0, 7)


def at_speed(draw: Callable[[int], np.ndarray], length: int, speed: float) -> np.ndarray:
    """Return `length` samples of what `draw(n)` gives, played `speed` times as fast.

    Args:
        draw: gives n samples (n,) float32.
        length: samples wanted.
        speed: 1 is unchanged; 2 is an octave up.

    Returns:
        (length,) float32.
    """
    if speed == 1.0:
        return draw(length)
    audio = draw(samples_at_speed(length, speed))
    played = soxr.resample(audio, SAMPLE_RATE * speed, SAMPLE_RATE, quality="MQ")
    return np.ascontiguousarray(played[:length])


def samples_at_speed(length: int, speed: float) -> int:
    """How many samples `at_speed` needs to give `length`."""
    return length if speed == 1.0 else int(np.ceil(length * speed)) + 1


def draw_equaliser(rng: np.random.Generator, most_db: float) -> tuple[float, ...]:
    """Decibels at each of `EQUALISER_HERTZ`, within plus and minus `most_db`."""
    return tuple(rng.uniform(-most_db, most_db, len(EQUALISER_HERTZ)).tolist())


def equaliser_gain(decibels: Sequence[float]) -> Callable[[np.ndarray], np.ndarray]:
    """The gain over frequency (Hz) of an equaliser, as `filter_gain` takes it."""

    def gain(hertz: np.ndarray) -> np.ndarray:
        octaves = np.log(np.maximum(hertz, 1.0))
        return 10 ** (np.interp(octaves, np.log(EQUALISER_HERTZ), decibels) / 20)

    return gain
