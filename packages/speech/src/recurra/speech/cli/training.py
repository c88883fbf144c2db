"""The commands that make a model of one's own: data, mixtures, training."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import BudgetOption
from recurra.core.errors import RecurraError


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


def mix(
    context: typer.Context,
    output: Annotated[
        Path, typer.Argument(help="A new folder: noisy/ and clean/, or mixture/ and voices/.")
    ],
    corpus: Annotated[Path, typer.Option(metavar="DIR", help="What `data fetch` made.")] = Path(
        "sounds"
    ),
    per_snr: Annotated[int, typer.Option(min=1, help="Mixtures at each of 5 ratios.")] = 60,
    split: Annotated[
        str, typer.Option(help="Voices and noises: test, validation, train.")
    ] = "test",
    seed: Annotated[int, typer.Option(help="Another seed, other mixtures.")] = 2026,
    speakers: Annotated[
        int | None, typer.Option(min=2, help="Mix so many voices, and no noise.")
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Mixtures in all, with --speakers.")] = 300,
    seconds: Annotated[
        float, typer.Option(min=0.5, help="Length of each mixture, with --speakers.")
    ] = 6.0,
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make the mixtures of this plan.json again.")
    ] = None,
) -> None:
    """Make mixtures with what is in them: the held-out sets, always the same.

    Those of speech and noise are in noisy/ and clean/; with --speakers, those of voices are in
    mixture/ and voices/. index.csv says who speaks. There is no noise among voices. Their plan.json
    has the clips of each mixture with places, gains and speeds; --plan makes the same samples of it
    again.

    \b
    Examples:
      recurra-speech mix held-out/ --corpus sounds/
      recurra-speech mix two-voices/ --corpus sounds/ --speakers 2
      recurra-speech mix long/ --corpus sounds/ --speakers 2 --items 10 --seconds 180
      recurra-speech mix again/ --corpus sounds/ --plan two-voices/plan.json
    """
    if plan is not None:
        words = ("per_snr", "split", "seed", "speakers", "items", "seconds")
        _refuse(context, words, "is for new mixtures; --plan says what is in its own")
    elif speakers is None:
        _refuse(context, ("items", "seconds"), "is for mixtures of voices; give --speakers too")
    else:
        _refuse(context, ("per_snr",), "is for mixtures with noise; --speakers has --items")

    from recurra.speech.data.corpora import Corpus

    if plan is not None:
        from recurra.speech.data.speaker_set import write_planned_set

        made = write_planned_set(output, Corpus(corpus), plan)
    elif speakers is None:
        from recurra.speech.data.held_out import HeldOutConfig, write_held_out_set

        config = HeldOutConfig(seed=seed, split=split, per_snr=per_snr)
        made = write_held_out_set(output, Corpus(corpus), config)
    else:
        from recurra.speech.data.speaker_mixing import SpeakerMixingConfig
        from recurra.speech.data.speaker_set import write_speaker_set

        mixing = SpeakerMixingConfig(seed=seed, seconds=seconds, items=items, n_speakers=speakers)
        made = write_speaker_set(output, Corpus(corpus), mixing.as_recorded(), split)
    typer.echo(
        f"wrote {made.folder}: {made.items} mixtures, {made.seconds / 60:.1f} minutes, "
        f"seed {made.seed}, SHA-256 {made.sha256}"
    )


def _refuse(context: typer.Context, names: tuple[str, ...], reason: str) -> None:
    """Refuse options that were given, by the names of their parameters."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise RecurraError(f"--{name.replace('_', '-')} {reason}")


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
    budget: BudgetOption = None,
) -> None:
    """Train a model; interrupt it at any moment and start it again to go on.

    A file with `task: separation` trains a separator, any other an enhancer.

    \b
    Examples:
      recurra-speech train examples/train-frcrn-small.yaml --corpus sounds/ --run runs/small
      recurra-speech train examples/train-frcrn-small.yaml fit.patience=5 --budget 2h
      recurra-speech enhance noisy.wav --model runs/small/best
      recurra-speech train examples/train-mossformer2-small.yaml --corpus sounds/ --run runs/apart
      recurra-speech separate meeting.wav --model runs/apart/best
    """
    from recurra.core.cli import load_config
    from recurra.core.cli.yaml_file import read_mapping
    from recurra.core.training import is_first_process

    limit = () if budget is None else (f"fit.max_minutes={budget!r}",)
    changes = (*(overrides or ()), *limit)
    if read_mapping(config).get("task") == "separation":
        from recurra.speech.train_separation import SeparationTrainConfig, train_separation

        result = train_separation(
            load_config(SeparationTrainConfig, config, changes), corpus, run_folder
        )
    else:
        from recurra.speech.train import TrainConfig
        from recurra.speech.train import train as train_enhancer

        result = train_enhancer(load_config(TrainConfig, config, changes), corpus, run_folder)
    for name in ("best", "last"):
        if is_first_process() and (result.folder / name).is_dir():
            typer.echo(f"wrote {result.folder / name}")
    if not result.finished:
        raise typer.Exit(130)
