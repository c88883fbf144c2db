"""A picture of a recording before and after it was cleaned."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from recurra.core.errors import RecurraError, import_extra
from recurra.core.files import replaced_file

_RANGE_DB = 80.0
_ENDINGS = (".png", ".svg", ".pdf", ".jpg")
_TEXT = "#222222"


def plot_before_after(
    noisy: np.ndarray,
    enhanced: np.ndarray,
    sample_rate: int,
    path: str | Path,
    *,
    waveform: bool = False,
    titles: tuple[str, str] = ("Noisy", "Enhanced"),
) -> Path:
    """Draw two spectrograms above each other, on one scale of time, frequency and level.

    Levels are in dB below the loudest point of the noisy recording, down to -80.

    Args:
        noisy: (T,) or (C, T); channels are averaged.
        enhanced: in the shape of `noisy`.
        sample_rate: of both, in Hz.
        path: of the picture, .png, .svg, .pdf or .jpg; what is there is replaced.
        waveform: draw the waveform above each spectrogram.
        titles: of the two panels.

    Returns:
        `path`.

    Raises:
        RecurraError: nothing to draw, lengths that differ, or an ending that cannot be written.
        MissingExtraError: matplotlib or librosa is not installed.
    """
    pair, path = [_mono(noisy), _mono(enhanced)], Path(path)
    _check(pair, path)
    figures = import_extra("matplotlib.figure", extra="plot", package="recurra-speech")
    agg = import_extra("matplotlib.backends.backend_agg", extra="plot", package="recurra-speech")
    librosa = import_extra("librosa", extra="plot", package="recurra-speech")
    display = import_extra("librosa.display", extra="plot", package="recurra-speech")

    # A figure with a canvas of its own: nothing in pyplot's global state, no display needed.
    figure = figures.Figure(figsize=(9, 6.2 if waveform else 4.8), dpi=130, layout="constrained")
    agg.FigureCanvasAgg(figure)
    heights = [1, 3, 1, 3] if waveform else [1, 1]
    axes = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    spectrograms = axes[1::2] if waveform else axes
    if waveform:
        _draw_waveforms(axes[::2], pair, sample_rate, titles)
    levels = _levels(librosa, pair, sample_rate)
    for axis, level, title in zip(spectrograms, levels, titles, strict=True):
        image = _draw_spectrogram(display, axis, level, sample_rate)
        if not waveform:
            axis.set_title(title, loc="left", fontsize=11, color=_TEXT)
    _label_time(axes, len(pair[0]) / sample_rate)
    bar = figure.colorbar(image, ax=axes, pad=0.015, aspect=35)
    bar.set_label("level, dB re the loudest point", color=_TEXT)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=_TEXT, labelsize=9)
    return _save(figure, path)


def _check(pair: list[np.ndarray], path: Path) -> None:
    if path.suffix.lower() not in _ENDINGS:
        raise RecurraError(f"{path}: a picture ends in {', '.join(_ENDINGS)}")
    if pair[0].shape != pair[1].shape:
        raise RecurraError(
            f"the recordings differ in length: {len(pair[0])} and {len(pair[1])} samples"
        )
    if not len(pair[0]):
        raise RecurraError("there are no samples to draw")


def _mono(audio: np.ndarray) -> np.ndarray:
    audio = np.asarray(audio, dtype=np.float32)
    if audio.ndim not in (1, 2):
        raise RecurraError(f"a recording is (T,) or (C, T), not {audio.shape}")
    return audio if audio.ndim == 1 else audio.mean(axis=0)


def _hop(sample_rate: int) -> int:
    return max(1, round(0.008 * sample_rate))


def _levels(librosa: ModuleType, pair: list[np.ndarray], sample_rate: int) -> list[np.ndarray]:
    """Spectrograms in dB re the loudest point of the first recording, each (F, T)."""
    hop = _hop(sample_rate)
    size = 2 ** int(np.ceil(np.log2(4 * hop)))
    magnitudes = [np.abs(librosa.stft(x, n_fft=size, hop_length=hop)) for x in pair]
    loudest = max(float(magnitudes[0].max()), 1e-10)
    floor = loudest * 10 ** (-_RANGE_DB / 20)
    return [20 * np.log10(np.maximum(m, floor) / loudest) for m in magnitudes]


def _draw_spectrogram(display: ModuleType, axis: Any, level: np.ndarray, sample_rate: int) -> Any:
    image = display.specshow(
        level,
        sr=sample_rate,
        hop_length=_hop(sample_rate),
        n_fft=2 * (level.shape[0] - 1),
        x_axis="time",
        y_axis="linear",
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0,
        ax=axis,
        rasterized=True,
    )
    axis.yaxis.set_major_formatter(lambda hertz, _: f"{hertz / 1000:g}")
    axis.set_ylabel("kHz", color=_TEXT)
    axis.set_xlabel("")
    return image


def _draw_waveforms(
    axes: list[Any], pair: list[np.ndarray], sample_rate: int, titles: tuple[str, str]
) -> None:
    peak = max(float(np.abs(pair[0]).max()), float(np.abs(pair[1]).max()), 1e-6)
    seconds = np.arange(len(pair[0])) / sample_rate
    for axis, audio, title in zip(axes, pair, titles, strict=True):
        axis.plot(seconds, audio, linewidth=0.4, color="#51127c", rasterized=True)
        axis.set_ylim(-1.05 * peak, 1.05 * peak)
        axis.set_yticks([])
        axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
        axis.set_title(title, loc="left", fontsize=11, color=_TEXT)
        axis.tick_params(bottom=False)


def _label_time(axes: list[Any], seconds: float) -> None:
    for axis in axes:
        axis.set_xlim(0, seconds)
        axis.tick_params(colors=_TEXT, labelsize=9)
        axis.xaxis.set_major_formatter(lambda second, _: f"{second:g}")
        axis.label_outer()
    axes[-1].set_xlabel("time, s", color=_TEXT)


def _save(figure: Any, path: Path) -> Path:
    with replaced_file(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), facecolor="white")
    return path
