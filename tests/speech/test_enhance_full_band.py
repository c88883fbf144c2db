"""`enhance` with a MossFormer2 at 48 kHz keeps every promise that it gives with an FRCRN."""

import numpy as np
import pytest
import soundfile
import torch
from tests.speech.models.mossformer2_vectors import SMALL_SE

from recurra.core.cli import run
from recurra.core.errors import RecurraError
from recurra.speech.cli import app
from recurra.speech.enhancer import EnhanceOptions, Enhancer
from recurra.speech.models.mossformer2_se import MossFormer2Se, MossFormer2SeConfig

CONFIG = MossFormer2SeConfig(n_mels=6, stack=SMALL_SE.stack)


@pytest.fixture(scope="module")
def enhancer():
    torch.manual_seed(0)
    return Enhancer(MossFormer2Se(CONFIG))


@pytest.fixture
def identity(enhancer, monkeypatch):
    def ones(features):
        return torch.ones(*features.shape[:2], CONFIG.win_length // 2 + 1)

    monkeypatch.setattr(enhancer._fast, "mask", ones)
    return enhancer


def noise(*shape):
    return (0.1 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
@pytest.mark.parametrize("length", [1, 500, 1919, 1920, 20000])
def test_an_identity_gives_the_recording_back_at_every_rate_and_length(identity, rate, length):
    x = noise(2, max(2, length))
    y = identity(x, rate)
    assert y.shape == x.shape
    inner = slice(100, -100) if length > 1000 else slice(None)
    assert np.abs(y[:, inner] - x[:, inner]).max() < (1e-5 if rate == 48000 else 1e-2)


def test_a_length_of_whole_windows_loses_no_sample(identity):
    for extra in (-1, 0, 1):
        window, overlap = 48000 * 5, 48000 * 5 // 3
        x = noise(1, 2 * window - overlap + extra)
        y = identity(x, 48000, EnhanceOptions(window_seconds=5))
        np.testing.assert_allclose(y, x, atol=1e-5)


def test_it_gives_the_same_twice_and_silence_for_silence(enhancer):
    x = noise(1, 30000)
    assert np.array_equal(enhancer(x, 48000), enhancer(x, 48000))
    assert not enhancer(np.zeros((1, 30000), np.float32), 48000).any()


def test_it_cannot_run_live(enhancer):
    with pytest.raises(RecurraError, match="needs the whole recording"):
        enhancer.stream(48000)


def test_the_command_takes_its_folder_and_keeps_the_file(enhancer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    enhancer.model.save_pretrained(tmp_path / "se")
    soundfile.write("a.flac", noise(7777, 2), 44100)
    assert run(app, "recurra-speech", ["enhance", "a.flac", "--model", "se"]) == 0
    made = soundfile.info("a.enhanced.flac")
    assert (made.samplerate, made.channels, made.frames) == (44100, 2, 7777)
    assert run(app, "recurra-speech", ["separate", "a.flac", "--model", "se"]) == 2
