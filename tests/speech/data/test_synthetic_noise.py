import numpy as np
import pytest

from recurra.speech.data.sources import SpeechSource
from recurra.speech.data.synthetic_noise import COMPUTED, babble, coloured, draw_computed, hum

RATE = 16_000


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("length", [1000, 48_000, 70_001])
def test_noise_is_finite_and_has_unit_power(name, length):
    for seed in range(3):
        audio = COMPUTED[name](np.random.default_rng(seed), length)
        assert audio.dtype == np.float32
        assert audio.shape == (length,)
        assert np.mean(np.square(audio)) == pytest.approx(1.0, rel=1e-3)


def test_colours_range_from_white_to_brown():
    slopes = []
    for seed in range(60):
        power = np.abs(np.fft.rfft(coloured(np.random.default_rng(seed), 4 * RATE))) ** 2
        low = power[100 * 4 : 200 * 4].mean()
        high = power[3200 * 4 : 6400 * 4].mean()
        slopes.append(10 * np.log10(low / high) / 5)  # dB an octave, over five octaves
    assert np.median(slopes) == pytest.approx(3.0, abs=1.0)  # pink in the middle
    assert min(slopes) < 1.0
    assert max(slopes) > 5.0


def test_hum_lies_on_the_harmonics_of_the_mains():
    audio = hum(np.random.default_rng(1), 10 * RATE)
    power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
    loudest = np.argmax(power) / 10
    base = min((50, 60), key=lambda mains: abs(loudest / mains - round(loudest / mains)))
    harmonic = round(loudest / base)
    assert harmonic >= 1
    assert loudest == pytest.approx(base * harmonic, rel=0.003)


def test_clicks_are_short_and_stand_out():
    audio = COMPUTED["clicks"](np.random.default_rng(0), 3 * RATE)
    assert np.abs(audio).max() > 5
    assert np.median(np.abs(audio)) < 0.2


def test_all_kinds_are_drawn():
    rng = np.random.default_rng(0)
    assert {draw_computed(rng, 2000)[0] for _ in range(60)} == set(COMPUTED)


def test_babble_leaves_out_the_voice_that_speaks(corpus):
    speech = SpeechSource(corpus, "train")
    for seed in range(5):
        audio = babble(np.random.default_rng(seed), 3 * RATE, speech, without="ann")
        power = np.abs(np.fft.rfft(audio)) ** 2
        ann, bob = (power[hertz * 3 - 30 : hertz * 3 + 30].sum() for hertz in (300, 500))
        assert ann < 0.02 * bob
