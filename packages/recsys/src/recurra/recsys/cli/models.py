"""The commands about models themselves: what one is, how fast it is, an index, one made ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import JsonOption
from recurra.core.files import refuse_to_overwrite
from recurra.recsys.cli.columns import (
    ItemOption,
    TimeOption,
    UserOption,
    WeightMinOption,
    WeightOption,
)


def info(
    model: Annotated[str, typer.Argument(help="A folder that `train` made, or a Hub id.")],
    json: JsonOption = False,
) -> None:
    """Describe a model: what it is, what it was trained on and what it was worth then.

    \b
    Examples:
      recurra-recsys info model
      recurra-recsys info model --json
    """
    from dataclasses import asdict

    from recurra.core.cli import print_json, print_table
    from recurra.recsys.info import describe

    facts = describe(model)
    if json:
        print_json(asdict(facts))
        return
    rows = [
        ("model", f"{facts.name} ({facts.kind})"),
        ("parameters", f"{facts.parameters / 1e6:.2f} million"),
        ("stored", f"{facts.stored_bytes / 1e6:.2f} MB"),
        ("items", str(facts.items)),
        ("users", str(facts.users)),
        ("events", str(facts.events)),
        *((name, str(value)) for name, value in facts.config.items() if name != "n_items"),
    ]
    for name, row in ((facts.metrics or {}).get("test") or {}).items():
        numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
        said = ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())
        rows.append((f"{name}, test", said))
    print_table(rows, ["", ""])


def bench(
    subject: Annotated[
        str, typer.Argument(metavar="MODEL|LOG", help="A model folder or Hub id, or a log.")
    ],
    model: Annotated[
        str | None, typer.Option(help="For a log: bert4rec (default), sasrec, gsasrec, esasrec.")
    ] = None,
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    weight_min: WeightMinOption = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Of CPU time for each figure.")
    ] = 3.0,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
    json: JsonOption = False,
) -> None:
    """Measure this machine: how fast a model learns and answers, and its memory.

    A trained model is measured on the histories that it knows, and is not changed; for a log it is
    a new network. Users learnt in a CPU second are by the time of an epoch, of which some updates
    are measured.

    \b
    Examples:
      recurra-recsys bench model
      recurra-recsys bench log.csv --model sasrec --json
    """
    from dataclasses import asdict

    from recurra.core.cli import print_json, print_table
    from recurra.recsys.bench import bench as measure
    from recurra.recsys.data import LogColumns

    columns = LogColumns(user, item, time, weight, weight_min)
    speed = measure(subject, columns, recipe=model, seconds=seconds, threads=threads)
    if json:
        print_json(asdict(speed))
        return
    memory = [None if mib is None else round(mib) for mib in (speed.base_mib, speed.peak_mib)]
    print_table(
        [
            ("measured", f"{speed.model}, torch threads: {speed.threads}"),
            ("log", f"{speed.items} items, {speed.users} users, {speed.events} events"),
            ("training, users per CPU second", f"{speed.training_users_per_cpu_second:.0f}"),
            ("top-10 lists, users per CPU second", f"{speed.top10_users_per_cpu_second:.0f}"),
            ("one user alone, ms", f"{speed.one_user_ms:.2f}"),
            ("one user alone, CPU ms", f"{speed.one_user_cpu_ms:.2f}"),
            ("memory before, MiB", memory[0]),
            ("most memory, MiB", memory[1]),
        ],
        ["", subject],
    )


def index(
    model: Annotated[Path, typer.Argument(help="A folder that `train` made.")],
    recall: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Least share of exact lists of 10 that is found."),
    ] = 0.99,
    seed: Annotated[int, typer.Option(min=0, help="Of the cells, and of who tries them.")] = 0,
    json: JsonOption = False,
) -> None:
    """Index the items of a model of 100,000 items or more, so that lists take less time.

    Items are put into cells by k-means, and a list is looked for in the nearest. `recommend` and
    `serve` then ask the index, but for --exact. A list still has as many items as there are: where
    filters leave too few, and for lists of more than 100, all items are scored. Below 100,000 items
    nothing is written: scoring them all takes a few milliseconds.

    Needs the extra `faiss`.

    \b
    Examples:
      recurra-recsys index model
      recurra-recsys index model --recall 0.999
    """
    from dataclasses import asdict

    from recurra.core.cli import print_json, print_table
    from recurra.recsys.index import LEAST_ITEMS, index_model

    report = index_model(model, least_recall=recall, seed=seed)
    if json:
        print_json(asdict(report))
        return
    if report.written is None:
        typer.echo(
            f"{model} has {report.items} items: below {LEAST_ITEMS} all are scored, and no index "
            "is written"
        )
        return
    print_table(
        [
            ("items", report.items),
            ("cells, and how many are looked at", f"{report.cells}, {report.probes}"),
            ("recall@10 against exact lists", f"{report.recall_at_10:.4f}"),
            ("recall@100", f"{report.recall_at_100:.4f}"),
            ("CPU ms a list, exact", f"{report.exact_ms:.2f}"),
            ("CPU ms a list, with the index", f"{report.index_ms:.2f}"),
            ("CPU ms of one alone, exact", f"{report.exact_alone_ms:.2f}"),
            ("CPU ms of one alone, with the index", f"{report.index_alone_ms:.2f}"),
            ("CPU seconds to make it", f"{report.build_seconds:.1f}"),
        ],
        ["", str(model)],
    )
    typer.echo(f"wrote {report.written} ({(report.stored_bytes or 0) / 1e6:.1f} MB)")


def export(
    model: Annotated[str, typer.Argument(help="A folder that `train` made, or a Hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file.")],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace a file that is there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a model as ONNX, and check it against torch with onnxruntime.

    It maps histories, as numbers of items, to the scores of all items; rows and lengths are free.
    The items' own ids are in the file's metadata. Needs the extra `export`.

    \b
    Example:
      recurra-recsys export model -o model.onnx
    """
    from recurra.core.cli import print_json
    from recurra.recsys.export import export_onnx

    refuse_to_overwrite(output, force=force)
    report = export_onnx(model, output)
    if json:
        sizes = {"stored_bytes": report.stored_bytes, "max_error": report.max_error}
        print_json({"output": report.path, **sizes})
        return
    typer.echo(
        f"wrote {report.path} ({report.stored_bytes / 1e6:.2f} MB); "
        f"largest difference from torch {report.max_error:.1e} of the largest score"
    )
