"""The command `recurra-speech`: thin commands that import what they need when they run."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import Batch, JsonOption, create_app, expand_inputs, progress, run

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
    """Run the command line; the exit code is 0, 1, 2 or 130."""
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
        int | None, typer.Option(min=1, help="CPU threads; the default is all cores.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Windows in work at once.")] = 1,
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
    from recurra.speech.enhance import EnhanceOptions, Enhancer
    from recurra.speech.enhance_files import FileOptions, choose_outputs, enhance_file, is_input

    found = expand_inputs(inputs, wanted=is_input)
    pairs = dict(choose_outputs(found, output))
    if residual is not None and len(pairs) > 1:
        raise typer.BadParameter("--residual needs a single input")
    options = EnhanceOptions(band, max_attenuation, window, jobs)
    file_options = FileOptions(downmix, force, residual)
    batch = Batch(PACKAGE, json=json, stdout_is_data=None in pairs.values())
    set_threads(threads)
    enhancer = Enhancer.from_pretrained(model, device=device, precision=precision)
    with progress("cleaning", unit="s of audio") as bar:
        code = batch.run(
            pairs,
            lambda entry: enhance_file(
                enhancer, entry, pairs[entry], options, file_options, bar.advance
            ),
        )
    raise typer.Exit(code)


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


def set_threads(threads: int | None) -> None:
    """Limit torch to a number of threads; None leaves its choice."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
