"""The commands that take in a log: a large one to train from, a new one for a model."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import JsonOption
from recurra.recsys.cli.columns import (
    ItemOption,
    KCoreOption,
    LogArgument,
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
    order on the disk, in parts by user. Rows where a value is missing (null, or in a text empty,
    NaN, null, None, NA and what else pandas takes for it) are left out and counted.

    \b
    Examples:
      recurra-recsys import events.csv -o events
      recurra-recsys import ratings.parquet -o liked --weight-min 4 --k-core 5
      recurra-recsys train events -o model
    """
    import sys
    from dataclasses import asdict

    from recurra.core.cli import print_json, progress
    from recurra.recsys.data import LogColumns, import_log, open_log

    columns = LogColumns(user, item, time, weight, weight_min, k_core)
    with progress("importing", unit="rows") as bar:
        report = import_log(log, output, columns, force=force, advance=bar.advance)
    found, _ = open_log(output)
    counts = {"events": len(found), "users": found.n_users, "items": found.n_items}
    counts["users_with_fewer_than_3_events"] = found.n_short
    for line in report.lines():
        print(f"{log}: {line}", file=sys.stderr)
    if json:
        print_json({"output": output, **counts, **asdict(report)})
    else:
        typer.echo(f"wrote {output}: {found.summary()}")


def extend(
    model: Annotated[str, typer.Argument(help="A folder that `train` made, or a Hub id.")],
    log: LogArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The new model's folder.")
    ],
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    weight_min: WeightMinOption = None,
    epochs: Annotated[
        int, typer.Option(min=0, help="Times that histories with new events are seen; 0: none.")
    ] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of order and masks.")] = 0,
    run_folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="Of the run, to go on with; default: DIR.extend"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Extend a model by a log of what came since: new events, new users, new items.

    Whatever was known keeps its place. A new item begins as the mean of the items around it; then
    the histories with new events, all of them, and as many others are learnt. With --epochs 0
    nothing is learnt, and old items score as they did, to the bit. The table shows how well the
    model foresaw what came, before it learnt it.

    \b
    Examples:
      recurra-recsys extend model new.csv -o model
      recurra-recsys extend model new.csv -o extended --epochs 0
    """
    from dataclasses import asdict

    from recurra.core.cli import print_json
    from recurra.core.training import is_first_process
    from recurra.recsys.data import LogColumns
    from recurra.recsys.extend import extend_model
    from recurra.recsys.report import document, say, show

    columns = LogColumns(user, item, time, weight, weight_min)
    done = extend_model(
        model, log, columns, output, epochs=epochs, seed=seed, run_folder=run_folder
    )
    if not done.finished:
        raise typer.Exit(130)
    if not is_first_process():
        return
    for line in done.log.lines():
        say(f"{log}: {line}")
    if json:
        counts = {"events": done.events, "users": done.users, "items": done.items}
        came = document(done.rows, done.split) if done.rows else None
        print_json({"output": output, "log": asdict(done.log), **counts, "before": came})
    else:
        if done.rows:
            show(done.rows, done.split)
        new = f"{done.events} new events, {done.users} new users and {done.items} new items"
        typer.echo(f"wrote {output}: {new}")
