import numpy as np
import pytest

from recurra.speech.data.sources import NoiseSource, SpeechSource, sounding_share

RATE = 16_000


def hertz_present(audio: np.ndarray) -> set[int]:
    """Which of the voices' tones are within 20 dB of the loudest one."""
    power = np.abs(np.fft.rfft(audio)) ** 2
    bins = {f: power[int(f * len(audio) / RATE) - 8 :][:16].sum() for f in (300, 500, 700, 900)}
    return {f for f, p in bins.items() if p > 0.01 * max(bins.values())}


@pytest.mark.parametrize("seed", range(20))
def test_a_piece_is_of_one_voice_and_as_long_as_asked(corpus, seed):
    drawn = SpeechSource(corpus, "train").draw(np.random.default_rng(seed), 3 * RATE)
    assert drawn.audio.shape == (3 * RATE,)
    assert drawn.audio.dtype == np.float32
    assert hertz_present(drawn.audio) == {{"ann": 300, "bob": 500}[drawn.label]}


def test_pauses_lie_between_the_clips(corpus):
    audio = SpeechSource(corpus, "train").draw(np.random.default_rng(0), 20 * RATE).audio
    quiet = np.convolve(np.abs(audio), np.ones(160), "same") == 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.view(np.int8), [0]])))
    pauses = (edges[1::2] - edges[::2])[1:-1] / RATE
    assert len(pauses) > 8
    # Part of the margin and of the fade of the clips is silent too: up to 60 ms.
    assert pauses.min() > 0.05
    assert pauses.max() < 0.7


def test_another_voice_is_drawn_when_asked(corpus):
    source, rng = SpeechSource(corpus, "train"), np.random.default_rng(0)
    assert {source.draw_voice(rng) for _ in range(50)} == {"ann", "bob"}
    assert {source.draw_voice(rng, other_than="ann") for _ in range(50)} == {"bob"}


@pytest.mark.parametrize("kind", ["music", "machine", "impact"])
def test_noise_of_any_length_is_made_of_clips_of_any_length(corpus, kind):
    source = NoiseSource(corpus, "train")
    for seed in range(5):
        drawn = source.draw(np.random.default_rng(seed), 3 * RATE, kind=kind)
        assert (drawn.label, drawn.package) == (kind, "din")
        assert drawn.audio.shape == (3 * RATE,)
        assert sounding_share(drawn.audio) >= 0.2


def test_a_loop_has_no_holes_at_its_seams(corpus):
    audio = NoiseSource(corpus, "train").draw(np.random.default_rng(0), 3 * RATE, kind="machine")
    power = np.square(audio.audio[: 3 * RATE // 80 * 80]).reshape(-1, 80).mean(axis=1)
    assert power.min() > 0.2 * power.mean()


def test_the_same_generator_gives_the_same_noise(corpus):
    source = NoiseSource(corpus, "train")
    one, two = (source.draw(np.random.default_rng(7), RATE).audio for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_all_kinds_are_drawn(corpus):
    source, rng = NoiseSource(corpus, "train"), np.random.default_rng(0)
    kinds = [source.draw(rng, 4000).label for _ in range(100)]
    assert set(kinds) == {"music", "machine", "impact"}
    assert kinds.count("music") > kinds.count("impact")


def test_silence_does_not_sound(make_tone):
    assert sounding_share(np.zeros(RATE, np.float32)) == 0
    assert sounding_share(np.full(RATE, 1e-5, np.float32)) == 0
    half = np.concatenate([make_tone(440, 1.024), np.zeros(512 * 32, np.float32)])
    assert sounding_share(half) == pytest.approx(0.5)
