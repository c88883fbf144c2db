import numpy as np
import pytest

from recurra.speech.data.augmentation import at_speed, draw_equaliser, equaliser_gain
from recurra.speech.data.filtering import SAMPLE_RATE, filter_gain


def tone(length: int) -> np.ndarray:
    return np.sin(2 * np.pi * 500 * np.arange(length) / SAMPLE_RATE).astype(np.float32)


def loudest_hertz(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(audio))


@pytest.mark.parametrize("speed", [0.6, 0.85, 1.0, 1.2, 1.6])
def test_speed_multiplies_the_pitch_and_keeps_the_length(speed):
    played = at_speed(tone, 16_000, speed)
    assert played.shape == (16_000,)
    assert played.dtype == np.float32
    assert loudest_hertz(played) == pytest.approx(500 * speed, abs=1)


def test_an_equaliser_stays_within_its_range_and_is_heard():
    for seed in range(20):
        gain = equaliser_gain(draw_equaliser(np.random.default_rng(seed), 8.0))
        decibels = 20 * np.log10(gain(np.linspace(0, 8000, 400)))
        assert np.abs(decibels).max() <= 8.0 + 1e-9
        assert np.ptp(decibels) > 2.0


def test_an_equaliser_changes_a_tone_by_its_gain_there():
    gain = equaliser_gain(draw_equaliser(np.random.default_rng(3), 8.0))
    before = tone(16_000)
    after = filter_gain(before, gain)
    middle = slice(4000, 12_000)
    ratio = np.sqrt(np.mean(after[middle] ** 2) / np.mean(before[middle] ** 2))
    assert ratio == pytest.approx(gain(np.array([500.0]))[0], rel=0.02)
