"""The command that takes voices apart."""

from typing import Annotated

import typer

from recurra.core.cli import Batch, JsonOption, expand_inputs, progress
from recurra.speech.cli.options import PACKAGE, ModelOption, set_threads


def separate(
    inputs: Annotated[
        list[str], typer.Argument(help="Audio or video files, folders, patterns, or - for a pipe.")
    ],
    place: Annotated[
        str | None,
        typer.Option("-o", metavar="DIR", help="A folder; for multichannel also a file, or -."),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--output",
            metavar="FORM",
            help="files (one a speaker) or multichannel (a channel each).",
        ),
    ] = "files",
    speakers: Annotated[
        int | None, typer.Option(min=2, help="How many voices there are; the model's own number.")
    ] = None,
    model: ModelOption = "mossformer2-small",
    band: Annotated[
        str, typer.Option(help="Above the model's band: keep (it follows the band) or model.")
    ] = "keep",
    downmix: Annotated[bool, typer.Option("--downmix", help="Mix all channels into one.")] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace outputs that are there.")
    ] = False,
    window: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longer files are taken apart in windows.")
    ] = 10.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, ...")] = "cpu",
    precision: Annotated[str, typer.Option(help="f32 or bf16.")] = "f32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads in all; the default is all cores.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Files in work at once; windows of a single one.")
    ] = 1,
    json: JsonOption = False,
) -> None:
    """Take the voices in recordings apart: one file a speaker.

    Rate, channels, length and format stay as they are, and each voice has the level that it has in
    the recording. The results are written beside the input, or into the folder that -o names, as
    NAME.speaker1.EXT, NAME.speaker2.EXT, ...; with --output multichannel as NAME.speakers.EXT, in
    which the channels of the first speaker come first. Nothing is overwritten without --force, and
    the input never. A speaker who is not there is named, and what is written for him is silent. A
    pipe carries one file, so it needs --output multichannel.

    \b
    Examples:
      recurra-speech separate meeting.wav
      recurra-speech separate interviews/ -o apart/ --speakers 2
      recurra-speech separate call.m4a -o apart/ --model MossFormer2_SS_16K/
      recurra-speech separate - --output multichannel < mixture.wav > voices.wav
    """
    from recurra.core.cli import jobs_each
    from recurra.speech.audio_files import is_input
    from recurra.speech.separate_files import choose_outputs, separate_file
    from recurra.speech.separator import SeparateOptions, Separator

    found = expand_inputs(inputs, wanted=is_input)
    options = SeparateOptions(band, window, jobs_each(jobs, len(found)))
    set_threads(threads, jobs)
    separator = Separator.from_pretrained(
        model, speakers=speakers, device=device, precision=precision
    )
    outputs = dict(choose_outputs(found, place, separator.n_streams, form))
    batch = Batch(PACKAGE, json=json, stdout_is_data=[None] in outputs.values())
    with progress("separating", unit="s of audio") as bar:
        code = batch.run(
            outputs,
            lambda entry: separate_file(
                separator,
                entry,
                outputs[entry],
                options,
                bar.advance,
                downmix=downmix,
                overwrite=force,
            ),
            jobs=jobs,
        )
    raise typer.Exit(code)
