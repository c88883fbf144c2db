"""Super-resolution against what its sources say, written down again slowly, and its own laws.

What official code gives is in `test_mossformer2_parity.py`.
"""

import math

import librosa
import numpy as np
import pytest
import torch
from scipy import signal
from tests.speech.models.mossformer2_vectors import SIZES

from recurra.core.errors import RecurraError
from recurra.speech.models.hifi_gan import (
    HifiGan,
    HifiGanConfig,
    Snake,
    UpsamplingStage,
    log_mel_magnitudes,
    slaney_bands,
)
from recurra.speech.models.mossformer2 import MossFormer2StackConfig
from recurra.speech.models.mossformer2_sr import (
    MossFormer2Sr,
    MossFormer2SrConfig,
    band_end_hz,
    with_own_band,
)

RATE = 48000
SMALL = MossFormer2SrConfig(
    win_length=64,
    n_mels=6,
    stack=MossFormer2StackConfig(**SIZES, dropout=0.0),
    generator=HifiGanConfig(channels=8, up_kernels=(8, 4), kernels=(3, 5), dilations=(1, 3)),
)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MossFormer2Sr(SMALL).double().eval()


def test_the_default_sizes_are_the_official_ones():
    config = MossFormer2SrConfig()
    assert (config.hop_length, config.win_length, config.n_mels) == (256, 1024, 80)
    assert config.sample_rate == RATE


def test_mel_bands_are_those_of_librosa():
    theirs = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=80, fmin=0, fmax=8000, dtype=float)
    np.testing.assert_allclose(slaney_bands(RATE, 1024, 80, 8000.0).T, theirs, atol=1e-12)
    below = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=4, fmin=0, fmax=800, dtype=float)
    np.testing.assert_allclose(slaney_bands(RATE, 512, 4, 800.0).T, below, atol=1e-12)


def test_features_are_logarithms_of_the_mel_magnitudes_of_each_frame():
    audio = 0.1 * noise(2, 3000)
    ours = log_mel_magnitudes(
        torch.from_numpy(audio), RATE, win_length=1024, hop_length=256, n_mels=80, top_hz=8000.0
    )
    assert ours.shape == (2, 1 + (3000 - 1024) // 256, 80)
    bands = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=80, fmin=0, fmax=8000, dtype=float)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    for frame in range(ours.shape[1]):
        spectrum = np.fft.rfft(audio[1, 256 * frame : 256 * frame + 1024] * window)
        expected = np.log(np.maximum(bands @ np.sqrt(np.abs(spectrum) ** 2 + 1e-9), 1e-5))
        np.testing.assert_allclose(ours[1, frame], expected, atol=1e-9)


def test_a_snake_is_x_plus_a_squared_sine_by_its_frequency():
    snake = Snake(3).double()
    snake.alpha.data = torch.tensor([0.5, 1.0, 2.0]).double()
    x = noise(1, 3, 4)
    y = snake(torch.from_numpy(x))
    for channel, alpha in enumerate((0.5, 1.0, 2.0)):
        for step in range(4):
            value = x[0, channel, step]
            expected = value + math.sin(alpha * value) ** 2 / alpha
            assert y[0, channel, step].item() == pytest.approx(expected, abs=1e-8)


def convolved(x, conv):
    """A convolution as its definition says: x (C, T), to as many steps."""
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    taps, dilation = weight.shape[2], conv.dilation[0]
    reach = dilation * (taps - 1) // 2
    padded = np.pad(x, ((0, 0), (reach, reach)))
    return np.stack(
        [
            sum(weight[:, :, k] @ padded[:, t + k * dilation] for k in range(taps)) + bias
            for t in range(x.shape[1])
        ],
        axis=1,
    )


def snaked(x, snake):
    alpha = snake.alpha.detach().numpy()[:, None]
    return x + np.sin(alpha * x) ** 2 / alpha


def test_a_stage_raises_the_rate_and_takes_the_mean_of_its_blocks():
    torch.manual_seed(1)
    stage = UpsamplingStage(4, 8, SMALL.generator).double()
    for parameter in stage.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape).double()
    x = noise(4, 5)
    weight = stage.up.weight.detach().numpy()  # (in, out, taps)
    spread = np.zeros((2, 4 * 5 + 4))
    for t, step in enumerate(snaked(x, stage.snake).T):
        spread[:, 4 * t : 4 * t + 8] += np.einsum("i,iok->ok", step, weight)
    raised = spread[:, 2:-2] + stage.up.bias.detach().numpy()[:, None]
    total = 0
    for block in stage.blocks:
        y = raised
        for unit in block:
            y = y + convolved(
                snaked(convolved(snaked(y, unit.snake1), unit.conv1), unit.snake2), unit.conv2
            )
        total = total + y
    ours = stage(torch.from_numpy(x)[None])[0].detach()
    np.testing.assert_allclose(ours, total / 2, atol=1e-7)


def test_a_frame_becomes_a_hop_of_samples_within_full_scale():
    generator = HifiGan(SMALL.generator, n_mels=6)
    y = generator(10 * torch.randn(2, 7, 6))
    assert y.shape == (2, 7 * 8)
    assert y.abs().max() <= 1


def test_kernels_that_would_lose_samples_are_refused():
    with pytest.raises(RecurraError, match="multiples of 4"):
        HifiGanConfig(up_kernels=(6, 4))


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 63, 64, 65, 1000, 1001])
def test_every_length_comes_out_as_long_and_finite(model, n):
    x = torch.from_numpy(0.1 * noise(2, n))
    with torch.no_grad():
        y = model.widen(x)
    assert y.shape == x.shape
    assert y.isfinite().all()


def test_rows_of_a_batch_are_those_of_each_alone_and_fused_ones_the_same(model):
    x = torch.from_numpy(0.1 * noise(3, 777))
    with torch.no_grad():
        together = model.widen(x)
        torch.testing.assert_close(together[1:2], model.widen(x[1:2]), rtol=0, atol=1e-12)
        fused = MossFormer2Sr(SMALL)
        fused.load_state_dict(model.state_dict())
        torch.testing.assert_close(
            fused.fuse().widen(x.float()), together.float(), rtol=0, atol=1e-4
        )


def test_silence_and_a_full_band_stay_as_they_are(model):
    with torch.no_grad():
        assert not model.widen(torch.zeros(1, 5000).double()).any()
        full = torch.zeros(1, 5000).double()
        full[0, 1::2], full[0, ::2] = 0.1, -0.1  # a tone at half the rate
        assert torch.equal(model.widen(full), full)


def band_limited(hertz, n=30000):
    taps = signal.firwin(401, hertz, fs=RATE)
    return np.convolve(noise(n), taps, mode="same")


@pytest.mark.parametrize("hertz", [300, 4000, 11025])
def test_the_end_of_the_band_is_that_of_scipys_spectra(hertz):
    x = band_limited(hertz)
    power = np.abs(signal.stft(x, fs=RATE)[2]) ** 2
    cumulative = np.cumsum(power.sum(axis=1)) / power.sum()
    expected = np.arange(129)[np.argmax(cumulative >= 0.9996)] * RATE / 256
    assert band_end_hz(torch.from_numpy(x)[None], RATE).item() == expected


@pytest.mark.parametrize("hertz", [300, 4000, 11025])
def test_the_band_is_put_in_by_filters_forwards_and_backwards(hertz):
    x, made = band_limited(hertz), 0.3 * noise(30000, seed=1)
    ours = with_own_band(torch.from_numpy(x)[None], torch.from_numpy(made)[None], RATE)[0]
    end = band_end_hz(torch.from_numpy(x)[None], RATE).item() / (RATE / 2)
    low, high = (signal.butter(4, end, kind) for kind in ("low", "high"))
    expected = signal.filtfilt(*low, x) + signal.filtfilt(*high, made)
    # `filtfilt` continues the ends for fewer samples than ours.
    inner = slice(3000, -3000)
    np.testing.assert_allclose(ours[inner], expected[inner], atol=1e-5)


def test_what_is_in_the_band_keeps_its_level_and_what_was_made_stands_above():
    t = np.arange(RATE) / RATE
    x = 0.1 * np.sin(2 * np.pi * 1000 * t) + 0.02 * np.sin(2 * np.pi * 3000 * t)
    made = 0.5 * np.sin(2 * np.pi * 1000 * t) + 0.05 * np.sin(2 * np.pi * 9000 * t)
    y = with_own_band(torch.from_numpy(x)[None], torch.from_numpy(made)[None], RATE)[0]
    levels = 2 * np.abs(np.fft.rfft(y)) / RATE
    assert levels[1000] == pytest.approx(0.1, rel=1e-3)
    assert levels[9000] == pytest.approx(0.05, rel=1e-3)


def test_it_comes_back_from_its_folder(model, tmp_path):
    model.save_pretrained(tmp_path / "sr")
    again = MossFormer2Sr.from_pretrained(tmp_path / "sr")
    assert again.config == SMALL
    x = torch.from_numpy(0.1 * noise(1, 500)).float()
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x.double()).float(), rtol=0, atol=1e-4)
