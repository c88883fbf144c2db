"""The command that makes lists with a model."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import JsonOption
from recurra.core.errors import RecurraError


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
    show(found, output, json=json)
