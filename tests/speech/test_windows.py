import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.speech.windows import run_windows


def noise(channels, length):
    return np.random.default_rng(0).standard_normal((channels, length)).astype(np.float32)


def join(pieces, channels=1):
    return np.concatenate([np.zeros((channels, 0), np.float32), *pieces], axis=1)


@settings(deadline=None, max_examples=60)
@given(
    length=st.integers(0, 500),
    block=st.integers(1, 120),
    overlap=st.integers(0, 20),
    jobs=st.integers(1, 3),
)
def test_an_identity_gives_back_every_sample(length, block, overlap, jobs):
    x = noise(2, length)
    blocks = [x[:, i : i + block] for i in range(0, length, block)]
    y = join(run_windows(blocks, lambda w: w, window=50, overlap=overlap, jobs=jobs), 2)
    np.testing.assert_allclose(y, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("windows", [0, 1, 2, 3])
@pytest.mark.parametrize("extra", [-2, -1, 0, 1, 2])
def test_every_length_around_whole_windows(windows, extra):
    length = 50 + windows * 40 + extra
    x = noise(1, length)
    y = join(run_windows([x], lambda w: w, window=50, overlap=10))
    np.testing.assert_allclose(y, x, rtol=0, atol=1e-6)


def test_a_stream_that_fits_one_window_is_run_whole():
    seen = []
    list(
        run_windows(
            [noise(1, 30), noise(1, 20)], lambda w: seen.append(w.shape) or w, window=50, overlap=10
        )
    )
    assert seen == [(1, 1, 50)]


def test_windows_do_not_depend_on_blocks_or_jobs():
    x = noise(1, 333)

    def scaled_by_own_peak(window):
        return window / np.abs(window).max()

    def run(size, jobs):
        blocks = [x[:, i : i + size] for i in range(0, 333, size)]
        return join(run_windows(blocks, scaled_by_own_peak, window=60, overlap=20, jobs=jobs))

    assert np.array_equal(run(333, 1), run(7, 1))
    assert np.array_equal(run(333, 1), run(50, 3))


def test_windows_of_one_length_come_in_batches():
    x = noise(2, 333)
    shapes = []

    def doubled(windows):
        shapes.append(windows.shape)
        return 2 * windows

    y = join(run_windows([x], doubled, window=60, overlap=20, batch=3), 2)
    np.testing.assert_allclose(y, 2 * x, rtol=0, atol=1e-6)
    # Windows start every 40 samples; the last is short and so alone.
    assert shapes == [(3, 2, 60), (3, 2, 60), (1, 2, 60), (1, 2, 53)]


def test_the_join_is_a_straight_cross_fade():
    count = iter(range(9))
    y = join(
        run_windows(
            [np.zeros((1, 90), np.float32)],
            lambda w: np.full_like(w, next(count)),
            window=50,
            overlap=8,
        )
    )
    # Of the overlap's 8 samples, 3 at each end belong to one window alone.
    np.testing.assert_allclose(y[0, 42:50], [0, 0, 0, 0.25, 0.75, 1, 1, 1])


def test_an_overlap_of_half_a_window_is_refused():
    with pytest.raises(ValueError, match="overlap of 25"):
        list(run_windows([noise(1, 10)], lambda w: w, window=50, overlap=25))
