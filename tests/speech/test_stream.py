import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.core.errors import RecurraError
from recurra.speech.enhancer import Enhancer
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig
from recurra.speech.stream import EnhancerStream, FrameStream

SIZES = {"win_length": 64, "hop_length": 32, "channels": (4, 8), "order": 5, "n_unets": 1}
CAUSAL = FrcrnConfig(**SIZES, causal=True, squeeze_frames=7, compression=0.5, level_db=None)


def build(config=CAUSAL):
    torch.manual_seed(0)
    model = Frcrn(config).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(2, 800))
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def identity():
    """A network whose mask is one: its last layer says tanh(10) + 0j, whatever comes in."""
    model = build()
    with torch.no_grad():
        model.unets[0].output_re.copy_(torch.tensor([0.0, 5.0]))
        model.unets[0].output_im.copy_(torch.tensor([0.0, -5.0]))
    return model


def noise(channels, n, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (channels, n)).astype(np.float32)


def run(stream, x, cuts):
    """Push x in blocks that end at the given places; returns all that came back."""
    edges = [0, *sorted(min(cut, x.shape[1]) for cut in cuts), x.shape[1]]
    blocks = [x[:, a:b] for a, b in itertools.pairwise(edges)]
    return np.concatenate([*(stream.push(block) for block in blocks), stream.flush()], axis=1)


@settings(max_examples=4, deadline=None)
@given(
    n=st.integers(0, 700),
    cuts=st.lists(st.integers(0, 700), max_size=8),
    rate=st.sampled_from([16000, 16000, 8000, 44100]),
)
def test_any_chunks_give_what_the_whole_gives_and_as_many_samples(model, n, cuts, rate):
    x = noise(2, n)
    whole = run(EnhancerStream(model, rate, 2), x, [])
    chunked = run(EnhancerStream(model, rate, 2), x, cuts)
    assert whole.shape == chunked.shape == x.shape
    np.testing.assert_allclose(chunked, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [2, 31, 64, 1000])
def test_a_stream_gives_what_enhancing_the_whole_recording_gives(n):
    enhancer = Enhancer(build())
    x = noise(2, n)
    streamed = run(enhancer.stream(16000, 2), x, [17, 500])
    np.testing.assert_allclose(streamed, enhancer(x, 16000), rtol=0, atol=1e-5)


def test_nothing_before_the_window_of_an_impulse_changes(model):
    x = noise(1, 1000)
    changed = x.copy()
    changed[0, 500] += 1
    stream = EnhancerStream(model, 16000, 1)
    difference = np.abs(run(stream, x, []) - run(EnhancerStream(model, 16000, 1), changed, []))[0]
    first = int(np.flatnonzero(difference)[0])
    assert 500 - stream.latency < first <= 500
    assert stream.latency == 64
    assert stream.latency_seconds == 0.004


@pytest.mark.parametrize("rate", [16000, 8000, 48000, 44100])
def test_a_player_that_starts_with_the_latency_in_silence_never_runs_dry(model, rate):
    stream = EnhancerStream(model, rate, 1)
    generator = np.random.default_rng(0)
    pushed, returned, most = 0, 0, 0
    while pushed < rate // 2:
        n = int(generator.choice([1, 7, 160, 480]))
        returned += stream.push(noise(1, n)).shape[1]
        pushed += n
        most = max(most, pushed - returned)
    assert most <= stream.latency


def test_an_impulse_leaves_the_player_exactly_the_latency_later(identity):
    stream = EnhancerStream(identity, 16000, 1)
    x = np.zeros((1, 600), np.float32)
    x[0, 237] = 0.5
    line = np.zeros((1, stream.latency), np.float32)
    played = []
    for start in range(0, 600, 20):
        line = np.concatenate([line, stream.push(x[:, start : start + 20])], axis=1)
        played.append(line[:, :20])
        line = line[:, 20:]
    heard = np.concatenate(played, axis=1)[0]
    assert int(np.argmax(heard)) == 237 + stream.latency
    assert heard[237 + stream.latency] == pytest.approx(0.5, abs=1e-5)


def test_an_identity_model_gives_the_input_back(identity):
    x = noise(2, 777)
    np.testing.assert_allclose(run(EnhancerStream(identity, 16000, 2), x, [5, 100]), x, atol=1e-6)


@pytest.mark.parametrize("rate", [48000, 44100, 8000])
def test_a_tone_in_the_models_band_stays_where_it_was_at_every_rate(identity, rate):
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(rate // 2) / rate)[None].astype(np.float32)
    out = run(EnhancerStream(identity, rate, 1), tone, [1000])
    inside = slice(rate // 8, -rate // 8)
    np.testing.assert_allclose(out[:, inside], tone[:, inside], rtol=0, atol=3e-4)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_silence_in_is_silence_out_also_after_sound(model, rate):
    assert not run(EnhancerStream(model, rate, 1), np.zeros((1, rate // 4), np.float32), [9]).any()
    sound = np.concatenate([noise(1, 500), np.zeros((1, rate), np.float32)], axis=1)
    assert not run(EnhancerStream(model, rate, 1), sound, [])[:, -rate // 4 :].any()


def test_streams_of_one_model_do_not_touch_each_other(model):
    x, other = noise(1, 300), noise(1, 300, seed=1)
    alone = run(EnhancerStream(model, 16000, 1), x, [])
    a, b = EnhancerStream(model, 16000, 1), EnhancerStream(model, 16000, 1)
    pieces = []
    for start in range(0, 300, 50):
        pieces.append(a.push(x[:, start : start + 50]))
        b.push(other[:, start : start + 50])
    np.testing.assert_array_equal(np.concatenate([*pieces, a.flush()], axis=1), alone)


@pytest.mark.parametrize(
    ("fields", "message"), [({"causal": False}, "causal"), ({"level_db": -25.0}, "level")]
)
def test_a_model_that_needs_the_whole_recording_is_refused(fields, message):
    config = FrcrnConfig(**SIZES | {"causal": True, "level_db": None} | fields)
    with pytest.raises(RecurraError, match=message):
        EnhancerStream(Frcrn(config), 16000, 1)


def test_blocks_that_cannot_be_sound_are_refused_and_the_stream_goes_on(model):
    stream = EnhancerStream(model, 16000, 1)
    x = noise(1, 800)
    first = stream.push(x[:, :400])
    broken = x[:, 400:].copy()
    broken[0, 240] = np.nan
    with pytest.raises(RecurraError, match=r"0\.040 s is not finite"):
        stream.push(broken)
    with pytest.raises(ValueError, match=r"\(1, n\)"):
        stream.push(np.zeros((2, 10), np.float32))
    with pytest.raises(ValueError, match="int16"):
        stream.push(np.zeros((1, 10), np.int16))
    rest = [stream.push(x[:, 400:]), stream.flush()]
    whole = run(EnhancerStream(model, 16000, 1), x, [])
    np.testing.assert_allclose(np.concatenate([first, *rest], axis=1), whole, atol=1e-6)


def test_frames_come_back_as_soon_as_the_last_sample_that_they_need(model):
    frames = FrameStream(model, 1)
    returned = [frames.push(noise(1, 1)).shape[1] for _ in range(200)]
    pushed = np.arange(1, 201)
    assert np.array_equal(np.cumsum(returned), np.maximum(0, pushed - pushed % 32 - 32))
