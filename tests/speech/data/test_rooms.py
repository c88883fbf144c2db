import numpy as np
import pytest

from recurra.speech.data.rooms import RoomConfig, draw_room, reverberate

RATE = 16_000


@pytest.mark.parametrize("seed", range(10))
def test_the_direct_sound_comes_first_and_is_one(seed):
    room = draw_room(np.random.default_rng(seed), RoomConfig())
    assert room.dtype == np.float32
    assert room[0] == 1
    assert np.isfinite(room).all()
    assert np.abs(room[1:]).max() < 1.5


@pytest.mark.parametrize("decay", [0.2, 0.4, 0.7])
def test_the_tail_decays_by_60_db_in_the_time_asked(decay):
    config = RoomConfig(decay_seconds=(decay, decay))
    slopes = []
    for seed in range(10):
        room = draw_room(np.random.default_rng(seed), config).astype(np.float64)
        left = 10 * np.log10(np.cumsum(room[::-1] ** 2)[::-1])  # Schroeder's integral
        start, stop = int(0.06 * RATE), int(min(0.06 + decay / 2, 0.35) * RATE)
        slopes.append((left[start] - left[stop]) / ((stop - start) / RATE))
    assert np.median(slopes) == pytest.approx(60 / decay, rel=0.2)


def test_a_room_that_is_only_an_echo_does_what_hand_says():
    speech = np.zeros(4000, np.float32)
    speech[[0, 1000]] = 1.0, -0.5
    room = np.zeros(1000, np.float32)
    room[[0, 799, 900]] = 1.0, 0.5, 0.25  # 799 samples is within 50 ms, 900 is not
    heard, target = reverberate(speech, room)
    expected = np.zeros(4000, np.float32)
    expected[[0, 799, 1000, 1799]] = 1.0, 0.5, -0.5, -0.25
    np.testing.assert_allclose(target, expected, atol=1e-6)
    expected[[900, 1900]] = 0.25, -0.125
    np.testing.assert_allclose(heard, expected, atol=1e-6)


def test_the_target_stays_aligned_with_the_dry_speech():
    rng = np.random.default_rng(3)
    speech = rng.standard_normal(RATE).astype(np.float32)
    _, target = reverberate(speech, draw_room(rng, RoomConfig(distance_metres=(0.3, 0.5))))
    lags = np.arange(-20, 21)
    match = [np.dot(speech[100:-100], target[100 + lag : lag - 100 or None]) for lag in lags]
    assert lags[np.argmax(match)] == 0


def test_farther_speakers_reverberate_more():
    def reverberation(metres: float) -> float:
        config = RoomConfig(distance_metres=(metres, metres), decay_seconds=(0.4, 0.4))
        rooms = [draw_room(np.random.default_rng(seed), config) for seed in range(20)]
        return float(np.median([np.sum(room[1:] ** 2) for room in rooms]))

    assert reverberation(2.0) > 3 * reverberation(0.4)
