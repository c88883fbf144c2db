"""The law of live presets: at most 60 ms, and the latency that is printed is the one there is.

It holds for every causal model that ships, and for the untrained network of the preset.
"""

import io

import numpy as np
import pytest
import torch
from tests.speech.shipped import shipped

from recurra.speech.enhancer import Enhancer
from recurra.speech.info import describe
from recurra.speech.live import clean_pipe
from recurra.speech.models.frcrn import FRCRN_LIVE, Frcrn
from recurra.speech.stream import EnhancerStream

MOST_SECONDS = 0.060
RATES = [16000, 48000, 44100, 8000]
UNTRAINED = "untrained"
SHIPPED = [name for name, config in shipped(Frcrn.kind).items() if config["causal"]]


@pytest.fixture(scope="module", params=[UNTRAINED, *SHIPPED])
def preset(request, tmp_path_factory):
    """Give what `--model` takes: a shipped name, or the folder of the untrained network."""
    if request.param != UNTRAINED:
        return request.param
    folder = tmp_path_factory.mktemp("models") / "frcrn-live"
    torch.manual_seed(0)
    Frcrn(FRCRN_LIVE).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def enhancer(preset):
    return Enhancer.from_pretrained(preset)


def noise(n):
    return np.random.default_rng(0).normal(0, 0.1, (1, n)).astype(np.float32)


def run(stream, x):
    return np.concatenate([stream.push(x), stream.flush()], axis=1)


@pytest.mark.parametrize("rate", RATES)
def test_the_latency_is_printed_and_at_most_60_ms_at_every_rate(enhancer, rate):
    lines = []
    clean_pipe(enhancer, io.BytesIO(), io.BytesIO(), sample_rate=rate, tell=lines.append)
    stream = enhancer.stream(rate)
    assert stream.latency_seconds <= MOST_SECONDS
    assert lines == [f"latency {1000 * stream.latency_seconds:.0f} ms ({stream.latency} samples)"]


def test_info_tells_the_same_latency(preset, enhancer):
    assert describe(preset).latency == enhancer.stream(enhancer.sample_rate).latency


def test_an_impulse_changes_the_sound_back_to_the_printed_latency_and_no_further(enhancer):
    rate, hop = enhancer.sample_rate, enhancer.model.config.hop_length
    x = noise(rate // 4)
    before = run(EnhancerStream(enhancer.model, rate, 1), x)
    looked_ahead = []
    for at in range(5 * hop - 2, 5 * hop + 1):  # around the end of a frame, where it is longest
        changed = x.copy()
        changed[0, at] += 1
        difference = run(EnhancerStream(enhancer.model, rate, 1), changed) != before
        looked_ahead.append(at - int(np.flatnonzero(difference[0])[0]))
    printed = enhancer.stream(rate).latency
    # The window's first sample is zero, so that of its outermost samples one cannot be heard.
    assert printed - 2 <= max(looked_ahead) + 1 <= printed


@pytest.mark.parametrize("rate", RATES)
def test_no_sample_comes_later_than_printed(enhancer, rate):
    stream = enhancer.stream(rate)
    pushed = returned = held = 0
    while pushed < rate // 4:
        returned += stream.push(noise(8)).shape[1]
        pushed += 8
        held = max(held, pushed - returned)
    assert stream.latency - rate // 500 <= held <= stream.latency  # printed within 2 ms


def test_live_gives_what_cleaning_the_whole_gives(enhancer):
    x = noise(enhancer.sample_rate // 2)
    live = run(enhancer.stream(enhancer.sample_rate), x)
    np.testing.assert_allclose(live, enhancer(x, enhancer.sample_rate), rtol=0, atol=1e-4)
