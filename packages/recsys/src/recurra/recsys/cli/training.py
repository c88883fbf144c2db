"""The commands that make a model of a log: by a recipe, or by a search for a better one."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import BudgetOption, JsonOption
from recurra.recsys.cli.columns import (
    SPLIT_HELP,
    AboutItemsOption,
    FeaturesOption,
    ItemOption,
    KCoreOption,
    LogArgument,
    SeenOption,
    TimeOption,
    UserOption,
    WeightMinOption,
    WeightOption,
    asked_features,
)


def train(
    log: LogArgument,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as network.d_model=128.")
    ] = None,
    model: Annotated[str, typer.Option(help="bert4rec, sasrec, gsasrec or esasrec.")] = "bert4rec",
    recipe: Annotated[
        str,
        typer.Option(help="cpu (ours), or original, as its authors trained it (bert4rec)."),
    ] = "cpu",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The model's folder.")
    ] = Path("model"),
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    weight_min: WeightMinOption = None,
    k_core: KCoreOption = 1,
    items: AboutItemsOption = None,
    features: FeaturesOption = None,
    split: Annotated[str, typer.Option(help=SPLIT_HELP)] = "leave-one-out",
    seen: SeenOption = False,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Times that each history is seen.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="End when so many validations in a row find nothing better."),
    ] = None,
    budget: BudgetOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and masks.")] = 0,
    run_folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="Of the run, to go on with; default: DIR.run"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a model on a log, and show where it stands beside rules without training.

    The last event of each user is held out for the test, the one before it to choose the best
    weights by. Columns are found by their usual names. Rows where one of them is missing (null, or
    in a text empty, NaN, null, None, NA and what else pandas takes for it) are left out and
    counted. Interrupt it at any moment and start it again to go on.

    What a table says of the items can be learnt with them: a cell of a column of --features holds a
    category, or several with "|" between them (in Parquet also a list).

    \b
    Examples:
      recurra-recsys train log.csv -o model
      recurra-recsys train log.csv --budget 30m
      recurra-recsys train ratings.parquet --item movieId --weight-min 4 -o model
      recurra-recsys train log.csv --model sasrec network.d_model=128 learning_rate=1e-3
      recurra-recsys train log.csv --items movies.csv --features genres,year
      recurra-recsys train log.csv --recipe original --epochs 2000
    """
    from recurra.recsys.data import LogColumns
    from recurra.recsys.recipes import load_recipe
    from recurra.recsys.train_log import train_log

    columns = LogColumns(user, item, time, weight, weight_min, k_core)
    options = {"epochs": epochs, "patience": patience, "max_minutes": budget, "seed": seed}
    config = load_recipe(model, overrides or (), options, recipe=recipe)
    judged = {"split_by": split, "filter_seen": not seen, "json": json}
    about = asked_features(items, features)
    finished = train_log(log, columns, model, config, output, run_folder, about, **judged)
    if not finished:
        raise typer.Exit(130)


def tune(
    log: LogArgument,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes of every try, such as network.d_model=128.")
    ] = None,
    model: Annotated[str, typer.Option(help="bert4rec, sasrec, gsasrec or esasrec.")] = "bert4rec",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The best model's folder.")
    ] = Path("model"),
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    weight_min: WeightMinOption = None,
    k_core: KCoreOption = 1,
    items: AboutItemsOption = None,
    features: FeaturesOption = None,
    split: Annotated[str, typer.Option(help=SPLIT_HELP)] = "leave-one-out",
    seen: SeenOption = False,
    tries: Annotated[
        int, typer.Option(min=1, help="Settings that are tried, the recipe's own among them.")
    ] = 9,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of the last round; the ones before have a third.")
    ] = None,
    budget: BudgetOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of settings, weights, order and masks.")] = 0,
    run_folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="Of the tries, to go on with; default: DIR.tune"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Search for better settings of a model on a log, and keep the best model.

    Tries differ in learning rate, dropout, layers, width, length and, in bert4rec, the share of
    masks. All are trained for a few epochs, the better third for three times as many, and so on.
    The validation events alone decide. Interrupt it at any moment and start it again to go on.

    \b
    Examples:
      recurra-recsys tune log.csv -o model --budget 2h
      recurra-recsys tune log.csv --model sasrec --tries 27 --epochs 50 network.n_heads=4
    """
    from recurra.recsys.data import LogColumns
    from recurra.recsys.tune import TuneConfig, tune_log

    columns = LogColumns(user, item, time, weight, weight_min, k_core)
    words = tuple(overrides or ())
    config = TuneConfig(model, words, tries, epochs, seed, split, filter_seen=not seen)
    about = asked_features(items, features)
    if not tune_log(log, columns, config, output, run_folder, about, budget=budget, json=json):
        raise typer.Exit(130)
