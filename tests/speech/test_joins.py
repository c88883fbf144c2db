"""What windows may change: next to nothing against the recording cleaned as a whole."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recurra.speech.audio import read_audio
from recurra.speech.enhancer import DEFAULT_MODEL, EnhanceOptions, Enhancer
from recurra.speech.metrics import si_sdr
from recurra.speech.models.complex_layers import centred_mean

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RATE = 16000
SECONDS = 120
WINDOW, OVERLAP = 30, 8
MOMENT = 0.4  # seconds: what ITU-R BS.1770 measures momentary loudness over
SILENT_DB = -70  # full scale is 0: below this, its absolute gate, a moment does not count
FAINT_DB = -20  # nor one so far below the mean of the others (EBU Tech 3342, relative gate)


def changing_recording():
    """Speech whose level drifts, in noise that swells and changes its kind every 20 s."""
    clean, noisy = (read_audio(EXAMPLES / f"{name}.wav")[0][0] for name in ("clean", "noisy"))
    n = SECONDS * RATE
    t = np.arange(n) / RATE
    white = np.random.default_rng(0).standard_normal(n)
    brown = np.cumsum(white)
    brown = brown - np.convolve(brown, np.ones(400) / 400, "same")  # without its slow wandering
    steady = np.where(t // 20 % 2 == 0, white / white.std(), brown / brown.std())
    x = np.resize(clean, n) * 10 ** (0.35 * np.sin(2 * np.pi * t / 41))
    x += 0.2 * np.resize(noisy - clean, n)
    x += 0.02 * 10 ** (0.5 * np.sin(2 * np.pi * t / 17)) * steady
    return (x / np.abs(x).max()).astype(np.float32)


def levels_db(x):
    return 10 * np.log10(np.square(x, dtype=np.float64).reshape(-1, int(MOMENT * RATE)).mean(1))


@pytest.mark.slow
def test_windows_of_a_long_recording_join_as_if_it_had_been_cleaned_whole():
    enhancer = Enhancer.from_pretrained(DEFAULT_MODEL)
    x = changing_recording()
    whole = enhancer(x, RATE, EnhanceOptions(window_seconds=SECONDS + 1))
    windowed = enhancer(x, RATE, EnhanceOptions(window_seconds=WINDOW))
    assert not np.array_equal(windowed, whole)
    assert si_sdr(whole, windowed) > 25

    # What windows do to the level of a moment, and how that jumps from one moment to the next.
    level = levels_db(whole)
    steps = np.abs(np.diff(levels_db(windowed) - level))
    mean = 10 * np.log10((10 ** (level[level > SILENT_DB] / 10)).mean())
    steps[np.minimum(level[1:], level[:-1]) < mean + FAINT_DB] = 0
    assert (steps > 0).mean() > 0.5
    for start in range(WINDOW - OVERLAP, SECONDS - OVERLAP, WINDOW - OVERLAP):
        around = slice(int((start - 1) / MOMENT), int((start + OVERLAP + 1) / MOMENT))
        assert steps[around].max() < 0.5, f"at the join from {start} s on"


@pytest.mark.slow
def test_the_shipped_model_gives_the_same_samples_for_any_jobs():
    enhancer = Enhancer.from_pretrained(DEFAULT_MODEL)
    x = changing_recording()[: 30 * RATE]
    one, two = (enhancer(x, RATE, EnhanceOptions(window_seconds=10, jobs=j)) for j in (1, 2))
    assert np.array_equal(one, two)


def test_a_centred_mean_is_over_the_frames_within_reach_that_there_are():
    x = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]]).double()[..., None]
    expected = [3 / 2, 7 / 3, 14 / 3, 28 / 3, 12]
    torch.testing.assert_close(centred_mean(x, 1)[0, :, 0], torch.tensor(expected).double())
    torch.testing.assert_close(centred_mean(x, 4), x.mean(dim=1, keepdim=True).expand_as(x))
    half = torch.full((1, 5000, 2, 3), 0.3, dtype=torch.bfloat16)
    assert torch.equal(centred_mean(half, 200), half)  # whose running sum bf16 could not hold
