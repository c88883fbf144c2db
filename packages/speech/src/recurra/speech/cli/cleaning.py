"""The commands that clean: files as they are, and sound as it comes."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import Batch, JsonOption, expand_inputs, progress
from recurra.core.errors import RecurraError
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
    OutputOption,
    PrecisionOption,
    ThreadsOption,
    WindowOption,
    set_threads,
)


def enhance(
    inputs: InputsArgument,
    output: OutputOption = None,
    model: ModelOption = "frcrn-small",
    band: BandOption = "keep",
    max_attenuation: Annotated[
        float | None, typer.Option(metavar="DB", help="Turn nothing down by more than this.")
    ] = None,
    residual: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what was taken out.")
    ] = None,
    downmix: DownmixOption = False,
    force: ForceOption = False,
    window: WindowOption = 30.0,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "f32",
    threads: ThreadsOption = None,
    jobs: JobsOption = 1,
    batch: BatchOption = None,
    json: JsonOption = False,
) -> None:
    """Clean recordings: the same file, with the noise taken out.

    Rate, channels, length, level and format stay as they are. The result is written beside the
    input as NAME.enhanced.EXT, or where -o says. Nothing is overwritten without --force, and the
    input never.

    \b
    Examples:
      recurra-speech enhance noisy.wav
      recurra-speech enhance meeting.m4a -o clean.m4a
      recurra-speech enhance recordings/ -o cleaned/
      recurra-speech enhance talk.mp4 -o talk.wav --max-attenuation 20
      sox in.flac -t wav - | recurra-speech enhance - > clean.wav
    """
    from recurra.core.cli import jobs_each
    from recurra.speech.audio.format import ENHANCED_MARK
    from recurra.speech.audio_files import choose_outputs, is_input
    from recurra.speech.enhance_files import FileOptions, enhance_file, refuse_one_file_for_two
    from recurra.speech.enhancer import EnhanceOptions, Enhancer

    found = expand_inputs(inputs, wanted=is_input)
    pairs = dict(choose_outputs(found, output, ENHANCED_MARK))
    if residual is not None and len(pairs) > 1:
        raise RecurraError("--residual needs a single input")
    refuse_one_file_for_two(pairs.values(), residual)
    options = EnhanceOptions(
        window_seconds=window,
        jobs=jobs_each(jobs, len(pairs)),
        batch=batch,
        band=band,
        max_attenuation_db=max_attenuation,
    )
    file_options = FileOptions(downmix, force, residual)
    job = Batch(PACKAGE, json=json, stdout_is_data=None in pairs.values())
    set_threads(threads, jobs)
    enhancer = Enhancer.from_pretrained(model, device=device, precision=precision)
    with progress("cleaning", unit="s of audio") as bar:
        code = job.run(
            pairs,
            lambda entry: enhance_file(
                enhancer, entry, pairs[entry], options, file_options, bar.advance
            ),
            jobs=jobs,
        )
    raise typer.Exit(code)


def live(
    model: ModelOption = "frcrn-live",
    rate: Annotated[
        int | None, typer.Option(metavar="HZ", help="Of the samples; devices have their own.")
    ] = None,
    channels: Annotated[int, typer.Option(help="Of the samples, interleaved.")] = 1,
    pcm: Annotated[
        str, typer.Option("--format", help="Of samples in a pipe: s16le, s24le, s32le or f32le.")
    ] = "s16le",
    input_device: Annotated[
        str | None, typer.Option("--input", metavar="DEVICE", help="Index or name; not a pipe.")
    ] = None,
    output_device: Annotated[
        str | None, typer.Option("--output", metavar="DEVICE", help="Index or name; not a pipe.")
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Show the sound devices and exit.")
    ] = False,
) -> None:
    """Clean sound as it comes: raw samples through a pipe, or from one sound device to another.

    Needs a causal model. The latency is printed first, on stderr. Ctrl-C ends.

    \b
    Examples:
      parec --rate=16000 --channels=1 --raw | recurra-speech live --rate 16000 > cleaned.raw
      recurra-speech live --list-devices
      recurra-speech live --input 1 --output 4
    """
    import sys

    from recurra.speech import live_device
    from recurra.speech.enhancer import Enhancer
    from recurra.speech.live import clean_pipe

    if list_devices:
        _print_devices()
        return
    through_pipe = input_device is None and output_device is None
    if through_pipe and rate is None:
        raise RecurraError("raw samples have no rate of their own; give --rate")
    set_threads(1)  # a frame is too little work to share
    enhancer = Enhancer.from_pretrained(model)

    def tell(line: str) -> None:
        typer.echo(f"{PACKAGE}: {line}", err=True)

    if through_pipe:
        report = clean_pipe(
            enhancer,
            sys.stdin.buffer,
            sys.stdout.buffer,
            sample_rate=rate,
            channels=channels,
            pcm=pcm,
            tell=tell,
        )
    else:
        report = live_device.clean_devices(
            enhancer,
            input=_device(input_device),
            output=_device(output_device),
            sample_rate=rate,
            channels=channels,
            tell=tell,
        )
    if report.clipped:
        tell(f"warning: {report.clipped} samples were over full scale and clipped")
    if report.glitches:
        tell(f"warning: {report.glitches} blocks were late or lost")
    if report.ended == "interrupted" and through_pipe:
        raise typer.Exit(130)


def _print_devices() -> None:
    from recurra.core.cli import print_table
    from recurra.speech.live_device import list_devices

    rows = [(d.index, d.name, d.inputs, d.outputs, d.sample_rate) for d in list_devices()]
    print_table(rows, ["index", "name", "inputs", "outputs", "rate"])


def _device(name: str | None) -> int | str | None:
    return int(name) if name is not None and name.isdigit() else name
