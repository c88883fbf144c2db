"""Score enhanced recordings against their clean references: two files, or two folders of them."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recurra.core.bootstrap import MeanInterval, bootstrap_mean
from recurra.core.errors import MissingExtraError, RecurraError
from recurra.speech.audio.format import AudioWarning
from recurra.speech.audio.read import read_audio
from recurra.speech.audio.resample import resample
from recurra.speech.matching import Unscored, match_files
from recurra.speech.metrics import METRICS, Score, Skipped, measure, missing_libraries

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class PairScores:
    """What one estimate reached.

    Attributes:
        reference, estimate: the two files.
        seconds: how much was compared.
        scores: value by metric; the mean over channels.
        skipped: reason by metric that gave no value.
        notes: what a reader of the scores should know: lengths or rates that differ, damaged files.
    """

    reference: Path
    estimate: Path
    seconds: float
    scores: dict[str, float]
    skipped: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """What two folders gave.

    Attributes:
        pairs: every pair that was compared, by the order of the names of the references.
        unscored: files without a partner, and pairs that could not be read or compared.
        means: by metric, over the pairs that have a score in it, with a 95 % bootstrap interval.
        missing: metrics that were left out as their library is not installed, with the command.
    """

    pairs: tuple[PairScores, ...]
    unscored: tuple[Unscored, ...]
    means: dict[str, MeanInterval]
    missing: dict[str, str]

    @property
    def skipped(self) -> dict[str, dict[str, int]]:
        """How many pairs have no score, by metric and reason."""
        counts: dict[str, Counter[str]] = {}
        for pair in self.pairs:
            for metric, reason in pair.skipped.items():
                counts.setdefault(metric, Counter())[reason] += 1
        return {metric: dict(counter.most_common()) for metric, counter in counts.items()}


def evaluate_pair(
    reference: Path, estimate: Path, metrics: Sequence[str] | None = None
) -> PairScores:
    """Score one recording against its clean reference.

    The two are compared as they are, from their first samples on, at the rate of the reference;
    the longer one is cut to the shorter, and the notes say so. Channels are scored one by one and
    averaged; a metric that skips a channel is skipped for the file.

    Args:
        reference: the clean recording.
        estimate: the enhanced one.
        metrics: of `metrics.METRICS`; None takes those whose library is installed.

    Raises:
        AudioError: a file cannot be read.
        MissingExtraError: a metric that was asked for needs a library that is not installed.
        RecurraError: the numbers of channels differ, or a metric is unknown.
    """
    metrics, missing = choose_metrics(metrics)
    (clean, rate), notes = read_noting(reference)
    (enhanced, rate_of_estimate), more = read_noting(estimate)
    notes += more
    notes += [f"no {metric}: {remedy}" for metric, remedy in missing.items()]
    if rate_of_estimate != rate:
        notes.append(f"resampled from {rate_of_estimate} to {rate} Hz, the rate of the reference")
        enhanced = resample(enhanced, rate_of_estimate, rate)
    if enhanced.shape[0] != clean.shape[0]:
        raise RecurraError(
            f"{estimate} has {enhanced.shape[0]} channels, its reference {clean.shape[0]}"
        )
    length = min(enhanced.shape[1], clean.shape[1])
    notes += note_length(enhanced.shape[1], clean.shape[1], length, rate)
    scores, skipped = _score(clean[:, :length], enhanced[:, :length], rate, metrics)
    return PairScores(reference, estimate, length / rate, scores, skipped, tuple(notes))


def evaluate_folders(
    references: Path,
    estimates: Path,
    metrics: Sequence[str] | None = None,
    on_pair: Callable[[int, int], object] = lambda done, total: None,
) -> Evaluation:
    """Score every recording of a folder against the reference of the same name in another.

    See `match_files` for what belongs together and `evaluate_pair` for how a pair is compared.

    Args:
        references: folder of clean recordings, searched with its folders.
        estimates: folder of enhanced ones.
        metrics: as in `evaluate_pair`; what is left out is told in the result.
        on_pair: called after each pair with how many are done and how many there are.

    Raises:
        MissingExtraError: a metric that was asked for needs a library that is not installed.
        RecurraError: one of the two is no folder, both are the same one, or a metric is unknown.
    """
    metrics, missing = choose_metrics(metrics)
    matched, unscored = match_files(references, estimates)
    pairs: list[PairScores] = []
    for done, (reference, estimate, note) in enumerate(matched, start=1):
        try:
            pair = evaluate_pair(reference, estimate, metrics)
        except (RecurraError, OSError) as error:
            unscored.append(Unscored(estimate, str(error)))
        else:
            notes = (note, *pair.notes) if note else pair.notes
            pairs.append(
                PairScores(reference, estimate, pair.seconds, pair.scores, pair.skipped, notes)
            )
        on_pair(done, len(matched))
    return Evaluation(tuple(pairs), tuple(unscored), mean_scores(pairs), missing)


def note_length(estimate: int, reference: int, compared: int, sample_rate: int) -> list[str]:
    """Return the note on an estimate that is longer or shorter than its reference, if it is.

    Args:
        estimate, reference: their lengths in samples.
        compared: how many samples of both are.
        sample_rate: of all, in Hz.
    """
    difference = abs(estimate - reference)
    if not difference:
        return []
    word = "longer" if estimate > reference else "shorter"
    return [
        f"{difference} samples ({difference / sample_rate:.3f} s) {word} than the "
        f"reference: the first {compared / sample_rate:.3f} s are compared"
    ]


def mean_scores(pairs: Sequence[PairScores]) -> dict[str, MeanInterval]:
    """Mean and 95 % bootstrap interval by metric, over the pairs that have a score in it."""
    by_metric: dict[str, list[float]] = {}
    for pair in pairs:
        for metric, value in pair.scores.items():
            by_metric.setdefault(metric, []).append(value)
    return {metric: bootstrap_mean(values) for metric, values in by_metric.items()}


def choose_metrics(metrics: Sequence[str] | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """Those asked for, or those that can be had; and what is left out, with the command.

    Raises:
        MissingExtraError: one that was asked for needs a library that is not installed.
        RecurraError: one is unknown.
    """
    if unknown := set(metrics or ()) - set(METRICS):
        names, known = ", ".join(sorted(unknown)), ", ".join(METRICS)
        raise RecurraError(f"unknown metric {names}; choose of {known}")
    missing = missing_libraries(METRICS if metrics is None else metrics)
    if metrics is None:
        return tuple(name for name in METRICS if name not in missing), missing
    if missing:
        name, remedy = next(iter(missing.items()))
        raise MissingExtraError(f"{name}: {remedy}")
    return tuple(metrics), {}


def read_noting(path: Path) -> tuple[tuple[Audio, int], list[str]]:
    """Samples (C, T) and rate, and what was wrong with the file although it was read."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AudioWarning)
        read = read_audio(path)
    return read, [str(w.message) for w in caught if issubclass(w.category, AudioWarning)]


def _score(
    clean: Audio, enhanced: Audio, rate: int, metrics: Sequence[str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Scores and skip reasons of (C, T), over all channels."""
    channels: list[dict[str, Score]] = [
        measure(x, y, rate, metrics) for x, y in zip(clean, enhanced, strict=True)
    ]
    scores: dict[str, float] = {}
    skipped: dict[str, str] = {}
    for metric in channels[0]:
        values = [channel[metric] for channel in channels]
        reasons = [
            value.reason if len(values) == 1 else f"channel {index}: {value.reason}"
            for index, value in enumerate(values, start=1)
            if isinstance(value, Skipped)
        ]
        if reasons:
            skipped[metric] = reasons[0]
        else:
            scores[metric] = float(np.mean(np.array(values, dtype=np.float64)))
    return scores, skipped
