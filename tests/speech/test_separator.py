"""What separation keeps: length, level, alignment, who is who, at every rate and in any windows."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.speech.models.mossformer2_vectors import SMALL_SS
from tests.speech.voices import RATE, voice

from recurra.core.errors import RecurraError
from recurra.speech.audio.resample import resample
from recurra.speech.bands import top_band_shares
from recurra.speech.models.mossformer2_ss import MossFormer2Ss
from recurra.speech.separator import SeparateOptions, Separator, fitted_gains

WINDOW = 8 * RATE
OVERLAP = 5 * RATE // 2
STACK = replace(SMALL_SS.stack, n_blocks=1, group=256)
CONFIG = replace(SMALL_SS, sample_rate=RATE, level_db=None, stack=STACK)
OPTIONS = SeparateOptions(window_seconds=WINDOW / RATE)


def separating(separate, n_speakers=2):
    """Make a separator whose network is a function of (C, n) to (C, S, n)."""
    separator = Separator(MossFormer2Ss(replace(CONFIG, n_speakers=n_speakers)))
    separator._fast.separate = separate
    return separator


class Oracle:
    """Gives the true voices (S, C, n) of the windows, in an order and at levels of their own."""

    def __init__(self, voices, seed):
        self.voices, self.rng, self.start = torch.from_numpy(voices), np.random.default_rng(seed), 0

    def __call__(self, x):
        window = self.voices[:, :, self.start : self.start + x.shape[1]].transpose(0, 1).clone()
        self.start += WINDOW - OVERLAP
        torch.testing.assert_close(window.sum(1), x, rtol=0, atol=1e-6)
        for channel in range(window.shape[0]):
            order = self.rng.permutation(window.shape[1])
            gains = torch.from_numpy(10 ** self.rng.uniform(-1, 1, (len(order), 1)))
            window[channel] = window[channel, order] * gains
        return window


def swaps(mixture_seed, n_voices=2, seconds=40.0):
    """Count the joins at which voices changed places, by where the order is another."""
    rng = np.random.default_rng(mixture_seed)
    voices = np.stack([voice(rng, seconds) for _ in range(n_voices)])
    oracle = Oracle(voices[:, None].copy(), mixture_seed)
    apart = separating(oracle, n_voices)(voices.sum(0), RATE, OPTIONS)
    pieces = range(0, voices.shape[1] - OVERLAP, WINDOW - OVERLAP)
    orders = []
    for start in pieces:
        # What is heard of one window alone, or to the end.
        part = slice(start + OVERLAP, start + WINDOW - OVERLAP)
        given = np.argmin(
            [[np.abs(y[part] - x[part]).max() for x in voices] for y in apart], axis=1
        )
        there = [np.abs(x[part]).max(initial=0) > 1e-3 for x in voices]
        orders.append([g if all(there) else -1 for g in given])
    whole = [order for order in orders if -1 not in order]
    np.testing.assert_allclose(apart.sum(0), voices.sum(0), atol=1e-4)
    return sum(a != b for a, b in pairwise(whole))


def test_voices_keep_their_places_through_windows_and_silences():
    assert [swaps(seed) for seed in range(3)] == [0, 0, 0]
    assert swaps(3, n_voices=3) == 0


@pytest.mark.slow
def test_no_voice_changes_places_in_50_mixtures():
    assert sum(swaps(seed) for seed in range(50)) == 0


def test_windows_in_their_own_order_would_swap(monkeypatch):
    monkeypatch.setattr(Separator, "_new_order", lambda self, channels: None)
    assert swaps(0) > 0


def halves(x):
    return torch.stack([x / 2, x / 2], dim=1)


def check_identity(length, rng):
    x = rng.standard_normal((1, length)).astype(np.float32)
    y = separating(halves)(x, RATE, SeparateOptions(window_seconds=4))
    assert y.shape == (2, 1, length)
    np.testing.assert_allclose(y.sum(0), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("windows", [0, 1, 2, 3])
@pytest.mark.parametrize("extra", [-2, -1, 0, 1, 2])
def test_an_identity_gives_every_sample_at_every_length_around_whole_windows(windows, extra):
    window, overlap = 4 * RATE, 4 * RATE // 3
    length = window * windows - overlap * max(0, windows - 1) + extra
    if length > 0:
        check_identity(length, np.random.default_rng(0))


def test_an_identity_gives_every_sample_at_random_lengths():
    rng = np.random.default_rng(1)
    for length in rng.integers(1, 14 * RATE, 20):
        check_identity(length, rng)


@pytest.mark.slow
def test_an_identity_gives_every_sample_at_200_random_lengths():
    rng = np.random.default_rng(2)
    for length in rng.integers(1, 14 * RATE, 200):
        check_identity(length, rng)


@pytest.mark.parametrize("rate", [RATE, 11025, 16000, 48000])
def test_voices_add_up_to_the_recording_at_every_rate(rate):
    x = 0.1 * np.random.default_rng(0).standard_normal((2, 2 * rate)).astype(np.float32)
    y = separating(lambda x: torch.stack([3 * x, 0.01 * x.flip(1)], dim=1))(x, rate)
    assert y.shape == (2, *x.shape)
    assert 10 * np.log10(np.square(y.sum(0) - x).mean() / np.square(x).mean()) < -50


def test_the_level_of_each_voice_is_the_one_in_the_recording():
    voices = np.stack([voice(np.random.default_rng(seed), 6) for seed in (0, 1)])
    voices[1] *= 0.2
    scaled = torch.from_numpy(voices * [[7.0], [0.3]]).float()[None]
    y = separating(lambda x: scaled)(voices.sum(0), RATE)
    np.testing.assert_allclose(y, voices, atol=1e-4)


def test_gains_are_those_of_least_squares_and_not_negative():
    rng = np.random.default_rng(0)
    voices = torch.from_numpy(rng.standard_normal((2, 1000)))
    mixture = 2 * voices[0] + 0.5 * voices[1]
    torch.testing.assert_close(fitted_gains(voices, mixture)[:, 0].tolist(), [2.0, 0.5])
    assert fitted_gains(voices, voices[0] - 0.5 * voices[1])[1] == 0
    assert not fitted_gains(torch.zeros(2, 10), mixture[:10].float()).any()
    alike = fitted_gains(torch.stack([voices[0], 4 * voices[0]]), voices[0])[:, 0]
    torch.testing.assert_close(alike, torch.tensor([0.5, 0.125]).double())


def test_voices_are_in_the_same_places_in_all_channels():
    rng = np.random.default_rng(5)
    one, two = (voice(rng, 20) for _ in range(2))
    delayed = [np.roll(one, 5) * 0.5, np.roll(two, 2) * 0.8]
    voices = np.stack([[one, delayed[0]], [two, delayed[1]]])  # (S, C, n)
    y = separating(Oracle(voices.copy(), 0))(voices.sum(0), RATE, OPTIONS)
    if np.abs(y - voices).max() > 0.01:
        y = y[::-1]
    np.testing.assert_allclose(y, voices, atol=1e-3)


def test_sound_above_the_band_goes_to_the_voice_that_has_the_top_of_it():
    t = np.arange(2 * 48000) / 48000
    low, middle, high = (0.1 * np.sin(2 * np.pi * hz * t) for hz in (300, 3000, 15000))
    x = (low + middle + high).astype(np.float32)

    def split(x):
        spectrum = torch.fft.rfft(x)
        lower = torch.arange(spectrum.shape[1]) < spectrum.shape[1] // 4  # below 1 kHz
        parts = [
            torch.fft.irfft(torch.where(keep, spectrum, 0), n=x.shape[1])
            for keep in (lower, ~lower)
        ]
        return torch.stack(parts, dim=1)

    y = separating(split)(x, 48000)
    spectra = np.abs(np.fft.rfft(y))
    at = int(15000 * len(t) / 48000)
    owner = 0 if spectra[0, 6000] > spectra[1, 6000] else 1  # of 3 kHz
    assert spectra[owner, at] > 100 * spectra[1 - owner, at]
    dropped = separating(split)(x, 48000, SeparateOptions(band="model"))
    assert np.abs(np.fft.rfft(dropped))[:, at].max() < 0.01 * spectra[owner, at]


def test_shares_of_the_top_band_add_up_to_one():
    voices = np.random.default_rng(0).standard_normal((3, 2, 5000)).astype(np.float32)
    voices[:, :, 2000:] = 0
    shares = top_band_shares(voices, RATE)
    np.testing.assert_allclose(shares.sum(0), 1, atol=1e-6)


def test_silence_and_the_kinds_of_arrays():
    separator = Separator(MossFormer2Ss(CONFIG))
    assert not separator(np.zeros((2, RATE), np.float32), RATE).any()
    x = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    y = separator(x, RATE)
    assert y.shape == (2, RATE)
    tensor = separator(torch.from_numpy(x), RATE)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), y, atol=1e-6)
    pcm = (x * 32768).astype(np.int16)
    assert separator(pcm, RATE).dtype == np.float32
    with pytest.raises(ValueError, match="transposed"):
        separator(np.zeros((100, 2), np.float32), RATE)


def test_the_result_does_not_depend_on_jobs():
    separator = Separator(MossFormer2Ss(CONFIG))
    x = 0.1 * np.random.default_rng(0).standard_normal(RATE * 9).astype(np.float32)
    one, three = (separator(x, RATE, SeparateOptions(window_seconds=4, jobs=j)) for j in (1, 3))
    assert np.array_equal(one, three)


def test_the_result_does_not_depend_on_the_batch_but_for_rounding():
    separator = Separator(MossFormer2Ss(CONFIG))
    x = 0.1 * np.random.default_rng(0).standard_normal((2, RATE * 13)).astype(np.float32)
    one = separator(x, RATE, SeparateOptions(window_seconds=4))
    for batch in (2, 3, 9):
        many = separator(x, RATE, SeparateOptions(window_seconds=4, batch=batch))
        np.testing.assert_allclose(many, one, rtol=0, atol=1e-5)
    with pytest.raises(RecurraError, match="1 window or more, not 0"):
        SeparateOptions(batch=0)


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    rows = []

    def limited(x):
        rows.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError
        return halves(x)

    x = np.random.default_rng(0).standard_normal(16 * RATE).astype(np.float32)
    y = separating(limited)(x, RATE, SeparateOptions(window_seconds=4, batch=5))
    np.testing.assert_allclose(y.sum(0), x, rtol=0, atol=1e-6)
    assert rows == [5, 2, 2, 1, 1]  # five windows of 4 s and a short one


def test_a_model_for_another_purpose_or_number_is_refused(model, tmp_path):
    with pytest.raises(RecurraError, match="kind frcrn; to take voices apart give one of kind"):
        Separator.from_pretrained(model)
    MossFormer2Ss(CONFIG).save_pretrained(tmp_path / "two")
    with pytest.raises(RecurraError, match="takes 2 voices apart, not 3"):
        Separator.from_pretrained(tmp_path / "two", speakers=3)


def test_a_device_without_memory_gets_smaller_windows_until_they_fit():
    voices = np.stack([voice(np.random.default_rng(seed), 7) for seed in (0, 1)])
    whole = torch.from_numpy(voices)
    mixture = voices.sum(0)
    orders = iter([[0, 1], [1, 0]])

    def limited(x):
        if x.shape[1] > 5 * RATE:
            raise torch.OutOfMemoryError
        start = (
            0
            if torch.equal(x[0], torch.from_numpy(mixture[: x.shape[1]]))
            else mixture.size - x.shape[1]
        )
        return whole[next(orders), start : start + x.shape[1]][None]

    y = separating(limited)(mixture, RATE)
    np.testing.assert_allclose(y, voices, atol=1e-4)


def test_another_rate_gives_the_same_voices():
    voices = np.stack([voice(np.random.default_rng(seed), 4) for seed in (0, 1)])
    x = resample(voices.sum(0), RATE, 16000)
    y = separating(lambda x: torch.from_numpy(voices[None, :, : x.shape[1]]))(x, 16000)
    np.testing.assert_allclose(resample(y[0], 16000, RATE), voices[0], atol=0.02)
