"""Options that every command with a log has."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurra.core.errors import RecurraError

if TYPE_CHECKING:
    from recurra.recsys.item_features import FeatureColumns

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
AboutItemsOption = Annotated[
    Path | None,
    typer.Option("--items", metavar="FILE", help="A table about the items, for --features."),
]
FeaturesOption = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Columns of categories in it, which networks learn too."),
]
SPLIT_HELP = "Judge by the last event of each user (leave-one-out), or by a moment (time)."


def asked_features(items: Path | None, features: str | None) -> "FeatureColumns | None":
    """What the two options say; None without them.

    Raises:
        RecurraError: one is given without the other.
    """
    from recurra.recsys.item_features import FeatureColumns

    if items is None and features is None:
        return None
    names = tuple(name.strip() for name in (features or "").split(",") if name.strip())
    if items is None or not names:
        raise RecurraError("--items FILE and --features COLUMN go together: give both")
    return FeatureColumns(items, names)
