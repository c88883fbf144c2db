"""Live resampling: short, and still inaudible."""

import numpy as np
import pytest

from recurra.speech.audio import resampled_length
from recurra.speech.audio.short_resample import ShortResampler

RATES = [8000, 11025, 22050, 44100, 48000, 96000]


def through(x, rate_in, rate_out, cuts=()):
    resampler = ShortResampler(rate_in, rate_out, x.shape[0])
    pieces = [resampler.push(piece) for piece in np.split(x, list(cuts), axis=1)]
    return np.concatenate([*pieces, resampler.flush()], axis=1)


def tone(hertz, rate, seconds=0.48):  # whole samples at every rate
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)[None].astype("f4")


def inside(x):
    return x[:, x.shape[1] // 4 : -x.shape[1] // 4]


def db(x):
    return 10 * np.log10(np.mean(np.square(x, dtype=np.float64)) + 1e-20)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9])
def test_a_tone_in_the_band_is_the_same_tone_at_the_other_rate(rate, share):
    hertz = share * min(rate, 16000) / 2
    for rate_in, rate_out in ((rate, 16000), (16000, rate)):
        y = through(tone(hertz, rate_in), rate_in, rate_out)
        error = inside(y - tone(hertz, rate_out))
        assert db(error) < -80


@pytest.mark.parametrize("hertz", [8500, 10000, 15000, 23000])
def test_what_lies_above_the_models_band_is_gone(hertz):
    assert db(inside(through(tone(hertz, 48000), 48000, 16000))) < -80


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n", [0, 1, 2, 499, 9000])
def test_any_blocks_give_the_same_and_the_exact_length(rate, n):
    x = np.random.default_rng(0).standard_normal((2, n)).astype(np.float32)
    for rate_in, rate_out in ((rate, 16000), (16000, rate)):
        whole = through(x, rate_in, rate_out)
        assert whole.shape == (2, resampled_length(n, rate_in, rate_out))
        in_blocks = through(x, rate_in, rate_out, cuts=range(1, n, 37))
        np.testing.assert_allclose(in_blocks, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(48000, 16000), (16000, 48000)])
def test_an_output_waits_3_ms_and_no_longer(rate_in, rate_out):
    resampler = ShortResampler(rate_in, rate_out, 1)
    returned = 0
    lags = []
    for pushed in range(1, 2000):
        returned += resampler.push(np.zeros((1, 1), np.float32)).shape[1]
        lags.append(pushed / rate_in - returned / rate_out)
    assert max(lags) < 0.0031


def test_equal_rates_pass_through():
    x = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    assert np.array_equal(through(x, 16000, 16000, cuts=[7]), x)
