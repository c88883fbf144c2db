"""The command that takes voices apart."""

from typing import Annotated

import typer

from recurra.core.cli import Batch, JsonOption, expand_inputs, progress
from recurra.speech.cli.options import (
    PACKAGE,
    BandOption,
    BatchOption,
    DeviceOption,
    DownmixOption,
    ForceOption,
    InputsArgument,
    JobsOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    WindowOption,
    set_threads,
)


def separate(
    inputs: InputsArgument,
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
    band: BandOption = "keep",
    downmix: DownmixOption = False,
    force: ForceOption = False,
    window: WindowOption = 10.0,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "f32",
    threads: ThreadsOption = None,
    jobs: JobsOption = 1,
    batch: BatchOption = None,
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
      recurra-speech separate call.m4a -o apart/ --model mossformer2-ss
      recurra-speech separate - --output multichannel < mixture.wav > voices.wav
    """
    from recurra.core.cli import jobs_each
    from recurra.speech.audio_files import is_input
    from recurra.speech.separate_files import choose_outputs, separate_file
    from recurra.speech.separator import SeparateOptions, Separator

    found = expand_inputs(inputs, wanted=is_input)
    options = SeparateOptions(
        window_seconds=window, jobs=jobs_each(jobs, len(found)), batch=batch, band=band
    )
    set_threads(threads, jobs)
    separator = Separator.from_pretrained(
        model, speakers=speakers, device=device, precision=precision
    )
    outputs = dict(choose_outputs(found, place, separator.n_streams, form))
    job = Batch(PACKAGE, json=json, stdout_is_data=[None] in outputs.values())
    with progress("separating", unit="s of audio") as bar:
        code = job.run(
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
