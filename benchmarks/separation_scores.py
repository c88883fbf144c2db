"""How well a separator takes two voices apart: voices that training heard, and others.

    uv run python benchmarks/separation_scores.py sounds/ --model mossformer2-small

Mixtures of 4 s are drawn from a seed that training does not use, no two voices alike, at their own
speed. "Seen" are voices of the training split, "unseen" those of the test split, of which training
heard nothing. Pairs of one sex and mixed pairs are told apart by the manifest where it knows, else
by the median pitch of the voice (pyin) below or above 165 Hz. The improvement is that of SI-SDR
over the mixture, of each voice in the best order. A mixture counts as one with an inactive voice
where `separate` would name one: more than 30 dB under it. The rest is what the sum of what was
found leaves of the mixture, its median in dB to it. Mixtures of 3 minutes of unseen voices then
show how often the voices change places: pieces of 5 s in which the order that fits better, by at
least 3 dB, is another than in the last such piece.
"""

import argparse
import itertools
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import librosa
import numpy as np
import torch

from recurra.core.bootstrap import bootstrap_mean
from recurra.core.cli import print_table
from recurra.core.training import Draw
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.filtering import SAMPLE_RATE
from recurra.speech.data.manifest import Split, load_manifest
from recurra.speech.data.sources import SpeechSource
from recurra.speech.data.speaker_mixing import SpeakerMixingConfig, SpeakerMixtures
from recurra.speech.metrics import NOTHING_FOUND_DB, Skipped, si_sdr
from recurra.speech.separator import Separator

CONFIG = SpeakerMixingConfig(seed=2026, seconds=4.0).as_recorded()
SPLITS: dict[str, Split] = {"seen": "train", "unseen": "test"}
PITCH_HZ = 165.0  # between men's and women's voices
PIECE = 5 * SAMPLE_RATE
INACTIVE_DB = -30.0  # as `separate_files` has it
CLEAR_DB = 3.0  # a piece whose orders are nearer to each other says nothing


def main() -> None:
    """Print the table of short mixtures, then how often voices change places in long ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="what `recurra-speech data fetch` made")
    parser.add_argument("--model", default="mossformer2-small")
    parser.add_argument("--mixtures", type=int, default=200, help="of seen and of unseen voices")
    parser.add_argument("--long", type=int, default=10, help="mixtures of 3 minutes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    corpus, separator = Corpus(args.corpus), Separator.from_pretrained(args.model, speakers=2)
    rows = []
    for heard, split in SPLITS.items():
        voices = len(SpeechSource(corpus, split).voices)
        found = scores(corpus, split, separator, args.mixtures)
        for pair in ("one sex", "mixed", "all"):
            of_pair = [score for score in found if pair in (score.pair, "all")]
            if of_pair:
                mean = bootstrap_mean([score.gain for score in of_pair])
                interval = f"{mean.mean:.2f}"
                if mean.low is not None:  # of one mixture there is none
                    interval += f" [{mean.low:.2f}, {mean.high:.2f}]"
                inactive = sum(score.inactive for score in of_pair)
                rest = f"{np.median([score.rest for score in of_pair]):.1f}"
                rows.append((heard, voices, pair, len(of_pair), interval, inactive, rest))
    columns = ["voices", "in the split", "pairs", "mixtures", "SI-SDR improvement, dB"]
    print_table(rows, [*columns, "with an inactive voice", "rest, dB"])
    if args.long:
        swaps, pieces = changes_of_places(corpus, separator, args.long)
        print(f"{args.long} mixtures of 3 minutes: {swaps} changes of places in {pieces} pieces")


@dataclass(frozen=True)
class Score:
    """Of one mixture: the kind of its pair, and what the page's columns are made of, in dB."""

    pair: str
    gain: float
    inactive: bool
    rest: float


def scores(corpus: Corpus, split: Split, separator: Separator, items: int) -> list[Score]:
    """Take mixtures apart and score each."""
    mixtures = SpeakerMixtures(corpus, replace(CONFIG, items=items), split)
    found_scores = []
    for index in range(items):
        made = mixtures.mix(Draw(0, index).generator(CONFIG.seed))
        before = np.mean([decibels(voice, made.mixture) for voice in made.voices])
        found = separator(made.mixture, SAMPLE_RATE)
        after = max(fits(made.voices, found).values())
        sexes = {sex(corpus, split, name) for name in made.names}
        pair = "mixed" if len(sexes) == 2 else "one sex"
        inactive = any(level(voice, made.mixture) < INACTIVE_DB for voice in found)
        rest = level(made.mixture - found.sum(axis=0), made.mixture)
        found_scores.append(Score(pair, float(after - before), inactive, rest))
    return found_scores


def level(audio: np.ndarray, mixture: np.ndarray) -> float:
    """Return the level of audio (n,) against the mixture (n,) in dB."""
    return 10 * float(np.log10(max(np.square(audio).sum(), 1e-30) / np.square(mixture).sum()))


def fits(voices: np.ndarray, found: np.ndarray) -> dict[tuple[int, ...], float]:
    """Return the mean SI-SDR of voices (S, n) and what was found (S, n) in dB, by order."""
    table = [[decibels(voice, estimate) for estimate in found] for voice in voices]
    orders = itertools.permutations(range(len(voices)))
    return {
        order: float(np.mean([row[j] for row, j in zip(table, order, strict=True)]))
        for order in orders
    }


def decibels(voice: np.ndarray, estimate: np.ndarray) -> float:
    """Return the SI-SDR; a voice that was not found, silence, is 30 dB below."""
    score = si_sdr(voice, estimate)
    return NOTHING_FOUND_DB if isinstance(score, Skipped) else float(score)


def changes_of_places(corpus: Corpus, separator: Separator, items: int) -> tuple[int, int]:
    """Return how often voices change places in long mixtures, and in how many clear pieces."""
    mixtures = SpeakerMixtures(corpus, replace(CONFIG, seconds=180.0, items=items), "test")
    swaps, pieces = 0, 0
    for index in range(items):
        made = mixtures.mix(Draw(1, index).generator(CONFIG.seed))
        found = separator(made.mixture, SAMPLE_RATE)
        orders = []
        for start in range(0, made.mixture.shape[0], PIECE):
            part = slice(start, start + PIECE)
            if (np.abs(made.voices[:, part]).max(axis=1) < 1e-3).any():
                continue
            scores = fits(made.voices[:, part], found[:, part])
            if max(scores.values()) - min(scores.values()) >= CLEAR_DB:
                orders.append(max(scores, key=scores.__getitem__))
        swaps += sum(a != b for a, b in itertools.pairwise(orders))
        pieces += len(orders)
    return swaps, pieces


@cache
def sex(corpus: Corpus, split: Split, name: str) -> str:
    """Return "f" or "m": by the manifest, else by the pitch of half a minute of the voice."""
    known = load_manifest().voices[name].sex
    if known:
        return known
    drawn = SpeechSource(corpus, split).draw(np.random.default_rng(0), 30 * SAMPLE_RATE, voice=name)
    pitch, voiced, _ = librosa.pyin(drawn.audio, fmin=60, fmax=400, sr=SAMPLE_RATE)
    return "f" if np.median(pitch[voiced]) > PITCH_HZ else "m"


if __name__ == "__main__":
    main()
