"""Options that every command with a log has."""

from pathlib import Path
from typing import Annotated

import typer

LogArgument = Annotated[
    Path, typer.Argument(help="A log: .csv, .tsv, .inter, .txt, .parquet, or an imported folder.")
]
UserOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="Who.")]
ItemOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="What.")]
TimeOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="When: numbers or ISO dates.")
]
WeightOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Such as a rating, for --weight-min.")
]
WeightMinOption = Annotated[
    float | None, typer.Option(metavar="X", help="Leave out rows with less weight.")
]
KCoreOption = Annotated[
    int,
    typer.Option(min=1, metavar="K", help="Leave out users and items with fewer than K events."),
]
SeenOption = Annotated[
    bool, typer.Option("--seen", help="Rank what the history holds, too, when judging.")
]
SPLIT_HELP = "Judge by the last event of each user (leave-one-out), or by a moment (time)."
