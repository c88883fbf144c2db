"""Two voices mixed and taken apart again, scored and drawn.

    uv run python demos/separate_two_voices.py

The clips are those of `examples/` (licences: examples/ATTRIBUTION.md), mixed at equal power: a deep
voice and a high one, which training heard nothing of. Prints how much nearer each came (SI-SDR,
best order of the voices) and draws separate_two_voices.png. `--model` takes another separator.
"""

import argparse
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from recurra.core.cli import print_table
from recurra.core.errors import RecurraError, import_extra
from recurra.speech.audio import read_audio
from recurra.speech.metrics import si_sdr
from recurra.speech.separator import DEFAULT_MODEL, Separator

EXAMPLES = Path(__file__).parents[1] / "examples"
VOICES = {"English": "reader.wav", "French": "second-voice.wav"}


def main() -> None:
    """Mix, separate, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped, a folder or a Hub id")
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".png"))
    args = parser.parse_args()
    try:
        figures = import_extra("matplotlib.figure", extra="plot", package="recurra-speech")
        separator = Separator.from_pretrained(args.model, speakers=len(VOICES))
    except RecurraError as error:
        parser.error(str(error))
    clips, rates = zip(*(read_audio(EXAMPLES / name) for name in VOICES.values()), strict=True)
    voices = np.concatenate(clips)  # (2, n)
    voices = 0.05 * voices / np.sqrt(np.mean(voices**2, axis=1, keepdims=True))
    mixture = voices.sum(axis=0)
    found = best_order(voices, separator(mixture, rates[0]))
    before, after = scores(voices, [mixture, mixture]), scores(voices, found)
    rows = [(n, b, a, a - b) for n, b, a in zip(VOICES, before, after, strict=True)]
    print_table(rows, ["voice", "SI-SDR mixed, dB", "separated, dB", "improvement, dB"])
    figure = figures.Figure(figsize=(9, 7), layout="constrained")
    draw(figure, [mixture, voices[0], found[0], voices[1], found[1]], rates[0])
    figure.savefig(args.picture, metadata={"Software": None})
    print(f"wrote {args.picture}")


def best_order(voices: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Put what was found (S, n) in the order that fits the voices (S, n) best."""
    orders = [found[list(order)] for order in permutations(range(len(voices)))]
    return max(orders, key=lambda order: np.nansum(scores(voices, order)))


def scores(voices: np.ndarray, found: Any) -> list[float]:
    """Return the SI-SDR of each voice in dB; NaN where there is none, as of silence."""
    pairs = zip(voices, found, strict=True)
    all_scores = [si_sdr(voice, part) for voice, part in pairs]
    return [score if isinstance(score, float) else float("nan") for score in all_scores]


def draw(figure: Any, sounds: list[np.ndarray], rate: int) -> None:
    """Draw spectrograms: the mixture, then each voice beside what was found of it."""
    panels = figure.subplot_mosaic([[0, 0], [1, 2], [3, 4]], sharex=True, sharey=True)
    pairs = [title for name in VOICES for title in (f"{name} voice", "as separated")]
    floor = 1e-5 * np.random.default_rng(0).standard_normal(len(sounds[0]))  # silence has no dB
    for place, (title, sound) in enumerate(zip(["mixture", *pairs], sounds, strict=True)):
        panels[place].specgram(sound + floor, NFFT=512, Fs=rate, noverlap=384, vmin=-120, vmax=-40)
        panels[place].set_title(title, loc="left")
    figure.supxlabel("seconds")
    figure.supylabel("Hz")


if __name__ == "__main__":
    main()
