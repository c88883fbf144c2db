"""A log of interactions from a CSV, TSV or Parquet file: columns found, bad rows counted."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recurra.core.errors import RecurraError
from recurra.recsys.data.interactions import Interactions

# Names of columns as logs have them, the usual first; RecBole's `user_id:token` is read as user_id.
NAMES = {
    role: names.split()
    for role, names in {
        "user": "user user_id userid uid customer customer_id customerid visitor_id visitorid"
        " reviewer_id reviewerid session_id sessionid",
        "item": "item item_id itemid iid product product_id productid sku movie_id movieid"
        " article_id track_id asin book_id isbn business_id",
        "time": "time timestamp ts datetime date event_time created_at t unixreviewtime"
        " order_date t_dat",
    }.items()
}
WEIGHTS = ["weight", "rating", "stars", "score", "value", "overall"]
SEPARATORS = ["\t", ";", "|", ","]


@dataclass(frozen=True)
class LogColumns:
    """Which columns of a file hold what; None is found by its name.

    Attributes:
        user, item: ids of any type.
        time: seconds, milliseconds, any other rising number, or dates as ISO 8601 text; a log
            without one is in the order of its rows.
        weight: such as a rating, which `weight_min` is about.
        weight_min: rows below it are left out.
    """

    user: str | None = None
    item: str | None = None
    time: str | None = None
    weight: str | None = None
    weight_min: float | None = None


@dataclass(frozen=True)
class LogReport:
    """What was made of a file.

    Attributes:
        columns: what each of user, item, time (and weight) was read from.
        rows: of the file.
        left_out: how many rows were left out, by reason.
    """

    columns: dict[str, str]
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)


def read_log(path: Path, columns: LogColumns | None = None) -> tuple[Interactions, LogReport]:
    """Read who took what and when.

    Rows without a user, an item or a readable time, rows below `weight_min` and exact repeats of a
    row with a time are left out and counted.

    Args:
        path: a file whose name ends in .parquet, or text with a header (.csv, .tsv, .inter, .txt,
            also with .gz), whose separator is the one that the header has most of.
        columns: names of columns, where they are not the usual ones.

    Raises:
        RecurraError: it cannot be read, a column is missing, or no row is left.
    """
    asked = columns or LogColumns()
    table = read_table(path)
    found = _find_columns(table, asked, path)
    frame = table.select(pl.col(name).alias(role) for role, name in found.items())
    left_out: dict[str, int] = {}

    def keep(reason: str, wanted: pl.Expr) -> None:
        nonlocal frame
        kept = frame.filter(wanted.fill_null(False))
        if len(kept) < len(frame):
            left_out[reason] = len(frame) - len(kept)
        frame = kept

    for role in ("user", "item"):
        keep(f"no {role}", _present(frame, role))
    if "weight" in found and asked.weight_min is not None:
        frame = frame.with_columns(pl.col("weight").cast(pl.Float64, strict=False))
        keep(f"{found['weight']} below {asked.weight_min:g}", pl.col("weight") >= asked.weight_min)
    if "time" in found:
        frame = frame.with_columns(_as_seconds(frame["time"]))
        keep("unreadable time", pl.col("time").is_finite())
        keep("repeated row", pl.struct("user", "item", "time").is_first_distinct())
    if not len(frame):
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise RecurraError(f"{path} has no usable row" + (f": {reasons}" if reasons else ""))
    report = LogReport(found, len(table), left_out)
    return Interactions.from_frame(frame), report


def read_table(path: Path) -> pl.DataFrame:
    """Read a file of any form that `read_log` takes, as it is.

    Raises:
        RecurraError: it cannot be read as a table.
    """
    if path.is_dir():
        raise RecurraError(f"{path} is a folder; give the file of the log")
    if not path.is_file():
        raise RecurraError(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, separator=_separator(path), infer_schema_length=None)
    except pl.exceptions.NoDataError as error:
        raise RecurraError(f"{path} is empty") from error
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        first = (str(error).strip().splitlines() or ["?"])[0]
        raise RecurraError(f"{path} cannot be read as a table: {first}") from error


def _separator(path: Path) -> str:
    import gzip

    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:
        header = file.readline()
    return max(SEPARATORS, key=lambda separator: (header.count(separator), separator == ","))


def _find_columns(table: pl.DataFrame, asked: LogColumns, path: Path) -> dict[str, str]:
    """What each role is read from; user and item must be there."""
    plain = {name.split(":")[0].strip().lower().replace(" ", "_"): name for name in table.columns}
    found = {}
    for role, names in NAMES.items():
        given = getattr(asked, role)
        name = given if given in table.columns else plain.get((given or "").lower())
        if given is None:
            name = next((plain[usual] for usual in names if usual in plain), None)
        if name is None and (given is not None or role != "time"):
            missing = f"column {given!r}" if given else f"a column of {role}s"
            raise RecurraError(
                f"{path} has not {missing}; it has {', '.join(table.columns)}: give --{role} NAME"
            )
        if name is not None:
            found[role] = name
    if asked.weight_min is not None:
        names = [asked.weight] if asked.weight else WEIGHTS
        weight = next((plain[name.lower()] for name in names if name.lower() in plain), None)
        if weight is None:
            raise RecurraError(f"{path} has no column {' or '.join(names)}: give --weight NAME")
        found["weight"] = weight
    return found


def _present(frame: pl.DataFrame, role: str) -> pl.Expr:
    column = pl.col(role)
    if frame[role].dtype.is_float():
        return column.is_not_nan()
    if frame[role].dtype == pl.String:
        return column.str.strip_chars() != ""
    return column.is_not_null()


def _as_seconds(times: pl.Series) -> pl.Series:
    """Numbers as they are, dates in seconds; what cannot be read is NaN."""
    if times.dtype == pl.String:
        numbers = times.cast(pl.Float64, strict=False)
        if numbers.is_not_null().any():
            return numbers.fill_null(float("nan"))
        try:
            times = times.str.to_datetime(strict=False, time_unit="us", time_zone="UTC")
        except pl.exceptions.ComputeError:  # not one of them looks like a date
            return pl.repeat(float("nan"), len(times), eager=True).alias("time")
    if times.dtype.is_temporal():
        times = times.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64) / 1e6
    return times.cast(pl.Float64, strict=False).fill_null(float("nan"))
