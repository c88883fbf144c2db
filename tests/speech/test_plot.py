import numpy as np
import pytest

from recurra.core.errors import RecurraError
from recurra.speech.plot import plot_before_after

RATE = 8000


def recording():
    """A tone of one second in noise, and the tone alone."""
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    noise = np.random.default_rng(0).normal(0, 0.05, RATE)
    return (tone + noise).astype(np.float32), tone.astype(np.float32)


@pytest.mark.parametrize("waveform", [False, True])
def test_a_picture_is_written_whole_and_dark_where_noise_was_taken_out(tmp_path, waveform):
    from matplotlib.image import imread

    noisy, clean = recording()
    path = plot_before_after(noisy, clean, RATE, tmp_path / "a.png", waveform=waveform)
    pixels = imread(path)[..., :3]
    height, width = pixels.shape[:2]
    assert width == 1170
    assert 600 < height < 900
    middle = pixels[:, width // 3 : width // 2].mean(axis=(1, 2))
    upper, lower = middle[: height // 2], middle[height // 2 :]
    assert (lower < 0.02).sum() > 100 > (upper < 0.02).sum() + 90
    assert list(tmp_path.iterdir()) == [path]


def test_stereo_and_silence_can_be_drawn(tmp_path):
    silence = np.zeros((2, RATE), np.float32)
    assert plot_before_after(silence, silence, RATE, tmp_path / "a.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("noisy", "enhanced", "name", "message"),
    [
        (np.zeros(100), np.zeros(99), "a.png", "100 and 99"),
        (np.zeros(0), np.zeros(0), "a.png", "no samples"),
        (np.zeros(900), np.zeros(900), "a.wav", "png"),
        (np.zeros(900), np.zeros(900), "none/a.png", "the folder .*none does not exist"),
        (np.zeros((1, 1, 9)), np.zeros(9), "a.png", r"\(1, 1, 9\)"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(tmp_path, noisy, enhanced, name, message):
    with pytest.raises(RecurraError, match=message):
        plot_before_after(noisy, enhanced, RATE, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_pyplot_knows_nothing_of_the_picture(tmp_path):
    import matplotlib.pyplot

    x = np.ones(4000, np.float32)
    plot_before_after(x, x, RATE, tmp_path / "a.png")
    assert matplotlib.pyplot.get_fignums() == []
