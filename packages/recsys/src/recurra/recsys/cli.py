"""The command `recurra-recsys`: thin commands that import what they need when they run."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import JsonOption, create_app, run
from recurra.core.errors import RecurraError

PACKAGE = "recurra-recsys"
app = create_app(
    "Recommend next items from a log of who took what and when. "
    "Try: recurra-recsys train examples/log.csv -o model",
    package=PACKAGE,
)


def main() -> int:
    """Run the command line; the exit code is one of `recurra.core.cli.ExitCode`."""
    return run(app, PACKAGE)


@app.command()
def train(
    log: Annotated[Path, typer.Argument(help="A log: .csv, .tsv, .inter, .txt or .parquet.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The model's folder.")
    ] = Path("model"),
    user: Annotated[str | None, typer.Option(metavar="COLUMN", help="Who.")] = None,
    item: Annotated[str | None, typer.Option(metavar="COLUMN", help="What.")] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="When: numbers or ISO dates.")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Such as a rating, for --weight-min.")
    ] = None,
    weight_min: Annotated[
        float | None, typer.Option(metavar="X", help="Leave out rows with less weight.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Times that each history is seen.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and masks.")] = 0,
    run_folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="Of the run, to go on with; default: DIR.run"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train BERT4Rec on a log, and show where it stands beside rules without training.

    The last event of each user is held out for the test, the one before it to choose the best
    weights by. Columns are found by their usual names. Interrupt it at any moment and start it
    again to go on.

    \b
    Examples:
      recurra-recsys train log.csv -o model
      recurra-recsys train ratings.parquet --item movieId --weight-min 4 -o model
    """
    from recurra.recsys.data import LogColumns
    from recurra.recsys.train import TrainConfig
    from recurra.recsys.train_log import train_log

    columns = LogColumns(user, item, time, weight, weight_min)
    config = TrainConfig(epochs=epochs, seed=seed)
    finished = train_log(log, columns, config, output, run_folder, json=json)
    if not finished:
        raise typer.Exit(130)


@app.command()
def recommend(
    model: Annotated[str, typer.Argument(help="A folder that `train` made, or a Hub id.")],
    users: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ids of users of the log, one a line.")
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,C", help="Items of anyone, oldest first; may be repeated."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Items for each.")] = 10,
    seen: Annotated[
        bool, typer.Option("--seen", help="Recommend what the history holds, too.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A .csv or .parquet.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an output that is there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Recommend items for users of the log, or after any history.

    Without --users and --history every user of the log gets a list. Items that the model does not
    know are skipped and counted; a history without any known item gets the most popular ones.

    \b
    Examples:
      recurra-recsys recommend model --history tea,cups,kettle -k 5
      recurra-recsys recommend model -k 10 -o lists.parquet
      recurra-recsys recommend model --users some.txt -o lists.csv
    """
    from recurra.recsys.recommend import read_users, show, write_table
    from recurra.recsys.recommender import Recommender

    if users is not None and history:
        raise RecurraError("--users and --history exclude each other")
    if output is not None and output.exists() and not force:
        raise RecurraError(f"{output} is there already; give --force to replace it")
    recommender = Recommender.from_pretrained(model)
    if history:
        wanted = [[item.strip() for item in line.split(",")] for line in history]
        found = recommender.for_histories(wanted, k, filter_seen=not seen)
    else:
        ids = None if users is None else read_users(users)
        found = recommender.for_users(ids, k, filter_seen=not seen)
    if output is not None:
        write_table(found.table, output)
    show(found, output, PACKAGE, json=json)
