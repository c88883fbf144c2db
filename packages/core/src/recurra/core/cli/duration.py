"""How long something may take, as a person writes it: 90s, 30m, 2h."""

import re
from typing import Annotated, TypeAlias

import typer

_MINUTES = {"s": 1 / 60, "m": 1.0, "h": 60.0}


def parse_minutes(text: str) -> float:
    """Minutes of a duration such as `90s`, `30m`, `1.5h`.

    Raises:
        typer.BadParameter: it has another form, or is no time at all; a usage error of the command.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or float(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not a time; give 90s, 30m or 2h")
    return float(match[1]) * _MINUTES[match[2]]


BudgetOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        parser=parse_minutes,
        help="End the run after this long in all, such as 30m or 2h; a longer one goes on.",
    ),
]
