from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.speech.two_voices import write_corpus

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.mixture_plan import make_voices
from recurra.speech.data.speaker_mixing import SpeakerMixingConfig, SpeakerMixtures
from recurra.speech.data.speech_level import active_power, power_db

CONFIG = SpeakerMixingConfig(seconds=1.0, level_db=(-40.0, -40.0)).as_recorded()


@pytest.fixture
def corpus(tmp_path):
    return Corpus(write_corpus(tmp_path / "sounds"))


def test_voices_are_different_and_add_up_to_the_mixture_at_their_levels(corpus):
    mixtures = SpeakerMixtures(corpus, CONFIG)
    for index in range(5):
        made = mixtures.mix(Draw(0, index).generator(0))
        assert sorted(made.names) == ["train-ann", "train-ben"]
        assert made.voices.shape == (2, 16000)
        np.testing.assert_allclose(made.voices.sum(0), made.mixture, atol=1e-6)
        for voice in made.voices:
            assert abs(power_db(active_power(voice)) + 40) < 2.6


def speeds(made):
    return [voice.speed for voice in made.plan.voices]


def test_a_plan_makes_every_sample_of_a_mixture_again(corpus):
    mixtures = SpeakerMixtures(corpus, SpeakerMixingConfig(seconds=1.7, level_db=(-40.0, 0.0)))
    made = [mixtures.mix(np.random.default_rng(seed)) for seed in range(20)]
    for mix in made:
        np.testing.assert_array_equal(make_voices(mix.plan, corpus), mix.voices)
    plans = [mix.plan for mix in made]
    assert {plan.band_hertz is None for plan in plans} == {True, False}
    assert {plan.scale < 1 for plan in plans} == {True, False}
    equalisers = [voice.equaliser_db for plan in plans for voice in plan.voices]
    assert 10 < equalisers.count(None) < 30
    assert len(set(equalisers)) == 41 - equalisers.count(None)  # each voice has its own
    assert len({voice.speed for plan in plans for voice in plan.voices}) > 20


def test_an_item_follows_from_seed_epoch_and_index(corpus):
    mixtures = SpeakerMixtures(corpus, CONFIG)
    one, again, other = (mixtures[Draw(0, i)] for i in (3, 3, 4))
    assert torch.equal(one["voices"], again["voices"])
    assert not torch.equal(one["voices"], other["voices"])


def test_a_voice_speaks_with_itself_at_a_speed_that_makes_another_of_it_only(corpus):
    config = SpeakerMixingConfig(seconds=1.0, same_voice_share=0.3)
    mixtures = SpeakerMixtures(corpus, config)
    made = [mixtures.mix(np.random.default_rng(seed)) for seed in range(60)]
    of_one = [speeds(mix) for mix in made if mix.names[0] == mix.names[1]]
    of_two = [speeds(mix) for mix in made if mix.names[0] != mix.names[1]]
    assert all(max(pair) >= 1.25 * min(pair) for pair in of_one)
    assert any(max(pair) < 1.25 * min(pair) for pair in of_two)
    assert len(of_one) > 5


def test_all_mixtures_of_one_voice_each(corpus):
    mixtures = SpeakerMixtures(corpus, SpeakerMixingConfig(seconds=1.0, same_voice_share=1.0))
    for seed in range(10):
        made = mixtures.mix(np.random.default_rng(seed))
        assert made.names[0] == made.names[1]
        assert max(speeds(made)) >= 1.25 * min(speeds(made))
        assert not np.allclose(*made.voices)


def test_no_voice_has_more_of_the_band_than_another(corpus):
    def high_share(band_share):
        config = replace(CONFIG, band_share=band_share, band_hertz=(3000.0, 3000.0))
        mix = SpeakerMixtures(corpus, config).mix(np.random.default_rng(1))
        power = np.abs(np.fft.rfft(np.stack([mix.mixture, *mix.voices]))) ** 2
        return power[:, 5000:].sum(1) / power.sum(1)

    assert (high_share(1.0) < high_share(0.0) * 1e-3).all()


def test_an_equaliser_moves_bands_within_its_limit(corpus):
    config = replace(CONFIG, equaliser_db=6.0)
    plain, moved = (
        SpeakerMixtures(corpus, replace(config, equalised_share=share)) for share in (0.0, 1.0)
    )
    before, after = (made.mix(np.random.default_rng(4)) for made in (plain, moved))
    assert before.names == after.names
    for old, new in zip(before.voices, after.voices, strict=True):
        ratio = np.abs(np.fft.rfft(new)[200:7000]) / np.abs(np.fft.rfft(old)[200:7000])
        level = 20 * np.log10(np.median(ratio.reshape(-1, 100), axis=1))
        assert 1 < np.ptp(level) < 12.5


def test_a_loud_mixture_keeps_its_headroom(corpus):
    loud = SpeakerMixingConfig(seconds=1.0, level_db=(0.0, 0.0))
    made = SpeakerMixtures(corpus, loud).mix(np.random.default_rng(0))
    assert np.abs(made.mixture).max() == pytest.approx(0.99, abs=1e-4)
    np.testing.assert_allclose(made.voices.sum(0), made.mixture, atol=1e-5)


def test_more_speakers_than_voices_are_one_line(corpus):
    with pytest.raises(RecurraError, match="has 2 voices, fewer than n_speakers = 3"):
        SpeakerMixtures(corpus, SpeakerMixingConfig(n_speakers=3))
    with pytest.raises(RecurraError, match="at least 2"):
        SpeakerMixingConfig(n_speakers=1)
    with pytest.raises(RecurraError, match="fewer than 2 voices of one; widen it"):
        SpeakerMixtures(corpus, SpeakerMixingConfig(voice_speed=(0.9, 1.1)))
