"""Print what `evaluate` found."""

import sys
from dataclasses import asdict

from recurra.core.cli import print_json, print_table
from recurra.speech.evaluate import Evaluation, PairScores
from recurra.speech.evaluate_speakers import SpeakersEvaluation
from recurra.speech.metrics import NOTHING_FOUND_DB


def print_pair(pair: PairScores, *, json: bool) -> None:
    """Print the scores of one pair of files, and why a metric gave none."""
    if json:
        print_json(asdict(pair))
        return
    rows = [(metric, value) for metric, value in pair.scores.items()]
    print_table(rows, ["metric", "score"], title=f"{pair.estimate} against {pair.reference}")
    for metric, reason in pair.skipped.items():
        print(f"no {metric}: {reason}", file=sys.stderr)
    for note in pair.notes:
        print(f"note: {note}", file=sys.stderr)


def print_evaluation(evaluation: Evaluation, name: str, *, json: bool) -> None:
    """Print mean scores with their intervals; what could not be scored goes to stderr.

    Args:
        evaluation: of two folders.
        name: the command, as it stands before its messages.
        json: print one document with every pair instead.
    """
    if json:
        print_json(asdict(evaluation) | {"skipped": evaluation.skipped})
        return
    rows = [
        (metric, mean.mean, mean.low, mean.high, mean.count)
        for metric, mean in evaluation.means.items()
    ]
    columns = ["metric", "mean", "95 % from", "to", "files"]
    if rows:  # where nothing could be scored, the reasons on stderr say it all
        print_table(rows, columns, title=f"{len(evaluation.pairs)} files")
    for metric, reasons in evaluation.skipped.items():
        for reason, count in reasons.items():
            print(f"{name}: no {metric} for {count} files: {reason}", file=sys.stderr)
    for metric, command in evaluation.missing.items():
        print(f"{name}: no {metric}: {command}", file=sys.stderr)
    for entry in evaluation.unscored:
        print(f"{name}: not scored: {entry.path}: {entry.reason}", file=sys.stderr)


def print_speakers(evaluation: SpeakersEvaluation, name: str, *, json: bool) -> None:
    """Print a row a speaker and the means; what could not be scored goes to stderr.

    Args:
        evaluation: of two folders of voices.
        name: the command, as it stands before its messages.
        json: print one document instead.
    """
    if json:
        print_json(asdict(evaluation) | {"silent": evaluation.silent})
        return
    if evaluation.scores:
        further = [name for name in evaluation.means if name not in ("si_sdr", "si_sdri")]
        rows = [
            (
                score.reference,
                score.estimate,
                score.si_sdr,
                _or_nothing(score.si_sdri),
                *(_or_nothing(score.further.get(name)) for name in further),
            )
            for score in evaluation.scores
        ]
        print_table(rows, ["true voice", "estimate", "si_sdr", "si_sdri", *further])
        means = [(metric, m.mean, m.low, m.high, m.count) for metric, m in evaluation.means.items()]
        title = "all voices"
        if evaluation.silent:
            title += f"; {evaluation.silent} silent, each counted as {NOTHING_FOUND_DB:g} dB"
        print_table(means, ["metric", "mean", "95 % from", "to", "voices"], title=title)
    for score in evaluation.scores:
        for metric, reason in score.skipped.items():
            print(f"{name}: no {metric} of {score.estimate}: {reason}", file=sys.stderr)
        for note in score.notes:
            print(f"note: {score.estimate}: {note}", file=sys.stderr)
    for entry in evaluation.unscored:
        print(f"{name}: not scored: {entry.path}: {entry.reason}", file=sys.stderr)


def _or_nothing(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
