"""The commands that ask a model: lists for users, items that are alike."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import JsonOption
from recurra.core.errors import RecurraError
from recurra.core.files import refuse_to_overwrite

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="A .csv or .parquet.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", "-f", help="Replace an output that is there.")
]
ItemsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A table of items; its columns are joined to the lists."),
]


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
    only: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of these items, ids one a line.")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(metavar="FILE", help="None of these items, ids one a line.")
    ] = None,
    items: ItemsOption = None,
    per_category: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N of a category; needs --items.")
    ] = None,
    category: Annotated[str, typer.Option(metavar="COLUMN", help="Of --items.")] = "category",
    exact: Annotated[
        bool, typer.Option("--exact", help="Score all items, also where there is an index.")
    ] = False,
    output: OutputOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Recommend items for users of the log, or after any history.

    Without --users and --history every user of the log gets a list. Users and items that the model
    does not know are skipped and counted; a history without any known item gets the most popular
    ones. A list has K items, or as many as there are that may be in it. A model that `index` has
    been run on is asked by its index.

    \b
    Examples:
      recurra-recsys recommend model --history tea,cups,kettle -k 5
      recurra-recsys recommend model -k 10 -o lists.parquet
      recurra-recsys recommend model --users some.txt -o lists.csv
      recurra-recsys recommend model --exclude sold-out.txt --items titles.csv --per-category 2
    """
    from recurra.recsys.catalogue import Catalogue, allowed_items, read_ids
    from recurra.recsys.recommend import check_table, show, write_table
    from recurra.recsys.recommender import Recommender
    from recurra.recsys.selection import Selection

    if users is not None and history:
        raise RecurraError("--users and --history exclude each other")
    if per_category is not None and items is None:
        raise RecurraError("--per-category needs --items FILE, whose column says the categories")
    check_table(output)
    refuse_to_overwrite(output, force=force)
    catalogue = None if items is None else Catalogue(items)
    wanted_only, unwanted = (p if p is None else read_ids(p, "item") for p in (only, exclude))
    ids = None if users is None else read_ids(users, "user")
    recommender = Recommender.from_pretrained(model, use_index=not exact)
    allowed, unknown_ids = allowed_items(recommender.log, wanted_only, unwanted)
    if not allowed[1:].any():
        raise RecurraError(
            "--only and --exclude leave no item of the model, so that every list would be empty:"
            f" give ids as the log has them, such as {recommender.log.items[0]}"
        )
    selection = Selection(allowed)
    if per_category is not None and catalogue is not None:
        numbers = catalogue.categories(recommender.log, category)
        selection = Selection(allowed, numbers, per_category)
    asked = {"k": k, "filter_seen": not seen, "selection": selection}
    if history:
        lines = [[item.strip() for item in line.split(",") if item.strip()] for line in history]
        found = recommender.for_histories(lines, **asked)
    else:
        found = recommender.for_users(ids, **asked)
    if catalogue is not None:
        found = replace(found, table=catalogue.join(found.table))
    if output is not None:
        write_table(found.table, output)
    show(found, output, json=json, unknown_ids=unknown_ids)


def similar(
    model: Annotated[str, typer.Argument(help="A folder that `train` made, or a Hub id.")],
    item: Annotated[list[str], typer.Argument(help="Ids of items, as in the log.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Items for each.")] = 10,
    items: ItemsOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """List the items that are most like one, by the angle between their embeddings.

    Two items are alike that the model recommends after the same histories. Items that it does not
    know are skipped and counted.

    \b
    Examples:
      recurra-recsys similar model tea
      recurra-recsys similar model tea cups -k 3 --items titles.csv
    """
    from recurra.recsys.catalogue import Catalogue
    from recurra.recsys.recommend import check_table, show_similar, write_table
    from recurra.recsys.recommender import Recommender
    from recurra.recsys.similar import SimilarItems

    check_table(output)
    refuse_to_overwrite(output, force=force)
    catalogue = None if items is None else Catalogue(items)
    table, unknown = SimilarItems(Recommender.from_pretrained(model)).of_each(item, k)
    if catalogue is not None:
        table = catalogue.join(table)
    if output is not None:
        write_table(table, output)
    show_similar(table, output, unknown, json=json)
