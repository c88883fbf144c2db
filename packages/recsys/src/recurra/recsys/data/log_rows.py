"""The rows of a file that can be used, a batch at a time; the others are counted."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recurra.core.errors import RecurraError
from recurra.recsys.data.tables import (
    as_whole,
    is_text,
    table_errors,
    table_pieces,
    whole_numbers,
)

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
# Text that pandas reads as a missing value (`na_values` of its `read_csv`): nobody is called so.
MISSING = ["#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
MISSING += ["<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
# The least that a number must reach to be taken for a time in each unit: all from 1973 on.
UNITS = [(1e17, "nanoseconds", 1e9), (1e14, "microseconds", 1e6), (1e11, "milliseconds", 1e3)]
SECONDS_FROM = 1e8
DATE_FORMATS = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
DATE_FORMATS += [f"{form}%#z" for form in DATE_FORMATS]
UNREADABLE_TIME = "unreadable time"
READABLE = "numbers that rise, or dates such as 2026-11-28 and 2026-11-28T18:05:30+01:00, are read"


@dataclass(frozen=True)
class LogColumns:
    """Which columns of a file hold what, and what of it counts; None is found by its name.

    Attributes:
        user, item: ids of any type; those of a text file are text, as they stand there, but for
            those of `MISSING`, which are none. Floats that are all whole are integers.
        time: seconds, milliseconds, any other rising number, or dates as ISO 8601 text; a log
            without one is in the order of its rows.
        weight: such as a rating, which `weight_min` is about.
        weight_min: rows below it are left out.
        k_core: users and items with fewer events are left out, until none is left that has.
    """

    user: str | None = None
    item: str | None = None
    time: str | None = None
    weight: str | None = None
    weight_min: float | None = None
    k_core: int = 1


@dataclass(frozen=True)
class LogReport:
    """What was made of a file.

    Attributes:
        columns: what each of user, item, time (and weight) was read from.
        rows: of the file.
        left_out: how many rows were left out, by reason.
        times: what the times were taken for, in words; None for a log without.
        examples: the first value that could not be read, by the reason in `left_out`.
    """

    columns: dict[str, str]
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)
    times: str | None = None
    examples: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What a person should know of it."""
        read = ", ".join(f"{role} from {name!r}" for role, name in self.columns.items())
        order = "no column of times: the order is that of the rows"
        if self.times is not None:
            order = f"times are {self.times}"
        lost = [
            f"{count} of {self.rows} rows left out: {self._told(why)}"
            for why, count in self.left_out.items()
        ]
        return [f"{read}; {order}", *lost]

    def losses(self) -> str:
        """Where the rows went, in one line."""
        return ", ".join(f"{count} {self._told(why)}" for why, count in self.left_out.items())

    def _told(self, why: str) -> str:
        if why not in self.examples:
            return why
        accepted = f" ({READABLE})" if why == UNREADABLE_TIME else ""
        return f"{why}, such as {self.examples[why]!r}{accepted}"


class LogRows:
    """Rows with a user, an item and a readable time, in the order of the file.

    Attributes:
        columns: what each role is read from.
        rows: of the file, as far as it has been read.
        left_out: how many rows were left out so far, by reason.
        examples: the first value that could not be read, by such a reason.
    """

    def __init__(self, path: Path, asked: LogColumns) -> None:
        """Find the columns.

        Raises:
            RecurraError: the file cannot be read, or a column is missing.
        """
        if asked.k_core < 1:
            raise RecurraError(f"k_core is {asked.k_core}; it must be at least 1")
        self._path = path
        self._asked = asked
        with table_errors(path):
            schema = next(table_pieces(path)).collect_schema()
        self.columns = _find_columns(schema.names(), asked, path)
        self._floats = [r for r in ("user", "item") if schema[self.columns[r]].is_float()]
        self._missing = ["", *(MISSING if is_text(path) else [])]
        self.rows = 0
        self.left_out: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._dates: bool | None = None  # times are dates; not known before the first readable one
        self._largest = 0.0

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the usable rows: "user", "item" and, if there are times, "time" as float64.

        Numbers are as they are, see `time_unit`; dates are seconds.

        Raises:
            RecurraError: the file breaks off, or is no table further on.
        """
        whole = self._whole_floats()
        with table_errors(self._path):
            for table in self._pieces():
                frame = table.with_columns(as_whole(pl.col(role)) for role in whole).collect()
                self.rows += len(frame)
                yield self._usable(frame)

    def _pieces(self) -> Iterator[pl.LazyFrame]:
        named = [pl.col(name).alias(role) for role, name in self.columns.items()]
        return (table.select(named) for table in table_pieces(self._path))

    def _whole_floats(self) -> list[str]:
        """Which of the ids are floats that are all whole; only then are rows looked at."""
        whole = self._floats
        with table_errors(self._path):
            for table in self._pieces() if whole else ():
                found = table.select(whole_numbers(pl.col(self._floats))).collect()
                whole = [role for role in whole if found[role].item()]
        return whole

    def time_unit(self) -> tuple[str | None, float]:
        """What the times are, in words, and what makes them seconds; after the last batch."""
        if "time" not in self.columns:
            return None, 1.0
        if self._dates:
            return "dates", 1.0
        for least, name, divisor in UNITS:
            if self._largest >= least:
                return name, divisor
        return ("seconds" if self._largest >= SECONDS_FROM else "numbers that rise"), 1.0

    def report(self) -> LogReport:
        """What was made of the rows; after the last batch."""
        unit, _ = self.time_unit()
        return LogReport(self.columns, self.rows, dict(self.left_out), unit, self.examples)

    def _usable(self, frame: pl.DataFrame) -> pl.DataFrame:
        for role in ("user", "item"):
            frame = self._present(frame, role, role)
        if "weight" in self.columns:
            name, least = self.columns["weight"], self._asked.weight_min or 0.0
            frame = self._present(frame, "weight", name)
            weights = frame["weight"].cast(pl.Float64, strict=False).fill_nan(None)
            frame = self._readable(frame, "weight", f"unreadable {name}", weights)
            frame = self._keep(frame, f"{name} below {least:g}", frame["weight"] >= least)
            frame = frame.drop("weight")
        if "time" in self.columns:
            frame = self._present(frame, "time", "time")
            times = self._times(frame["time"])
            frame = self._readable(frame, "time", UNREADABLE_TIME, times)
            largest = frame["time"].abs().max()
            self._largest = max(self._largest, largest if isinstance(largest, float) else 0.0)
        return frame

    def _present(self, frame: pl.DataFrame, role: str, name: str) -> pl.DataFrame:
        """Leave out the rows without a value, and count them by how that is spelled."""
        column = frame[role]
        if column.dtype != pl.String:
            gaps = column.is_null() | (column.is_nan() if column.dtype.is_float() else False)
            return self._keep(frame, f"no {name}", ~gaps)
        text = column.str.strip_chars().fill_null("")
        gaps = text.is_in(self._missing)
        for word, count in Counter(text.filter(gaps)).items():
            self.left_out[f"{name} is {word!r}" if word else f"no {name}"] += count
        return frame.filter(~gaps)

    def _readable(
        self, frame: pl.DataFrame, role: str, reason: str, values: pl.Series
    ) -> pl.DataFrame:
        """Put numbers in place of what they were read from; what is none is left out."""
        numbers = values.is_finite().fill_null(False)
        if not numbers.all():
            self.examples.setdefault(reason, str(frame[role].filter(~numbers)[0]))
        return self._keep(frame.with_columns(values.alias(role)), reason, numbers)

    def _keep(self, frame: pl.DataFrame, reason: str, wanted: pl.Series) -> pl.DataFrame:
        kept = frame.filter(wanted)
        if len(kept) < len(frame):
            self.left_out[reason] += len(frame) - len(kept)
        return kept

    def _times(self, times: pl.Series) -> pl.Series:
        """Numbers as they are, dates in seconds; what cannot be read is null or NaN."""
        if times.dtype.is_temporal():
            self._dates = True
            return _seconds(times)
        if times.dtype != pl.String:
            return times.cast(pl.Float64, strict=False)
        numbers = _numbers(times)
        if self._dates is None:
            readable = numbers.is_finite().fill_null(False)
            earlier = times.head(readable.arg_max()) if readable.any() else times
            if _dates(earlier).is_not_null().any():
                self._dates = True
            elif readable.any():
                self._dates = False
        return _dates(times) if self._dates else numbers


def _find_columns(names: list[str], asked: LogColumns, path: Path) -> dict[str, str]:
    """What each role is read from; user and item must be there."""
    plain = {name.split(":")[0].strip().lower().replace(" ", "_"): name for name in names}
    found = {}
    for role, usual_names in NAMES.items():
        given = getattr(asked, role)
        name = given if given in names else plain.get((given or "").lower())
        if given is None:
            name = next((plain[usual] for usual in usual_names if usual in plain), None)
        if name is None and (given is not None or role != "time"):
            missing = f"column {given!r}" if given else f"column of {role}s"
            remedy = f"give --{role} NAME"
            if given is None and _numbers(pl.Series(names)).is_not_null().any():
                remedy = "if these are no names, put a line of names above them: user,item,time"
            raise RecurraError(f"{path} has no {missing}; it has {', '.join(names)}: {remedy}")
        if name is not None:
            found[role] = name
    if asked.weight_min is not None:
        weights = [asked.weight] if asked.weight else WEIGHTS
        weight = next((plain[name.lower()] for name in weights if name.lower() in plain), None)
        if weight is None:
            raise RecurraError(f"{path} has no column {' or '.join(weights)}: give --weight NAME")
        found["weight"] = weight
    return found


def _numbers(times: pl.Series) -> pl.Series:
    return times.str.strip_chars().cast(pl.Float64, strict=False)


def _dates(times: pl.Series) -> pl.Series:
    """Seconds of ISO 8601 text, without a zone taken as UTC; null where it is none.

    Each row is read by the first format that fits it, so that no row changes what another means.
    """
    text = times.str.strip_chars().str.replace("T", " ", literal=True)
    text = text.str.replace("Z$", "+0000").str.replace(r"^(\d{4}-\d\d-\d\d)$", "$1 00:00")
    found = pl.repeat(None, len(text), dtype=pl.Float64, eager=True)
    for form in DATE_FORMATS:
        if not found.null_count():
            break
        zone = "UTC" if form.endswith("z") else None
        parsed = text.str.to_datetime(form, strict=False, time_unit="us", time_zone=zone)
        found = found.zip_with(found.is_not_null(), _seconds(parsed))
    return found


def _seconds(times: pl.Series) -> pl.Series:
    return times.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64) / 1e6
