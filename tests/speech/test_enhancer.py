"""What cleaning keeps: length, level, alignment, silence, at every rate and in any windows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recurra.core.errors import RecurraError
from recurra.speech.bands import top_band_gain
from recurra.speech.enhancer import EnhanceOptions, Enhancer
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig
from recurra.speech.recordings import level_gain

RATES = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000]
TINY = FrcrnConfig(channels=(2, 2, 2, 2, 2, 2, 2), order=3, compression=0.5, level_db=None)


class FixedMask(nn.Module):
    """A network whose two U-Nets together give a constant mask."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, state, key):
        mask = torch.zeros_like(x)
        mask[..., 0] = self.value
        return torch.atanh(mask / 2), {}


def masking(value):
    """Make an enhancer that multiplies every spectrum by `value` below 2."""
    enhancer = Enhancer(Frcrn(TINY))
    enhancer._fast.unets = nn.ModuleList([FixedMask(value), FixedMask(value)])
    return enhancer


@pytest.fixture(scope="module")
def identity():
    return masking(1.0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Enhancer(Frcrn(TINY))


def noise(*shape, seed=0, scale=0.1):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def db(x, reference):
    return 10 * np.log10(np.mean(np.square(x)) / np.mean(np.square(reference)))


@pytest.mark.parametrize("rate", RATES)
def test_an_identity_model_gives_back_the_recording_at_every_rate(identity, rate):
    x = noise(2, rate // 2)
    y = identity(x, rate)
    assert y.shape == x.shape
    assert db(y - x, x) < -60


@settings(deadline=None, max_examples=30)
@given(length=st.integers(1, 3000), rate=st.sampled_from(RATES), channels=st.integers(1, 3))
def test_the_length_is_exact_from_one_sample_up(identity, length, rate, channels):
    x = noise(channels, max(length, channels))
    y = identity(x, rate)
    assert y.shape == x.shape
    assert np.abs(y - x).max() < 1e-2


def test_the_model_band_alone_drops_what_lies_above(identity):
    t = np.arange(48000) / 48000
    high = np.sin(2 * np.pi * 15000 * t).astype(np.float32)
    inner = slice(4800, -4800)  # a tone that starts at once is not a tone there
    dropped = identity(high, 48000, EnhanceOptions(band="model"))
    assert db(dropped[inner], high[inner]) < -60
    assert abs(db(identity(high, 48000), high)) < 0.1


def test_sound_above_the_band_follows_the_models_top_band():
    x = noise(48000)
    halved = masking(0.5)(x, 48000)
    assert abs(db(halved, x) - 20 * np.log10(0.5)) < 0.1
    loud = masking(1.5)(x, 48000)  # the model may amplify; the band above is never raised
    above = slice(10000, 24000)
    assert abs(db(np.abs(np.fft.rfft(loud)[above]), np.abs(np.fft.rfft(x)[above]))) < 0.05


def test_the_attenuation_limit_holds_at_every_frequency():
    x = noise(48000)
    y = masking(0.0)(x, 48000, EnhanceOptions(max_attenuation_db=12))
    spectrum = np.abs(np.fft.rfft(y))[100:] / np.abs(np.fft.rfft(x))[100:]
    np.testing.assert_allclose(20 * np.log10(np.median(spectrum)), -12, atol=0.1)
    assert np.abs(masking(0.0)(x, 48000)).max() < 1e-5


@pytest.mark.parametrize("rate", [16000, 44100])
def test_silence_stays_silence(network, rate):
    y = network(np.zeros((2, rate), np.float32), rate)
    assert not y.any()


def test_windows_equal_the_whole_where_the_model_is_local(identity):
    x = noise(16000 * 13)
    y = identity(x, 16000, EnhanceOptions(window_seconds=5))
    np.testing.assert_allclose(y, x, atol=1e-5)


def test_the_result_does_not_depend_on_jobs(network):
    x = noise(16000 * 9)
    one = network(x, 16000, EnhanceOptions(window_seconds=5, jobs=1))
    three = network(x, 16000, EnhanceOptions(window_seconds=5, jobs=3))
    assert np.array_equal(one, three)


def test_channels_are_cleaned_each_on_its_own(network):
    x = noise(2, 8000)
    both = network(x, 16000)
    for channel in range(2):
        np.testing.assert_allclose(network(x[channel], 16000), both[channel], atol=1e-5)


def test_torch_in_torch_out_and_int16_is_scaled(network):
    x = noise(8000)
    expected = network(x, 16000)
    tensor = network(torch.from_numpy(x), 16000)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-6)
    pcm = (x * 32768).astype(np.int16)
    from_pcm = network(pcm, 16000)
    assert from_pcm.dtype == np.float32
    np.testing.assert_allclose(from_pcm, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((100, 2), np.float32), "transposed"),
        (np.zeros((1, 2, 3), np.float32), r"\(T,\) or \(C, T\)"),
        (np.zeros(100, np.int32), "int32"),
        (np.array([0, np.nan], np.float32), "not finite"),
    ],
)
def test_arrays_that_are_not_recordings_are_refused(network, audio, message):
    with pytest.raises(ValueError, match=message):
        network(audio, 16000)


@pytest.mark.parametrize(
    "options", [{"band": "all"}, {"window_seconds": 1}, {"max_attenuation_db": -1}, {"jobs": 0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(RecurraError):
        EnhanceOptions(**options)


def test_the_level_gain_brings_the_loud_samples_to_the_level_and_leaves_silence():
    x = torch.zeros(2, 1000)
    x[0, ::10] = 0.01
    gain = level_gain(x, -25.0)
    assert abs(20 * torch.log10(gain[0] * 0.01) + 25) < 1e-3
    assert gain[1] == 1


def test_the_top_band_gain_is_what_was_left_between_4_and_7_khz():
    t = np.arange(16000) / 16000
    low = np.sin(2 * np.pi * 500 * t).astype(np.float32)[None]
    high = np.sin(2 * np.pi * 5500 * t).astype(np.float32)[None]
    gain = top_band_gain(low + high, low + 0.3 * high, 16000)
    np.testing.assert_allclose(gain[:, 1000:-1000], 0.3, atol=0.01)


def test_a_device_without_memory_gets_smaller_windows_until_they_fit(identity, monkeypatch):
    clean, tried = identity._clean, []

    def limited(x):
        tried.append(x.shape[2])
        if x.shape[2] > 16000 * 6:
            raise torch.OutOfMemoryError
        return clean(x)

    monkeypatch.setattr(identity, "_clean", limited)
    x = noise(16000 * 13)
    np.testing.assert_allclose(identity(x, 16000), x, atol=1e-5)
    assert max(tried) == 16000 * 13
    tried.clear()
    np.testing.assert_allclose(identity(x, 16000), x, atol=1e-5)
    assert max(tried) <= 16000 * 6  # what did not fit is not tried again


def test_a_device_that_cannot_hold_seconds_is_an_error_with_the_remedy(identity, monkeypatch):
    def full(x):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(identity, "_clean", full)
    with pytest.raises(RecurraError, match="--device cpu"):
        identity(noise(16000 * 13), 16000)


def test_the_package_offers_the_function_and_not_a_module():
    import recurra.speech
    import recurra.speech.enhance_files
    from recurra.speech import enhance, enhancer
    from recurra.speech.separator import SeparateOptions, Separator

    assert recurra.speech.enhance is enhance is enhancer.enhance
    assert recurra.speech.Enhancer is Enhancer
    assert recurra.speech.Separator is Separator
    assert recurra.speech.SeparateOptions is SeparateOptions
    assert {"enhance", "Separator"} <= {*dir(recurra.speech)}
    with pytest.raises(AttributeError, match="no attribute 'enhanced'"):
        _ = recurra.speech.enhanced


@pytest.mark.parametrize(
    ("options", "message"),
    [({"device": "gpu"}, "no device 'gpu'"), ({"precision": "f64"}, "f32 or bf16, not 'f64'")],
)
def test_a_device_or_precision_that_is_none_is_one_line(model, options, message):
    with pytest.raises(RecurraError, match=message):
        Enhancer.from_pretrained(model, **options)
