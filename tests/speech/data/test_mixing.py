from dataclasses import replace

import numpy as np
import pytest
from torch.utils.data import DataLoader

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.speech.data.mixing import (
    MixingConfig,
    Mixtures,
    keep_headroom,
    limit_band,
    snr_db,
)
from recurra.speech.data.speech_level import active_level_db

# Nothing but speech and noise: what remains can be checked by hand.
PLAIN = MixingConfig(
    seconds=2.0,
    items=50,
    noise_only_share=0.0,
    clean_share=0.0,
    reverberant_share=0.0,
    band_limited_share=0.0,
    clipped_share=0.0,
    speed_share=0.0,
    equalised_share=0.0,
)


def pairs(corpus, config: MixingConfig, count: int = 20, epoch: int = 0):
    mixtures = Mixtures(corpus, config)
    for index in range(count):
        item = mixtures[Draw(epoch, index)]
        yield item["noisy"].numpy(), item["clean"].numpy()


def test_an_item_follows_from_seed_epoch_and_index_alone(corpus):
    config = MixingConfig(seconds=1.0)
    one, two = Mixtures(corpus, config), Mixtures(corpus, config)
    two[Draw(0, 5)], two[Draw(3, 1)]
    for draw in (Draw(0, 0), Draw(0, 1), Draw(1, 0)):
        np.testing.assert_array_equal(one[draw]["noisy"], two[draw]["noisy"])
        np.testing.assert_array_equal(one[draw]["clean"], two[draw]["clean"])
    assert not np.array_equal(one[Draw(0, 0)]["noisy"], one[Draw(0, 1)]["noisy"])
    assert not np.array_equal(one[Draw(0, 0)]["noisy"], one[Draw(1, 0)]["noisy"])
    other = Mixtures(corpus, replace(config, seed=1))
    assert not np.array_equal(one[Draw(0, 0)]["noisy"], other[Draw(0, 0)]["noisy"])


def test_workers_make_the_same_items(corpus):
    mixtures = Mixtures(corpus, MixingConfig(seconds=0.5))
    batches = [[Draw(0, 3), Draw(0, 1)], [Draw(1, 2), Draw(0, 0)]]
    loader = DataLoader(mixtures, batch_sampler=batches, num_workers=2)
    for batch, draws in zip(loader, batches, strict=True):
        assert batch["noisy"].shape == (2, 8000)
        for row, draw in zip(batch["noisy"], draws, strict=True):
            np.testing.assert_array_equal(row, mixtures[draw]["noisy"])


def test_pairs_are_finite_and_fit_full_scale(corpus):
    for noisy, clean in pairs(corpus, MixingConfig(seconds=1.0), count=60):
        assert noisy.shape == clean.shape == (16_000,)
        assert noisy.dtype == clean.dtype == np.float32
        assert np.isfinite(noisy).all()
        assert np.abs(noisy).max() <= 0.9901


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_the_ratio_is_the_one_asked_for(corpus, snr):
    config = replace(PLAIN, snr_db=(snr, snr), level_db=(-50.0, -50.0))
    for noisy, clean in pairs(corpus, config):
        assert snr_db(clean, noisy - clean) == pytest.approx(snr, abs=0.05)
        assert active_level_db(clean) == pytest.approx(-50, abs=0.05)


def test_too_loud_pairs_are_turned_down_together(corpus):
    config = replace(PLAIN, snr_db=(-5.0, -5.0), level_db=(-5.0, -5.0))
    for noisy, clean in pairs(corpus, config):
        assert np.abs(noisy).max() == pytest.approx(0.99, abs=1e-3)
        assert snr_db(clean, noisy - clean) == pytest.approx(-5, abs=0.05)


def test_clean_items_are_left_as_they_are(corpus):
    config = replace(PLAIN, clean_share=1.0, clipped_share=1.0, reverberant_share=1.0)
    for noisy, clean in pairs(corpus, config):
        np.testing.assert_array_equal(noisy, clean)
        assert clean.any()


def test_noise_alone_has_a_silent_target(corpus):
    config = replace(PLAIN, noise_only_share=1.0, level_db=(-20.0, -20.0), snr_db=(10.0, 10.0))
    for noisy, clean in pairs(corpus, config):
        assert not clean.any()
        assert 10 * np.log10(np.mean(noisy.astype(np.float64) ** 2)) == pytest.approx(-30, abs=0.1)


def test_clipping_touches_only_the_noisy_side(corpus):
    plain = pairs(corpus, PLAIN)
    clipped = pairs(corpus, replace(PLAIN, clipped_share=1.0))
    for (noisy, clean), (clipped_noisy, clipped_clean) in zip(plain, clipped, strict=True):
        np.testing.assert_array_equal(clean, clipped_clean)
        assert np.abs(clipped_noisy).max() < 0.81 * np.abs(noisy).max()


def test_a_room_is_in_the_input_and_its_early_part_in_the_target(corpus):
    config = replace(PLAIN, reverberant_share=1.0, snr_db=(60.0, 60.0))
    late = [
        np.mean((noisy - clean) ** 2) / np.mean(clean**2) for noisy, clean in pairs(corpus, config)
    ]
    assert np.median(late) > 0.01


def test_band_limiting_takes_the_top_off_both(make_tone):
    rng = np.random.default_rng(0)
    audio = make_tone(1000, 1) + make_tone(7950, 1)
    noisy, clean = limit_band(rng, audio, 0.5 * audio)
    np.testing.assert_allclose(0.5 * noisy, clean, atol=1e-6)
    np.testing.assert_allclose(noisy[2000:-2000], make_tone(1000, 1)[2000:-2000], atol=5e-3)


def test_headroom_is_left_alone_where_there_is_some():
    noisy, clean = np.array([0.5, -0.9], np.float32), np.array([0.1, 0.2], np.float32)
    assert keep_headroom(noisy, clean) == (noisy, clean)


def test_babble_is_of_the_split_and_not_of_the_speaker(corpus):
    config = replace(PLAIN, babble_share=1.0, computed_share=0.0, snr_db=(0.0, 0.0))
    mixtures = Mixtures(corpus, config, "test")
    for index in range(5):
        noisy, _ = mixtures.mix(Draw(0, index).generator(0))
        power = np.abs(np.fft.rfft(noisy)) ** 2
        tones = {hertz: power[hertz * 2 - 20 :][:40].sum() for hertz in (300, 500, 700, 900)}
        assert min(tones[700], tones[900]) > 30 * max(tones[300], tones[500])


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0.0},
        {"items": 0},
        {"noise_only_share": 0.6, "clean_share": 0.6},
        {"computed_share": 0.9, "babble_share": 0.2},
    ],
)
def test_a_config_that_cannot_be_is_refused(wrong):
    with pytest.raises(RecurraError, match="must"):
        MixingConfig(**wrong)


def test_other_speeds_and_responses_make_other_speech_of_the_same_voice(corpus):
    plain, *_ = (clean for _, clean in pairs(corpus, PLAIN))
    for change in ({"speed_share": 1.0}, {"equalised_share": 1.0}):
        changed, *_ = (clean for _, clean in pairs(corpus, replace(PLAIN, **change)))
        assert np.abs(changed - plain).max() > 0.01 * np.abs(plain).max()
