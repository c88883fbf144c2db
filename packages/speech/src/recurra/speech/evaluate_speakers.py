"""Score separated voices against the true ones, in the best order of each recording."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recurra.core.bootstrap import MeanInterval, bootstrap_mean
from recurra.core.errors import RecurraError
from recurra.speech.audio.format import SPEAKER_MARK, is_media_name
from recurra.speech.audio.read import read_audio
from recurra.speech.audio.resample import resample
from recurra.speech.evaluate import choose_metrics, note_length, read_noting
from recurra.speech.matching import Unscored
from recurra.speech.metrics import NOTHING_FOUND_DB, Skipped, measure, si_sdr

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class SpeakerScore:
    """What one true voice came out as.

    Attributes:
        name: of the recording.
        reference, estimate: the true voice, and the one that it is matched with.
        si_sdr: in dB; `NOTHING_FOUND_DB` where the estimate is silent.
        si_sdri: what that is above the SI-SDR of the mixture; None where no mixtures are given.
        further: value by each further metric that was asked for.
        skipped: reason by further metric that gave no value.
        silent: the estimate is silent, or holds nothing at all of the true voice.
        notes: what a reader should know: lengths or rates that differ, damaged files.
    """

    name: str
    reference: Path
    estimate: Path
    si_sdr: float
    si_sdri: float | None
    further: dict[str, float]
    skipped: dict[str, str]
    silent: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SpeakersEvaluation:
    """What two folders gave.

    Attributes:
        scores: one for each true voice, by the order of the names of the recordings.
        unscored: recordings that could not be scored, and why.
        means: of "si_sdr", with mixtures "si_sdri", and further metrics, over the voices that have
            a score in it, with 95 % bootstrap intervals; by SI-SDR silent estimates count.
    """

    scores: tuple[SpeakerScore, ...]
    unscored: tuple[Unscored, ...]
    means: dict[str, MeanInterval]

    @property
    def silent(self) -> int:
        """How many estimates are silent."""
        return sum(score.silent for score in self.scores)


def evaluate_speakers(
    references: Path,
    estimates: Path,
    mixtures: Path | None = None,
    metrics: Sequence[str] = ("si_sdr",),
    on_recording: Callable[[], object] = lambda: None,
) -> SpeakersEvaluation:
    """Score every recording whose voices are NAME.speaker1.EXT, NAME.speaker2.EXT, ... in both.

    Voices are matched so that the sum of their SI-SDR is highest. All is compared from the first
    sample on, at the rate of the true voices, over what all files have; channels are mixed. A
    silent estimate is matched and counted as one of `NOTHING_FOUND_DB`.

    Args:
        references: folder of true voices, searched with its folders.
        estimates: folder of separated ones.
        mixtures: folder of NAME.EXT, what was separated.
        metrics: of `metrics.METRICS`, to score the matched voices by; SI-SDR, which matches them,
            is always there.
        on_recording: called after each recording.

    Raises:
        MissingExtraError: a metric needs a library that is not installed.
        RecurraError: one of them is no folder, `references` holds no voices, or a metric is
            unknown.
    """
    further = [name for name in choose_metrics(metrics)[0] if name != "si_sdr"]
    for folder in (references, estimates, *(() if mixtures is None else (mixtures,))):
        if not folder.is_dir():
            raise RecurraError(f"{folder}: is not a folder")
    voices, found = _by_recording(references), _by_recording(estimates)
    if not voices:
        raise RecurraError(f"{references}: holds no voices (NAME{SPEAKER_MARK}1.wav, ...)")
    mixed = {} if mixtures is None else _by_name(mixtures)
    scores: list[SpeakerScore] = []
    unscored: list[Unscored] = []
    for name, paths in voices.items():
        try:
            if len(found.get(name, ())) != len(paths):
                raise RecurraError(
                    f"has {len(paths)} true voices and {len(found.get(name, ()))} estimates"
                )
            if mixtures is not None and name not in mixed:
                raise RecurraError(f"has no mixture in {mixtures}")
            scores += _score(name, paths, found[name], mixed.get(name), further)
        except (RecurraError, OSError) as error:
            unscored.append(Unscored(Path(name), str(error)))
        on_recording()
    columns = {
        "si_sdr": [score.si_sdr for score in scores],
        "si_sdri": [score.si_sdri for score in scores if score.si_sdri is not None],
    }
    for score in scores:
        for metric, value in score.further.items():
            columns.setdefault(metric, []).append(value)
    means = {name: bootstrap_mean(values) for name, values in columns.items() if values}
    return SpeakersEvaluation(tuple(scores), tuple(unscored), means)


def _score(
    name: str,
    references: Sequence[Path],
    estimates: Sequence[Path],
    mixture: Path | None,
    further: Sequence[str],
) -> list[SpeakerScore]:
    """Score the voices of one recording."""
    rate = read_audio(references[0])[1]
    true, _ = _read_all(references, rate)
    given, notes = _read_all(estimates, rate)
    mixed = [] if mixture is None else _read_all([mixture], rate)[0]
    length = min(len(x) for x in (*true, *given, *mixed))
    found = [[_decibels(x[:length], y[:length]) for y in given] for x in true]
    table = np.array([[NOTHING_FOUND_DB if x is None else x for x in row] for row in found])
    rows = np.arange(len(true))
    order = max(permutations(rows), key=lambda order: table[rows, order].sum())
    scores = []
    for i, j in enumerate(order):
        reached, improvement = float(table[i, j]), None
        for x in mixed:
            before = _decibels(true[i][:length], x[:length])
            improvement = reached - (NOTHING_FOUND_DB if before is None else before)
        noted = (*notes[j], *note_length(len(given[j]), len(true[i]), length, rate))
        others = measure(true[i][:length], given[j][:length], rate, further)
        scores.append(
            SpeakerScore(
                name=name,
                reference=references[i],
                estimate=estimates[j],
                si_sdr=reached,
                si_sdri=improvement,
                further={m: x for m, x in others.items() if not isinstance(x, Skipped)},
                skipped={m: x.reason for m, x in others.items() if isinstance(x, Skipped)},
                silent=found[i][j] is None,
                notes=noted,
            )
        )
    return scores


def _decibels(reference: Audio, estimate: Audio) -> float | None:
    """Return the SI-SDR in dB; None where nothing of the reference was found."""
    score = si_sdr(reference, estimate)
    if isinstance(score, Skipped):
        if score.nothing_found:
            return None
        raise RecurraError(score.reason)
    return score


def _read_all(paths: Sequence[Path], rate: int) -> tuple[list[Audio], list[list[str]]]:
    """Read files as (T,) at a rate, and what is to be noted of each."""
    audio, notes = [], []
    for path in paths:
        (channels, own_rate), noted = read_noting(path)
        mono = channels.mean(axis=0)
        if own_rate != rate:
            noted.append(f"resampled from {own_rate} to {rate} Hz, the rate of the reference")
            mono = resample(mono, own_rate, rate)
        audio.append(mono)
        notes.append(noted)
    return audio, notes


def _by_recording(folder: Path) -> dict[str, list[Path]]:
    """Voices by the relative name of their recording, in the order of their numbers."""
    groups: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.rglob("*")):
        name, mark, number = path.stem.rpartition(SPEAKER_MARK)
        if mark and number.isdigit() and is_media_name(path) and path.is_file():
            relative = path.relative_to(folder).with_name(name).as_posix()
            groups.setdefault(relative, {})[int(number)] = path
    return {name: [group[i] for i in sorted(group)] for name, group in groups.items()}


def _by_name(folder: Path) -> dict[str, Path]:
    files = (path for path in folder.rglob("*") if is_media_name(path) and path.is_file())
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
