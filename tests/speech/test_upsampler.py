"""Upsampling: rate, length, alignment, band and level, in any windows; and its command."""

import json

import numpy as np
import pytest
import soundfile
import torch
from tests.speech.models.mossformer2_vectors import SIZES

from recurra.core.cli import run
from recurra.core.errors import RecurraError
from recurra.speech.audio.resample import resample, resampled_length
from recurra.speech.cli import app
from recurra.speech.models.hifi_gan import HifiGanConfig
from recurra.speech.models.mossformer2 import MossFormer2StackConfig
from recurra.speech.models.mossformer2_sr import MossFormer2Sr, MossFormer2SrConfig
from recurra.speech.upsampler import UpsampleOptions, Upsampler

RATE = 48000
CONFIG = MossFormer2SrConfig(
    n_mels=6,
    stack=MossFormer2StackConfig(**SIZES | {"n_blocks": 1}, dropout=0.0),
    generator=HifiGanConfig(channels=8, up_kernels=(16, 16, 8), kernels=(3,), dilations=(1, 3)),
)


@pytest.fixture
def upsampler():
    torch.manual_seed(0)
    return Upsampler(MossFormer2Sr(CONFIG))


def noise(*shape):
    return (0.1 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def making(upsampler, made):
    """Let the network be a function of (B, n); the rest stays."""
    upsampler._fast.forward = made
    return upsampler


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, RATE])
@pytest.mark.parametrize("length", [2, 3, 500, 7777])
def test_the_result_is_as_long_at_48_khz_in_every_channel(upsampler, rate, length):
    y = upsampler(noise(2, length), rate)
    assert y.shape == (2, resampled_length(length, rate, RATE))
    assert y.dtype == np.float32
    assert np.isfinite(y).all()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_recordings_band_stays_with_its_level_and_in_its_place(upsampler, rate):
    t = np.arange(2 * rate) / rate
    x = (0.1 * np.sin(2 * np.pi * 1000 * t) * (1 + np.sin(2 * np.pi * 3 * t)))[None]
    x = x.astype(np.float32)
    y = making(upsampler, torch.zeros_like)(x, rate)
    # The energy ends at the tone, where the filters meet.
    expected = resample(x[0], rate, RATE)
    loud = 2 * np.abs(np.fft.rfft(y[0]))[2000] / y.shape[1]
    assert 0.05 < loud / 0.1 <= 1
    identity = making(upsampler, lambda x: x)(x, rate)[0]
    np.testing.assert_allclose(identity, expected, atol=1e-5)


@pytest.mark.parametrize("extra", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("windows", [1, 2, 3])
def test_an_identity_gives_every_sample_at_every_length_around_whole_windows(
    upsampler, windows, extra
):
    window, overlap = 4 * RATE, 4 * RATE // 3
    x = noise(1, window * windows - overlap * (windows - 1) + extra)
    y = making(upsampler, lambda x: x)(x, RATE, UpsampleOptions(window_seconds=4))
    np.testing.assert_allclose(y, x, rtol=0, atol=1e-6)


def test_windows_give_what_the_whole_gives_where_the_network_sees_no_farther(upsampler):
    t = np.arange(9 * RATE) / RATE
    x = (0.1 * np.sin(2 * np.pi * 375 * t) + 0.05 * np.sin(2 * np.pi * 3000 * t))[None]
    x = x.astype(np.float32)
    local = making(upsampler, lambda x: x.abs() - x)
    whole = local(x, RATE)
    windowed = local(x, RATE, UpsampleOptions(window_seconds=4))
    # Ends of windows, which the filters continue, lie in what is not heard.
    np.testing.assert_allclose(windowed, whole, atol=1e-4)


def test_the_result_does_not_depend_on_jobs_and_batch_but_for_rounding(upsampler):
    x = noise(1, 9 * RATE)
    one, jobs, batch = (
        upsampler(x, RATE, UpsampleOptions(window_seconds=4, **options))
        for options in ({}, {"jobs": 2}, {"batch": 3})
    )
    assert np.array_equal(one, jobs)
    np.testing.assert_allclose(batch, one, rtol=0, atol=1e-5)


def test_silence_stays_and_a_higher_rate_is_refused(upsampler):
    assert not upsampler(np.zeros((1, 5000), np.float32), 8000).any()
    with pytest.raises(RecurraError, match="96000 Hz has more than the 48000 Hz"):
        upsampler(noise(1, 100), 96000)


@pytest.fixture
def call(upsampler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    upsampler.model.save_pretrained(tmp_path / "sr")
    return lambda *words: run(app, "recurra-speech", ["upsample", *words, "--model", "sr"])


def test_the_command_changes_the_rate_and_keeps_the_rest(call, capsys):
    soundfile.write("call.wav", noise(8001, 2), 8000, subtype="PCM_24")
    assert call("call.wav", "--json") == 0
    assert json.loads(capsys.readouterr().out)["done"] == 1
    made = soundfile.info("call.upsampled.wav")
    assert (made.samplerate, made.channels, made.frames) == (RATE, 2, 48006)
    assert made.subtype == "PCM_24"
    assert call("call.wav") == 2
    assert "--force overwrites it" in capsys.readouterr().err
    assert call("call.wav", "-o", "mono.flac", "--downmix") == 0
    assert soundfile.info("mono.flac").channels == 1


def test_files_that_cannot_be_upsampled_fail_alone_and_leave_nothing(call, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    soundfile.write("in/high.wav", noise(5000), 96000)
    soundfile.write("in/low.wav", noise(5000), 16000)
    (tmp_path / "in" / "text.wav").write_text("not audio")
    assert call("in", "-o", "out") == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["low.wav"]
    assert "96000 Hz has more than the 48000 Hz" in capsys.readouterr().err


def test_other_models_are_refused_and_this_one_elsewhere(call, model, capsys):
    soundfile.write("a.wav", noise(500), 8000)
    assert run(app, "recurra-speech", ["upsample", "a.wav", "--model", model]) == 2
    assert (
        "to make the sound above a band give one of kind mossformer2-sr" in capsys.readouterr().err
    )
    assert run(app, "recurra-speech", ["enhance", "a.wav", "--model", "sr"]) == 2
