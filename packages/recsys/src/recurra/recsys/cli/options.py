"""What the commands that read a log share: which columns hold what, and what of it counts."""

from typing import Annotated

import typer

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
