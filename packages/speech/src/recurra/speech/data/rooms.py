"""Synthetic rooms: first reflections of a box, then a diffuse tail; the target is the early part.

Early part: image sources of a shoebox room (Allen and Berkley, 1979) up to 50 ms. Tail: Polack's
model, noise that decays exponentially (faster at high frequencies), at the level that the energy of
the early part predicts for the end of those 50 ms.
"""

from dataclasses import dataclass

import numpy as np

from recurra.speech.data.filtering import SAMPLE_RATE, fast_length

SOUND_METRES_PER_SECOND = 343.0
EARLY_SECONDS = 0.05
TAIL_SECONDS = 0.6
_EARLY = int(EARLY_SECONDS * SAMPLE_RATE)


@dataclass(frozen=True)
class RoomConfig:
    """What rooms are drawn: (lowest, highest) of each quantity."""

    length_metres: tuple[float, float] = (3.0, 9.0)
    height_metres: tuple[float, float] = (2.4, 3.5)
    distance_metres: tuple[float, float] = (0.3, 2.5)
    decay_seconds: tuple[float, float] = (0.15, 0.8)


def draw_room(rng: np.random.Generator, config: RoomConfig) -> np.ndarray:
    """An impulse response (K,) float32; its first sample is the direct sound, of amplitude 1."""
    size = np.array(
        [
            rng.uniform(*config.length_metres),
            rng.uniform(*config.length_metres),
            rng.uniform(*config.height_metres),
        ]
    )
    decay = rng.uniform(*config.decay_seconds)
    microphone = size * rng.uniform(0.2, 0.8, 3)
    direction = rng.standard_normal(3) * (1.0, 1.0, 0.3)
    direction *= rng.uniform(*config.distance_metres) / np.linalg.norm(direction)
    source = np.clip(microphone + direction, 0.1, size - 0.1)
    early = _image_sources(rng, size, source, microphone, decay)
    return _with_tail(rng, early, decay)


def _image_sources(
    rng: np.random.Generator,
    size: np.ndarray,
    source: np.ndarray,
    microphone: np.ndarray,
    decay: float,
) -> np.ndarray:
    """The direct sound and the reflections of the first 50 ms, (K,) float64."""
    volume = float(np.prod(size))
    surface = 2.0 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    # Eyring: the loss of a wall that gives this decay.
    reflection = np.sqrt(np.exp(-0.161 * volume / (surface * decay)))
    reach = EARLY_SECONDS * SOUND_METRES_PER_SECOND + float(np.linalg.norm(source - microphone))
    axes = [
        _images(size[i], source[i], microphone[i], int(np.ceil(reach / (2 * size[i]))))
        for i in range(3)
    ]
    distance = np.sqrt(
        axes[0][0][:, None, None] ** 2
        + axes[1][0][None, :, None] ** 2
        + axes[2][0][None, None, :] ** 2
    ).ravel()
    order = (
        axes[0][1][:, None, None] + axes[1][1][None, :, None] + axes[2][1][None, None, :]
    ).ravel()
    direct = distance[order == 0][0]
    delay = np.rint((distance - direct) / SOUND_METRES_PER_SECOND * SAMPLE_RATE).astype(np.int64)
    inside = delay < _EARLY
    # Random signs stand for walls that are no perfect mirrors; all-positive reflections would boom.
    sign = np.where((order > 0) & (rng.random(len(order)) < 0.5), -1.0, 1.0)
    amplitude = sign * reflection**order * direct / distance
    early = np.zeros(_EARLY)
    np.add.at(early, delay[inside], amplitude[inside])
    early[0] = 1.0
    return early


def _images(
    size: float, source: float, microphone: float, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: distances of the images from the microphone, and how often each reflects."""
    n = np.arange(-reach, reach + 1)
    distance = np.concatenate([2 * n * size + source, 2 * n * size - source]) - microphone
    order = np.concatenate([np.abs(2 * n), np.abs(2 * n - 1)])
    return distance, order


def _with_tail(rng: np.random.Generator, early: np.ndarray, decay: float) -> np.ndarray:
    """Append the diffuse tail to the early part."""
    length = int(min(decay, TAIL_SECONDS) * SAMPLE_RATE)
    time = np.arange(length, dtype=np.float32) / SAMPLE_RATE
    noise = rng.standard_normal(length, dtype=np.float32)
    dull = 0.5 * (noise + np.concatenate([[0.0], noise[:-1]]))
    rate = 6.908 / decay  # 60 dB in `decay` seconds
    tail = dull * np.exp(-rate * time) + (noise - dull) * np.exp(-2.0 * rate * time)
    last = early[_EARLY // 2 :]
    # The second half of the early part is centred a quarter of it before the tail begins.
    level = np.sqrt(np.mean(last**2)) * np.exp(-rate * EARLY_SECONDS / 4)
    reference = np.sqrt(np.mean(tail[: SAMPLE_RATE // 200] ** 2)) + 1e-9
    return np.concatenate([early, tail * (level / reference)]).astype(np.float32)


def reverberate(speech: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put speech into a room.

    Args:
        speech: (T,) float32, dry.
        room: (K,) as `draw_room` gives it.

    Returns:
        (T,) what a microphone hears, (T,) the target: the same with only the early 50 ms of the
        room; both aligned with the dry speech.
    """
    size = fast_length(len(speech) + len(room) - 1)
    dry = np.fft.rfft(speech, size)
    wet = np.fft.irfft(dry * np.fft.rfft(room, size), size)[: len(speech)]
    early = np.fft.irfft(dry * np.fft.rfft(room[:_EARLY], size), size)[: len(speech)]
    return wet.astype(np.float32), early.astype(np.float32)
