"""The commands that judge: scores against clean files, and pictures."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import JsonOption, progress
from recurra.core.errors import RecurraError
from recurra.core.files import refuse_to_overwrite
from recurra.speech.cli.options import PACKAGE, ForceOption


def evaluate(
    reference: Annotated[Path, typer.Argument(help="The clean file, or a folder of clean files.")],
    estimate: Annotated[Path, typer.Argument(help="What to judge, or a folder of it.")],
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="si_sdr, pesq, stoi or dnsmos; repeat it.")
    ] = None,
    speakers: Annotated[
        bool, typer.Option("--speakers", help="Folders of NAME.speaker1.EXT ..., in any order.")
    ] = False,
    mixture: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What was separated, with --speakers.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Score enhanced or separated files against clean ones.

    Folders are matched by relative path, with or without `.enhanced`. What cannot be scored is
    counted with the reason. PESQ needs `recurra-speech[pesq]`, STOI and DNSMOS `[metrics]`.
    With --speakers voices are scored by SI-SDR, in the best order of each recording, and then by
    what else --metric names; --mixture adds how much better they are than what was separated. A
    silent estimate counts as -30 dB.

    \b
    Examples:
      recurra-speech evaluate clean.wav noisy.enhanced.wav
      recurra-speech evaluate clean/ cleaned/ --metric si_sdr --metric stoi
      recurra-speech evaluate voices/ apart/ --speakers --mixture mixture/
    """
    if speakers:
        _evaluate_speakers(reference, estimate, mixture, metrics, json=json)
        return
    if mixture is not None:
        raise RecurraError("--mixture is for --speakers")
    from recurra.speech.evaluate import evaluate_folders, evaluate_pair
    from recurra.speech.score_report import print_evaluation, print_pair

    if reference.is_dir() != estimate.is_dir():
        folder, file = (reference, estimate) if reference.is_dir() else (estimate, reference)
        raise RecurraError(f"{folder} is a folder and {file} is not; give two files or two folders")
    if not reference.is_dir():
        print_pair(evaluate_pair(reference, estimate, metrics), json=json)
        return
    with progress("scoring", unit="files") as bar:
        evaluation = evaluate_folders(
            reference, estimate, metrics, lambda done, total: bar.advance(1)
        )
    print_evaluation(evaluation, PACKAGE, json=json)
    if not evaluation.means:
        raise typer.Exit(2)
    if evaluation.unscored:
        raise typer.Exit(1)


def _evaluate_speakers(
    reference: Path,
    estimate: Path,
    mixture: Path | None,
    metrics: list[str] | None,
    *,
    json: bool,
) -> None:
    from recurra.speech.evaluate_speakers import evaluate_speakers
    from recurra.speech.score_report import print_speakers

    asked = metrics or ["si_sdr"]
    with progress("scoring", unit="recordings") as bar:
        evaluation = evaluate_speakers(reference, estimate, mixture, asked, lambda: bar.advance(1))
    print_speakers(evaluation, PACKAGE, json=json)
    if not evaluation.scores:
        raise typer.Exit(2)
    if evaluation.unscored:
        raise typer.Exit(1)


def plot(
    noisy: Annotated[Path, typer.Argument(help="The recording before.")],
    enhanced: Annotated[Path, typer.Argument(help="The recording after.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture: .png, .svg or .pdf.")
    ] = Path("before-after.png"),
    waveform: Annotated[bool, typer.Option("--waveform", help="Draw the waveforms too.")] = False,
    force: ForceOption = False,
) -> None:
    """Draw spectrograms before and after, on one scale.

    \b
    Example:
      recurra-speech plot noisy.wav noisy.enhanced.wav -o before-after.png
    """
    from recurra.speech.audio.read import read_audio
    from recurra.speech.plot import plot_before_after

    refuse_to_overwrite(output, force=force)
    (before, rate), (after, other_rate) = read_audio(noisy), read_audio(enhanced)
    if rate != other_rate:
        raise RecurraError(f"{noisy} has {rate} Hz and {enhanced} {other_rate} Hz; give one rate")
    typer.echo(f"wrote {plot_before_after(before, after, rate, output, waveform=waveform)}")
