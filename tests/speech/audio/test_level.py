"""Levels against numbers from hand."""

import numpy as np
import pytest

from recurra.speech.audio import active_level_db, active_mask, gain_for, peak_db, rms_db

TONE = np.sin(2 * np.pi * 100 * np.arange(16000) / 16000)


def test_a_full_scale_sine_is_three_decibels_below_full_scale():
    assert rms_db(TONE) == pytest.approx(-3.0103, abs=1e-3)
    assert peak_db(TONE) == pytest.approx(0.0, abs=1e-3)


def test_silence_and_nothing_are_infinitely_low():
    for audio in (np.zeros(1000), np.zeros((2, 0))):
        assert rms_db(audio) == peak_db(audio) == active_level_db(audio, 16000) == -np.inf


def test_pauses_do_not_change_the_active_level():
    paused = np.concatenate([TONE, np.zeros(48000), TONE])
    assert active_level_db(paused, 16000) == pytest.approx(-3.0103, abs=1e-3)
    assert rms_db(paused) == pytest.approx(-3.0103 - 10 * np.log10(5 / 2), abs=1e-3)
    assert active_mask(paused, 16000).sum() == 100


def test_the_gate_lies_where_it_is_said():
    quiet = np.concatenate([TONE, TONE * gain_for(-39), TONE * gain_for(-41)])
    assert active_mask(quiet, 16000, 40.0).reshape(3, 50).all(axis=1).tolist() == [
        True,
        True,
        False,
    ]


def test_gain_is_on_samples():
    assert gain_for(20) == pytest.approx(10)
    assert rms_db(TONE * gain_for(-6)) == pytest.approx(rms_db(TONE) - 6)
