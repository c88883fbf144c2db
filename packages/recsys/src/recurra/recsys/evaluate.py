"""A model folder judged on a log, beside the rules."""

import json as json_text
from pathlib import Path

import numpy as np
import polars as pl

from recurra.core.cli import print_json
from recurra.core.errors import CheckpointError, RecurraError
from recurra.core.pretrained import resolve
from recurra.recsys.data import Interactions, LogColumns, read_log, split_log
from recurra.recsys.judging import judge
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.recommender import METRICS, Recommender
from recurra.recsys.report import (
    Row,
    check_outputs,
    document,
    judge_baselines,
    say,
    show,
    show_bands,
    write_users,
)
from recurra.recsys.train_log import tell


def evaluate(
    model: str,
    path: Path,
    columns: LogColumns,
    *,
    split_by: str | None = None,
    filter_seen: bool = True,
    users: Path | None = None,
    json: bool = False,
) -> None:
    """Judge a model on the test events of a log, beside rules that are fitted to the rest of it.

    Args:
        model: a model folder or a Hub id.
        path: of the log; items that the model does not know are left out and counted.
        columns: see `LogColumns`.
        split_by: see `split_log`; None is how the model was trained.
        filter_seen: see `Holdout`.
        users: a .parquet file for the results of each user.
        json: print one document in place of the tables.

    Raises:
        RecurraError: the model or the log cannot be used.
    """
    check_outputs(users)
    recommender = Recommender.from_pretrained(model)
    trained_by, extended = _made_by(resolve(model, shipped_in=None))
    split_by = split_by or trained_by or "leave-one-out"
    log, report = read_log(path, columns)
    tell(path, log, report)
    known = in_numbers_of(log, recommender.log.items)
    if not len(known):
        raise RecurraError(f"{path} has no item that the model knows")
    if len(known) < len(log):
        say(f"{path}: {len(log) - len(known)} events are of items that the model does not know")
    if extended:
        say("warning: the model was extended, which learns all new events: test events among them")
    elif trained_by is not None and trained_by != split_by:
        say(f"warning: the model was trained by {trained_by}, so it may have learnt test events")
    split = split_log(known, split_by, path, filter_seen=filter_seen)
    rows = judge_baselines(split)
    rows.append(Row(judge(NetworkScorer(recommender.model), split), None))
    if users is not None:
        write_users(rows, users)
    if json:
        print_json({"model": model, "split": split_by, **document(rows, split)})
        return
    show(rows, split)
    show_bands(rows[-1].judgement)


def in_numbers_of(log: Interactions, items: pl.Series) -> Interactions:
    """The events of known items, by their places in `items` (from 1); ids are compared as text."""
    places = {str(item): place for place, item in enumerate(items, start=1)}
    numbers = np.array([0, *(places.get(str(item), 0) for item in log.items)], np.int32)
    sequence = numbers[log.sequence]
    known = sequence > 0
    offsets = np.concatenate([[0], np.cumsum(known)])[log.offsets]
    times = None if log.times is None else log.times[known]
    return Interactions(log.users, items, offsets, sequence[known], times)


def _made_by(folder: Path) -> tuple[str | None, bool]:
    """How a model's training split its log, if it says, and whether it was extended since."""
    path = folder / METRICS
    if not path.is_file():
        return None, False
    try:
        found = json_text.loads(path.read_text())
        split, extended = found.get("split"), bool(found.get("extended"))
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is not what `recurra-recsys train` writes") from error
    return None if split is None else str(split), extended
