"""Models and rules beside each other on one split: as a table, as a document, as a picture."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recurra.core.bootstrap import MeanInterval
from recurra.core.cli import print_table
from recurra.core.errors import RecurraError, import_extra
from recurra.core.files import replaced_file
from recurra.core.training import is_first_process
from recurra.recsys.baselines import BASELINES, Markov
from recurra.recsys.data import Split
from recurra.recsys.judging import Judgement, judge

REFERENCE = Markov.name  # what differences are to, because it costs nothing and is hard to beat
COSTLY = {"item-knn": 5_000, "ease": 5_000}  # items up to which they take seconds


@dataclass(frozen=True)
class Row:
    """A judged scorer and the CPU seconds that making it took, or None where it was there."""

    judgement: Judgement
    cpu_seconds: float | None

    @property
    def ndcg(self) -> float:
        """Its mean NDCG."""
        return next(iter(self.judgement.means().values()))


def judge_baselines(split: Split, names: Iterable[str] | None = None) -> list[Row]:
    """Fit rules to the training events and judge them, saying so as they come.

    Args:
        split: what they are judged on.
        names: of `BASELINES`; None takes those that the log allows and that cost seconds.

    Raises:
        RecurraError: the log does not allow one that is named.
    """
    rows = []
    for name in BASELINES if names is None else names:
        if names is None and split.train.n_items > COSTLY.get(name, split.train.n_items):
            say(f"{name}: left out, which costs minutes here; `recurra-recsys compare` has it")
            continue
        start = time.process_time()
        try:
            scorer = BASELINES[name](split.train)
        except RecurraError as error:
            if names is not None:
                raise
            say(f"{name}: left out: {error}")
            continue
        rows.append(Row(judge(scorer, split), time.process_time() - start))
        say(f"{name}: NDCG@10 {rows[-1].ndcg:.4f} on the test events")
    return rows


def document(rows: Sequence[Row], split: Split) -> dict[str, Any]:
    """All figures as plain values for JSON."""
    reference = _reference(rows)
    test = {}
    for row in rows:
        found = row.judgement
        values: dict[str, Any] = {**found.means(), "cpu_seconds": row.cpu_seconds}
        values["ndcg_interval"] = _bounds(found.interval())
        if reference is not None and found is not reference:
            difference = found.better_than(reference)
            values[f"ndcg_minus_{REFERENCE}"] = difference.mean
            values[f"ndcg_minus_{REFERENCE}_interval"] = _bounds(difference)
        test[found.name] = {**values, "bands": found.bands()}
    protocol = f"{split.protocol}; {_ranked(split)}"
    return {"protocol": protocol, "users": len(split.test.targets), "test": test}


def show(rows: Sequence[Row], split: Split) -> None:
    """Print a table: a row a scorer, with 95 % intervals over users."""
    reference = _reference(rows)
    with_difference = reference is not None and len(rows) > 1
    cells = []
    for row in rows:
        found = row.judgement
        ndcg, *others = found.means().values()
        line: list[object] = [found.name, f"{ndcg:.4f}", _span(found.interval())]
        if with_difference:
            same = found is reference
            line.append("" if same else _span(found.better_than(reference), signed=True))  # type: ignore[arg-type]
        line += [f"{value:.4f}" for value in others]
        cells.append([*line, row.cpu_seconds])
    names = list(rows[0].judgement.means())
    heads = ["", names[0], "95 %", *([f"minus {REFERENCE}"] if with_difference else [])]
    title = f"Test: {split.protocol}; {len(split.test.targets)} users, {_ranked(split)}"
    print_table(cells, [*heads, *names[1:], "cpu_seconds"], title=title)


def show_bands(judgement: Judgement) -> None:
    """Print a scorer's means by the right item's popularity and by the history's length."""
    titles = {
        "popularity": "the right item's popularity",
        "length": "the length of the history",
    }
    for column, bands in judgement.bands().items():
        heads = ["", *(name for name in bands[0] if name != "band")]
        cells = [
            [row["band"], row["users"], *(f"{row[name]:.4f}" for name in heads[2:])]
            for row in bands
        ]
        print_table(cells, heads, title=f"{judgement.name}, by {titles[column]}")


def warn_if_under(rows: Sequence[Row], name: str) -> None:
    """Say on stderr if a rule ranks better than the trained model of a name."""
    model = next(row for row in rows if row.judgement.name == name)
    best = max((row for row in rows if row.judgement.name in BASELINES), key=lambda row: row.ndcg)
    if best.ndcg > model.ndcg:
        difference = best.judgement.better_than(model.judgement)
        say(
            f"warning: {best.judgement.name} ranks better than the trained model, by"
            f" {difference.mean:.4f} of NDCG ({_span(difference)}); train longer (--epochs), try"
            " another --model, or the log is too small for a network"
        )


def check_outputs(users: Path | None, picture: Path | None = None) -> None:
    """Refuse what could not be written, before the work that makes it.

    Raises:
        RecurraError: another ending than .parquet, or .png, .svg and .pdf.
        MissingExtraError: there is to be a picture, and matplotlib is not installed.
    """
    if users is not None and users.suffix != ".parquet":
        raise RecurraError(f"{users}: results of users are written as .parquet")
    if picture is not None:
        if picture.suffix not in (".png", ".svg", ".pdf"):
            raise RecurraError(f"{picture}: pictures are written as .png, .svg or .pdf")
        import_extra("matplotlib.figure", extra="plot", package="recurra-recsys")


def write_users(rows: Sequence[Row], path: Path) -> None:
    """Write a row for each user and scorer as .parquet, whole or not at all.

    Raises:
        RecurraError: the file cannot be written.
    """
    frames = [
        row.judgement.users.select(pl.lit(row.judgement.name).alias("model"), pl.all())
        for row in rows
    ]
    with replaced_file(path) as partial:
        pl.concat(frames).write_parquet(partial)


def plot(rows: Sequence[Row], split: Split, path: Path) -> None:
    """Draw NDCG with its intervals, the best above, as .png, .svg or .pdf.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RecurraError: the file cannot be written.
    """
    figures = import_extra("matplotlib.figure", extra="plot", package="recurra-recsys")
    ordered = sorted(rows, key=lambda row: row.ndcg)
    figure = figures.Figure(figsize=(7, 0.9 + 0.4 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(ordered):
        found = row.judgement.interval()
        color = "#9aa5b1" if row.judgement.name in BASELINES else "#2a6fb0"
        axes.barh(place, found.mean, color=color)
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [place, place], color="black", linewidth=1)
        axes.annotate(f" {found.mean:.3f}", (found.high or found.mean, place), va="center")
    axes.set_yticks(range(len(ordered)), [row.judgement.name for row in ordered])
    axes.margins(x=0.12)
    axes.set_xlabel(f"NDCG@{rows[0].judgement.k} with 95 % intervals; {split.protocol}")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with replaced_file(path) as partial:
        figure.savefig(partial, format=path.suffix[1:], dpi=150)


def say(line: str) -> None:
    """Tell the person, apart from the results; once, however many processes there are."""
    if is_first_process():
        print(line, file=sys.stderr)


def _ranked(split: Split) -> str:
    """What the right item is ranked among, in words."""
    return f"all items ranked, seen {'left out' if split.test.filter_seen else 'among them'}"


def _reference(rows: Sequence[Row]) -> Judgement | None:
    found = [row.judgement for row in rows if row.judgement.name == REFERENCE]
    return found[0] if found else None


def _bounds(found: MeanInterval) -> list[float | None]:
    return [found.low, found.high]


def _span(found: MeanInterval, *, signed: bool = False) -> str:
    if found.low is None or found.high is None:
        return ""
    form = "+.4f" if signed else ".4f"
    return f"{found.low:{form}} to {found.high:{form}}"
