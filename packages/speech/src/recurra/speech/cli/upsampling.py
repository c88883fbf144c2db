"""The command that makes the sound above the band of recordings."""

import typer

from recurra.core.cli import Batch, JsonOption, expand_inputs, progress
from recurra.speech.cli.options import (
    PACKAGE,
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


def upsample(
    inputs: InputsArgument,
    model: ModelOption,
    output: OutputOption = None,
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
    """Bring recordings of speech to 48 kHz, and make the sound that is missing at the top.

    For recordings of low rate, such as telephone calls, and for those whose band was cut. The rate
    becomes the model's, 48 kHz; seconds, channels and format stay as they are, and so does the
    sound in the recording's band; what is above it is the model's invention. A recording of a
    higher rate is refused. The result is written beside the input as NAME.upsampled.EXT, or where
    -o says. Nothing is overwritten without --force, and the input never. No model for it ships:
    import MossFormer2_SR_48K.

    \b
    Examples:
      recurra-speech upsample call.wav --model sr/
      recurra-speech upsample calls/ -o wide/ --model sr/
    """
    from recurra.core.cli import jobs_each
    from recurra.speech.audio.format import UPSAMPLED_MARK
    from recurra.speech.audio_files import choose_outputs, is_input
    from recurra.speech.upsample_files import upsample_file
    from recurra.speech.upsampler import UpsampleOptions, Upsampler

    found = expand_inputs(inputs, wanted=is_input)
    pairs = dict(choose_outputs(found, output, UPSAMPLED_MARK))
    options = UpsampleOptions(window_seconds=window, jobs=jobs_each(jobs, len(pairs)), batch=batch)
    job = Batch(PACKAGE, json=json, stdout_is_data=None in pairs.values())
    set_threads(threads, jobs)
    upsampler = Upsampler.from_pretrained(model, device=device, precision=precision)
    with progress("upsampling", unit="s of audio") as bar:
        code = job.run(
            pairs,
            lambda entry: upsample_file(
                upsampler,
                entry,
                pairs[entry],
                options,
                bar.advance,
                downmix=downmix,
                overwrite=force,
            ),
            jobs=jobs,
        )
    raise typer.Exit(code)
