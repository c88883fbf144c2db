"""The command `recurra-speech`: thin commands that import what they need when they run."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import Batch, JsonOption, create_app, expand_inputs, progress, run
from recurra.core.errors import RecurraError
from recurra.speech.cli_models import export, import_checkpoint, info

PACKAGE = "recurra-speech"
app = create_app(
    "Clean noisy recordings of speech. Try: recurra-speech enhance noisy.wav", package=PACKAGE
)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sounds to train on.")
app.add_typer(data_app, name="data")

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A shipped model, a model folder, or a Hub id.")
]


def main() -> int:
    """Run the command line; the exit code is one of `recurra.core.cli.ExitCode`."""
    return run(app, PACKAGE)


@app.command()
def enhance(
    inputs: Annotated[
        list[str], typer.Argument(help="Audio or video files, folders, patterns, or - for a pipe.")
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="A file, a folder, or - for a pipe.")
    ] = None,
    model: ModelOption = "frcrn-small",
    band: Annotated[
        str, typer.Option(help="Above the model's band: keep (it follows the band) or model.")
    ] = "keep",
    max_attenuation: Annotated[
        float | None, typer.Option(metavar="DB", help="Turn nothing down by more than this.")
    ] = None,
    residual: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what was taken out.")
    ] = None,
    downmix: Annotated[bool, typer.Option("--downmix", help="Mix all channels into one.")] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace outputs that are there.")
    ] = False,
    window: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longer files are cleaned in windows.")
    ] = 30.0,
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
    from recurra.speech.enhance_files import FileOptions, choose_outputs, enhance_file, is_input
    from recurra.speech.enhancer import EnhanceOptions, Enhancer

    found = expand_inputs(inputs, wanted=is_input)
    pairs = dict(choose_outputs(found, output))
    if residual is not None and len(pairs) > 1:
        raise RecurraError("--residual needs a single input")
    options = EnhanceOptions(band, max_attenuation, window, jobs_each(jobs, len(pairs)))
    file_options = FileOptions(downmix, force, residual)
    batch = Batch(PACKAGE, json=json, stdout_is_data=None in pairs.values())
    set_threads(threads, jobs)
    enhancer = Enhancer.from_pretrained(model, device=device, precision=precision)
    with progress("cleaning", unit="s of audio") as bar:
        code = batch.run(
            pairs,
            lambda entry: enhance_file(
                enhancer, entry, pairs[entry], options, file_options, bar.advance
            ),
            jobs=jobs,
        )
    raise typer.Exit(code)


@app.command()
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

    from recurra.core.cli import print_table
    from recurra.speech import live_device
    from recurra.speech.enhancer import Enhancer
    from recurra.speech.live import clean_pipe

    if list_devices:
        print_table(
            [
                (d.index, d.name, d.inputs, d.outputs, d.sample_rate)
                for d in live_device.list_devices()
            ],
            ["index", "name", "inputs", "outputs", "rate"],
        )
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


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Argument(help="The clean file, or a folder of clean files.")],
    estimate: Annotated[Path, typer.Argument(help="What to judge, or a folder of it.")],
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="si_sdr, pesq, stoi or dnsmos; repeat it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Score enhanced files against clean ones.

    Folders are matched by relative path, with or without `.enhanced`. What cannot be scored is
    counted with the reason. PESQ needs `recurra-speech[pesq]`, STOI and DNSMOS `[metrics]`.

    \b
    Examples:
      recurra-speech evaluate clean.wav noisy.enhanced.wav
      recurra-speech evaluate clean/ cleaned/ --metric si_sdr --metric stoi
    """
    from recurra.speech.evaluate import evaluate_folders, evaluate_pair
    from recurra.speech.score_report import print_evaluation, print_pair

    if reference.is_dir() != estimate.is_dir():
        raise RecurraError("give two files or two folders")
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


@app.command()
def plot(
    noisy: Annotated[Path, typer.Argument(help="The recording before.")],
    enhanced: Annotated[Path, typer.Argument(help="The recording after.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture: .png, .svg or .pdf.")
    ] = Path("before-after.png"),
    waveform: Annotated[bool, typer.Option("--waveform", help="Draw the waveforms too.")] = False,
) -> None:
    """Draw spectrograms before and after, on one scale.

    \b
    Example:
      recurra-speech plot noisy.wav noisy.enhanced.wav -o before-after.png
    """
    from recurra.speech.audio.read import read_audio
    from recurra.speech.plot import plot_before_after

    (before, rate), (after, other_rate) = read_audio(noisy), read_audio(enhanced)
    if rate != other_rate:
        raise RecurraError(f"{noisy} has {rate} Hz and {enhanced} {other_rate} Hz; give one rate")
    typer.echo(f"wrote {plot_before_after(before, after, rate, output, waveform=waveform)}")


app.command()(info)
app.command()(export)
app.command("import")(import_checkpoint)


@app.command()
def mix(
    output: Annotated[Path, typer.Argument(help="A new folder: noisy/, clean/ and index.csv.")],
    corpus: Annotated[Path, typer.Option(metavar="DIR", help="What `data fetch` made.")] = Path(
        "sounds"
    ),
    per_snr: Annotated[int, typer.Option(min=1, help="Mixtures at each of 5 ratios.")] = 60,
    split: Annotated[
        str, typer.Option(help="Voices and noises: test, validation, train.")
    ] = "test",
    seed: Annotated[int, typer.Option(help="Another seed, other mixtures.")] = 2026,
) -> None:
    """Make noisy mixtures with their clean halves: the held-out set, always the same.

    \b
    Example:
      recurra-speech mix held-out/ --corpus sounds/
    """
    from recurra.speech.data.corpora import Corpus
    from recurra.speech.data.held_out import HeldOutConfig, write_held_out_set

    config = HeldOutConfig(seed=seed, split=split, per_snr=per_snr)
    made = write_held_out_set(output, Corpus(corpus), config)
    typer.echo(
        f"wrote {made.folder}: {made.items} mixtures, {made.seconds / 60:.1f} minutes, "
        f"seed {made.seed}, SHA-256 {made.sha256}"
    )


@data_app.command("fetch")
def fetch_data(
    folder: Annotated[Path, typer.Argument(help="Where the sounds go (about 3 GB).")],
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="A Debian mirror, where there is no apt-get.")
    ] = None,
    debs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder that holds the .deb files.")
    ] = None,
) -> None:
    """Fetch the sound packages of Debian that the shipped models were trained and tested on.

    Every package is pinned to a version and checked by its SHA-256. Their licences stand in the
    manifest; nothing of them ships with Recurra.

    \b
    Examples:
      recurra-speech data fetch sounds/
      recurra-speech data fetch sounds/ --debs ~/debs
    """
    from recurra.speech.data.corpora import build_corpus
    from recurra.speech.data.fetch import fetch

    for fetched in fetch(folder, mirror=mirror, debs=debs):
        typer.echo(f"{fetched.package.name}: {fetched.files} files")
    for built in build_corpus(folder):
        typer.echo(f"{built.package}: {built.clips} clips, {built.seconds:.0f} s")


@app.command()
def train(
    config: Annotated[
        Path, typer.Argument(help="A YAML file; see examples/train-frcrn-small.yaml.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as fit.max_steps=2000.")
    ] = None,
    corpus: Annotated[Path, typer.Option(metavar="DIR", help="What `data fetch` made.")] = Path(
        "sounds"
    ),
    run_folder: Annotated[
        Path, typer.Option("--run", metavar="DIR", help="Of this run; one that is there goes on.")
    ] = Path("runs/enhancement"),
) -> None:
    """Train an enhancement model; interrupt it at any moment and start it again to go on.

    \b
    Examples:
      recurra-speech train examples/train-frcrn-small.yaml --corpus sounds/ --run runs/small
      recurra-speech enhance noisy.wav --model runs/small/best
    """
    from recurra.core.cli import load_config
    from recurra.speech.train import TrainConfig
    from recurra.speech.train import train as run_training

    settings = load_config(TrainConfig, config, overrides or ())
    result = run_training(settings, corpus, run_folder)
    typer.echo(f"wrote {result.folder / 'best'}")
    if not result.finished:
        raise typer.Exit(130)


def set_threads(threads: int | None, jobs: int = 1) -> None:
    """Limit torch to a number of threads, None for its choice, shared out among jobs at once."""
    if threads is not None or jobs > 1:
        import torch

        torch.set_num_threads(max(1, (threads or torch.get_num_threads()) // jobs))


def _device(name: str | None) -> int | str | None:
    return int(name) if name is not None and name.isdigit() else name
