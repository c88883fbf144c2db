"""Resampling: exact lengths, alignment, and the same samples in any blocks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.speech.audio import StreamResampler, resample, resampled_length

RATES = st.sampled_from([7350, 8000, 11025, 16000, 16001, 22050, 44100, 48000, 96000, 192000])


def noise(channels: int, frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, frames)).astype(np.float32)


@given(RATES, RATES, st.integers(0, 3000), st.integers(1, 3), st.integers(0, 2**32))
@settings(deadline=None, max_examples=80)
def test_blocks_of_any_size_give_what_the_whole_gives(rate_in, rate_out, frames, channels, seed):
    audio = noise(channels, frames)
    whole = resample(audio, rate_in, rate_out)
    assert whole.shape == (channels, math.ceil(frames * rate_out / rate_in))
    draw = np.random.default_rng(seed)
    stream, pieces, at = StreamResampler(rate_in, rate_out, channels), [], 0
    while at < frames:
        size = int(draw.integers(0, 700))
        pieces.append(stream.push(audio[:, at : at + size]))
        at += size
    pieces.append(stream.flush())
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


@given(RATES, st.integers(1, 20000), st.sampled_from([8000, 16000, 48000]))
@settings(deadline=None, max_examples=50)
def test_there_and_back_never_loses_a_sample(rate, frames, model_rate):
    there = resampled_length(frames, rate, model_rate)
    assert resampled_length(there, model_rate, rate) >= frames


@pytest.mark.parametrize(("rate_in", "rate_out"), [(48000, 16000), (16000, 44100), (44100, 48000)])
def test_a_tone_keeps_its_phase(rate_in, rate_out):
    tone = np.sin(2 * np.pi * 997 * np.arange(rate_in) / rate_in).astype(np.float32)
    out = resample(tone, rate_in, rate_out)
    expected = np.sin(2 * np.pi * 997 * np.arange(rate_out) / rate_out)
    middle = slice(rate_out // 10, -rate_out // 10)
    assert np.abs(out[middle] - expected[middle]).max() < 1e-4


def test_equal_rates_change_nothing():
    audio = noise(2, 1001)
    np.testing.assert_array_equal(resample(audio, 44100, 44100), audio)


def test_a_block_with_the_wrong_channels_is_refused():
    with pytest.raises(ValueError, match=r"\(2, n\), not \(1, 5\)"):
        StreamResampler(16000, 48000, 2).push(noise(1, 5))


def test_a_spent_resampler_is_refused():
    stream = StreamResampler(16000, 48000, 1)
    stream.push(noise(1, 5))
    stream.flush()
    with pytest.raises(ValueError, match="flushed"):
        stream.push(noise(1, 5))
