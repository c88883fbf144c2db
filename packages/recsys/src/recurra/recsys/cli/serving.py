"""The command that answers over HTTP."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    model: Annotated[str, typer.Argument(help="A folder that `train` made, or a Hub id.")],
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond loopback whoever reaches it may ask.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.")] = 8000,
    threads: Annotated[int, typer.Option(min=1, help="Of torch; one is best for most.")] = 1,
    items: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A table of items, for per_category of requests."),
    ] = None,
    category: Annotated[str, typer.Option(metavar="COLUMN", help="Of --items.")] = "category",
    exact: Annotated[
        bool, typer.Option("--exact", help="Score all items, also where there is an index.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="For a body, and for an answer.")
    ] = 10.0,
    max_k: Annotated[int, typer.Option(min=1, help="Items of a list.")] = 1000,
    max_events: Annotated[int, typer.Option(min=1, help="Of a history.")] = 10_000,
    max_body: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Of a request.")] = 1 << 20,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Requests; one more is turned away.")
    ] = 1024,
    max_users: Annotated[
        int, typer.Option(min=1, help="With a state; the one longest not heard of goes.")
    ] = 10_000,
) -> None:
    """Answer over HTTP, JSON in and out, until Ctrl-C.

    POST /recommend takes {"history": [ids]} or {"user": id}, and "k" and "seen" if you like;
    "only" and "exclude", lists of ids, and "per_category", with --items, limit what a list holds.
    POST /events takes {"user": id, "items": [ids]}, what a user took since, for models that stream
    (train --model sasrec network.encoder=mamba2 network.positions=none): their state is a step
    further, and /recommend with "user" knows it; "history" begins with what they took before.
    GET /similar?item=ID, /health and /metrics. POST /reload loads the folder anew, without a
    request lost, and drops states. What waits is scored together, and a list is the one that
    `recommend` makes.

    Needs the extra `serve`.

    \b
    Examples:
      recurra-recsys serve model
      recurra-recsys serve model --items titles.csv
      curl localhost:8000/recommend --json '{"history": ["tea", "cups"], "k": 3}'
      curl localhost:8000/events --json '{"user": "ann", "items": ["kettle"]}'
      curl 'localhost:8000/similar?item=tea&k=3'
      curl -X POST localhost:8000/reload
    """
    from recurra.recsys.serving import serve as answer
    from recurra.recsys.serving.limits import ServeLimits

    limits = ServeLimits(max_body, max_events, max_k, timeout, max_waiting, users=max_users)
    answer(
        model,
        host=host,
        port=port,
        limits=limits,
        threads=threads,
        items=items,
        category=category,
        use_index=not exact,
        tell=typer.echo,
    )
