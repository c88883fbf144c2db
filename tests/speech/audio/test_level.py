"""Levels against numbers from hand."""

import numpy as np
import pytest

from recurra.speech.audio import active_level_db
from recurra.speech.audio.level import active_power, gain_to, power_db


def tone(seconds, sample_rate=16000, amplitude=0.3):
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    return (amplitude * np.sin(2 * np.pi * 500 * t)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_pauses_do_not_count(rate):
    # 0.3^2 / 2 = -13.47 dB
    speech = tone(1.024, rate)  # 32 whole frames
    assert active_level_db(speech, rate) == pytest.approx(-13.47, abs=0.01)
    paused = np.concatenate([speech, np.zeros(2 * rate, np.float32)])
    assert active_level_db(paused, rate) == pytest.approx(-13.47, abs=0.01)


def test_the_gate_lies_30_db_below_the_loudest_frame():
    loud, faint, fainter = tone(1.024), tone(1.024) * 10 ** (-29 / 20), tone(1.024) * 10**-1.55
    alone = active_power(loud)
    assert active_power(np.concatenate([loud, faint])) == pytest.approx(alone / 2, rel=2e-3)
    assert active_power(np.concatenate([loud, fainter])) == pytest.approx(alone, rel=1e-6)


def test_silence_is_minus_120_db_and_keeps_its_level():
    silence = np.zeros(1000, np.float32)
    assert active_level_db(silence) == -120
    assert active_power(np.zeros(0, np.float32)) == 0
    assert gain_to(0.0, -20.0) == 1.0
    assert power_db(0.01) == pytest.approx(-20)


def test_a_gain_brings_a_power_to_a_level():
    assert gain_to(0.01, -40.0) == pytest.approx(0.1)
