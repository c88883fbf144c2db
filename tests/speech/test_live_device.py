import sys
import threading
import types

import numpy as np
import pytest
import torch

from recurra.core.errors import RecurraError
from recurra.speech.enhancer import Enhancer
from recurra.speech.live_device import Player, clean_devices, list_devices
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig

CONFIG = FrcrnConfig(
    win_length=64, hop_length=32, channels=(4, 8), order=5, n_unets=1, causal=True, level_db=None
)
DEVICES = [
    {
        "name": "Microphone",
        "max_input_channels": 2,
        "max_output_channels": 0,
        "default_samplerate": 48000.0,
    },
    {
        "name": "Headphones",
        "max_input_channels": 0,
        "max_output_channels": 2,
        "default_samplerate": 44100.0,
    },
]


class PortAudioError(Exception):
    pass


class FakeStream:
    """Calls back with noise, block by block, as soon as it is entered."""

    made: dict = {}  # noqa: RUF012 - what the last one was given
    heard: list = []  # noqa: RUF012
    sound = None
    after = None

    def __init__(self, **given):
        type(self).made = given
        self.latency = (0.01, 0.02)
        self.active = True

    def __enter__(self):
        size, channels = self.made["blocksize"], self.made["channels"]
        type(self).heard = []
        for start in range(0, self.sound.shape[0], size):
            playing = np.full((size, channels), np.nan, np.float32)
            block = self.sound[start : start + size]
            self.made["callback"](block, playing, size, None, start == 0)
            self.heard.append(playing)
        if self.after is not None:
            type(self).after()
        return self

    def __exit__(self, *_):
        return False


@pytest.fixture
def sounddevice(monkeypatch):
    """A stand-in for the module, with one microphone and one pair of headphones."""
    fake = types.ModuleType("sounddevice")
    fake.PortAudioError = PortAudioError
    fake.Stream = FakeStream
    fake.default = types.SimpleNamespace(device=(0, 1))
    fake.query_devices = lambda device=None, kind=None: DEVICES if kind is None else DEVICES[0]
    fake.check_input_settings = lambda **given: None
    fake.check_output_settings = lambda **given: None
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(FakeStream, "after", None)
    return fake


@pytest.fixture(scope="module")
def enhancer():
    torch.manual_seed(0)
    return Enhancer(Frcrn(CONFIG).eval())


def sound(n, channels=1):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (n, channels)).astype(np.float32)


def test_devices_are_listed_with_their_defaults(sounddevice):
    first, second = list_devices()
    assert (first.index, first.name, first.inputs, first.sample_rate) == (0, "Microphone", 2, 48000)
    assert (first.is_default_input, first.is_default_output) == (True, False)
    assert (second.outputs, second.is_default_output) == (2, True)


def test_what_is_played_is_the_whole_enhanced_the_latency_later(sounddevice, enhancer):
    x = sound(640, 2)
    FakeStream.sound, lines, stop = x, [], threading.Event()
    FakeStream.after = staticmethod(stop.set)
    report = clean_devices(
        enhancer, input="Micro", output=1, channels=2, tell=lines.append, stop=stop
    )
    heard = np.concatenate(FakeStream.heard)
    assert not heard[:64].any()
    np.testing.assert_allclose(heard[64:].T, enhancer(x.T.copy(), 16000)[:, :-64], atol=1e-5)
    assert FakeStream.made["device"] == ("Micro", 1)
    assert (FakeStream.made["samplerate"], FakeStream.made["blocksize"]) == (16000, 32)
    assert (report.samples, report.glitches, report.ended) == (640, 1, "end")
    assert lines == ["latency 34 ms: 4 ms model, 30 ms devices, at 16000 Hz"]


def test_a_device_without_the_models_rate_runs_at_its_own(sounddevice, enhancer):
    def refuse(**given):
        raise PortAudioError("Invalid sample rate")

    sounddevice.check_input_settings = refuse
    FakeStream.sound, stop = sound(960), threading.Event()
    FakeStream.after = staticmethod(stop.set)
    clean_devices(enhancer, stop=stop)
    assert (FakeStream.made["samplerate"], FakeStream.made["blocksize"]) == (48000, 96)
    assert all(np.isfinite(block).all() for block in FakeStream.heard)


def test_ctrl_c_ends_a_run(sounddevice, enhancer):
    FakeStream.sound = sound(64)

    class Pressed(threading.Event):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    assert clean_devices(enhancer, stop=Pressed()).ended == "interrupted"


def test_an_error_in_the_callback_ends_the_run_with_that_error(sounddevice, enhancer):
    broken = sound(320)
    broken[100] = np.nan
    FakeStream.sound = broken
    with pytest.raises(RecurraError, match="not finite"):
        clean_devices(enhancer)
    assert not FakeStream.heard[-1].any()  # silence, not what was in the buffer


def test_what_is_over_full_scale_is_clipped_and_counted():
    class Loud:
        channels, latency = 1, 0

        def push(self, block):
            return block * 4

    player, playing = Player(Loud(), threading.Event()), np.zeros((3, 1), np.float32)
    player.callback(np.array([[0.1], [0.5], [-0.5]], np.float32), playing, 3, None, None)
    np.testing.assert_allclose(playing[:, 0], [0.4, 1, -1], atol=1e-6)
    assert player.clipped == 2


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (PortAudioError("Error opening Stream: Device unavailable"), "Device unavailable"),
        (ValueError("No input/output device matching 'x'"), "matching 'x'; --list-devices"),
    ],
)
def test_what_a_device_refuses_is_one_line(sounddevice, enhancer, raised, message):
    def refuse(**given):
        raise raised

    sounddevice.Stream = refuse
    with pytest.raises(RecurraError, match=message):
        clean_devices(enhancer, sample_rate=16000)


def test_a_missing_library_is_named(monkeypatch):
    class NoPortAudio:
        def find_spec(self, name, path=None, target=None):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoPortAudio(), *sys.meta_path])
    with pytest.raises(RecurraError, match="libportaudio2"):
        list_devices()
