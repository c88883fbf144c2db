"""The commands that say what models are worth."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import BudgetOption, JsonOption
from recurra.core.files import refuse_to_overwrite
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

UsersOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write a row for each user and model, as .parquet."),
]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace files that are there.")]


def evaluate(
    model: Annotated[str, typer.Argument(help="A folder that `train` made, or a Hub id.")],
    log: LogArgument,
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    weight_min: WeightMinOption = None,
    k_core: KCoreOption = 1,
    split: Annotated[
        str | None, typer.Option(help=f"{SPLIT_HELP} Default: as the model was trained.")
    ] = None,
    seen: SeenOption = False,
    users: UsersOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Judge a model on a log, beside rules without training.

    NDCG@10 has a 95 % interval over users, and so has its difference to the Markov rule, paired by
    user. Means by the popularity of the right item and by the length of the history follow.

    \b
    Examples:
      recurra-recsys evaluate model log.csv
      recurra-recsys evaluate model log.csv --users users.parquet
    """
    from recurra.recsys.data import LogColumns
    from recurra.recsys.evaluate import evaluate as run_evaluation

    refuse_to_overwrite(users, force=force)
    columns = LogColumns(user, item, time, weight, weight_min, k_core)
    run_evaluation(
        model, log, columns, split_by=split, filter_seen=not seen, users=users, json=json
    )


def compare(
    log: LogArgument,
    models: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Networks and rules; default: all that take seconds."),
    ] = None,
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
    budget: BudgetOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and masks.")] = 0,
    run_folder: Annotated[
        Path, typer.Option("--run", metavar="DIR", help="Of the trainings, to go on with.")
    ] = Path("compare.run"),
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it: .png, .svg or .pdf.")
    ] = None,
    users: UsersOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Train models and fit rules on one split of a log, and show them beside each other.

    Networks are bert4rec, sasrec, gsasrec and esasrec; --epochs and --budget are for each of them.
    Rules are popularity, recent-popularity, markov, item-knn and ease.

    \b
    Examples:
      recurra-recsys compare log.csv
      recurra-recsys compare log.csv --models markov,ease --seen
      recurra-recsys compare log.csv --models markov,ease,sasrec --budget 10m --plot models.png
    """
    from recurra.recsys.compare import compare as run_comparison
    from recurra.recsys.data import LogColumns
    from recurra.recsys.recipes import RECIPES, load_recipe

    refuse_to_overwrite(users, plot, force=force)
    options = {"epochs": epochs, "max_minutes": budget, "seed": seed}
    finished = run_comparison(
        log,
        LogColumns(user, item, time, weight, weight_min, k_core),
        None if models is None else [name.strip() for name in models.split(",")],
        {name: load_recipe(name, (), options) for name in RECIPES},
        run_folder,
        asked_features(items, features),
        split_by=split,
        filter_seen=not seen,
        users=users,
        picture=plot,
        json=json,
    )
    if not finished:
        raise typer.Exit(130)
