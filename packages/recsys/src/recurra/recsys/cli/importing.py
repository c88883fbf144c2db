"""The command that brings a large log into a form to train from."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import JsonOption
from recurra.recsys.cli.columns import (
    ItemOption,
    KCoreOption,
    TimeOption,
    UserOption,
    WeightMinOption,
    WeightOption,
)


def import_file(
    log: Annotated[Path, typer.Argument(help="A log: .csv, .tsv, .inter, .txt or .parquet.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder.")],
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    weight_min: WeightMinOption = None,
    k_core: KCoreOption = 1,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an imported log that is there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Import a log that is large: a folder of arrays that training maps into memory.

    `train FOLDER` then does what `train LOG` does, without the log in memory. Rows are put in
    order on the disk, in parts by user.

    \b
    Examples:
      recurra-recsys import events.csv -o events
      recurra-recsys import ratings.parquet -o liked --weight-min 4 --k-core 5
      recurra-recsys train events -o model
    """
    import sys
    from dataclasses import asdict

    from recurra.core.cli import print_json
    from recurra.recsys.data import LogColumns, import_log, open_log

    columns = LogColumns(user, item, time, weight, weight_min, k_core)
    report = import_log(log, output, columns, force=force)
    found, _ = open_log(output)
    counts = {"events": len(found), "users": found.n_users, "items": found.n_items}
    for line in report.lines():
        print(f"{log}: {line}", file=sys.stderr)
    if json:
        print_json({"output": output, **counts, **asdict(report)})
    else:
        said = " of ".join([f"{counts['events']} events", f"{counts['users']} users"])
        typer.echo(f"wrote {output}: {said} and {counts['items']} items")
