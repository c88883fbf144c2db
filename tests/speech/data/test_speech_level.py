import numpy as np
import pytest

from recurra.speech.data.speech_level import active_level_db, active_power, gain_to, power_db
from recurra.speech.data.trimming import fade, level_speech, limit_peak, trim


def test_pauses_do_not_count(make_tone):
    # 0.3^2 / 2 = -13.47 dB
    speech = make_tone(500, 1.024, amplitude=0.3)
    assert active_level_db(speech) == pytest.approx(-13.47, abs=0.01)
    paused = np.concatenate([speech, np.zeros(512 * 60, np.float32)])
    assert active_level_db(paused) == pytest.approx(-13.47, abs=0.01)


def test_silence_is_minus_120_db_and_keeps_its_level():
    silence = np.zeros(1000, np.float32)
    assert active_level_db(silence) == -120
    assert active_power(np.zeros(0, np.float32)) == 0
    assert gain_to(0.0, -20.0) == 1.0
    assert power_db(0.01) == pytest.approx(-20)


def test_a_gain_brings_a_power_to_a_level():
    assert gain_to(0.01, -40.0) == pytest.approx(0.1)


def test_trimming_keeps_the_sound_and_a_margin(make_tone):
    word = make_tone(440, 0.5)
    silence = np.zeros(8000, np.float32)
    cut = trim(np.concatenate([silence, word, silence]), below_peak_db=40)
    assert len(cut) == 8000 + 2 * 480  # 30 ms on both sides
    np.testing.assert_array_equal(cut[480:-480], word)


def test_a_threshold_decides_what_is_silence(make_tone):
    loud, faint = make_tone(440, 0.5), make_tone(440, 0.5, amplitude=0.3 * 10 ** (-50 / 20))
    audio = np.concatenate([loud, faint])
    assert len(trim(audio, below_peak_db=40)) == 8000 + 480
    assert len(trim(audio, below_peak_db=60)) == 16_000


def test_silence_is_trimmed_to_nothing():
    assert len(trim(np.zeros(5000, np.float32), below_peak_db=40)) == 0
    assert len(trim(np.ones(10, np.float32), below_peak_db=40)) == 0


def test_fades_start_and_end_at_zero():
    faded = fade(np.ones(1000, np.float32), 80)
    assert faded[0] == faded[-1] == 0
    np.testing.assert_array_equal(faded[80:-80], 1)
    # Two fades laid over each other add up to one, so that a loop has no seam.
    np.testing.assert_allclose(faded[:80] + faded[-80:], 1 - 1 / 80, atol=1e-6)


def test_speech_is_set_to_one_level(make_tone):
    assert active_level_db(level_speech(make_tone(440, 1))) == pytest.approx(-26, abs=0.01)


def test_speech_with_high_peaks_stays_below_full_scale(make_tone):
    speech = make_tone(440, 1, amplitude=0.01)
    speech[500] = 0.9
    assert np.abs(level_speech(speech)).max() <= 0.9801


def test_only_what_does_not_fit_is_scaled_down():
    np.testing.assert_allclose(limit_peak(np.array([2.0, -1.0], np.float32)), [0.98, -0.49])
    quiet = np.array([0.5, -0.1], np.float32)
    assert limit_peak(quiet) is quiet
