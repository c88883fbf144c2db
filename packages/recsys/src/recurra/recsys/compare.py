"""Models and rules trained on one split of a log, beside each other."""

import time
from collections.abc import Sequence
from pathlib import Path

from recurra.core.cli import print_json
from recurra.core.errors import RecurraError
from recurra.core.training import gather_from_processes, is_first_process
from recurra.recsys.baselines import BASELINES
from recurra.recsys.data import LogColumns, read_log, split_log
from recurra.recsys.item_features import FeatureColumns
from recurra.recsys.judging import judge
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.recipes import RECIPES
from recurra.recsys.report import (
    Row,
    check_outputs,
    document,
    judge_baselines,
    plot,
    say,
    show,
    write_users,
)
from recurra.recsys.train import TrainConfig, train
from recurra.recsys.train_log import learnt_features, tell, tell_of_features


def compare(
    path: Path,
    columns: LogColumns,
    names: Sequence[str] | None,
    recipes: dict[str, TrainConfig],
    run_folder: Path,
    about: FeatureColumns | None = None,
    *,
    split_by: str = "leave-one-out",
    filter_seen: bool = True,
    users: Path | None = None,
    picture: Path | None = None,
    json: bool = False,
) -> bool:
    """Train or fit each, judge all on the same users, and show them.

    Under torchrun all processes train, and the first one does the rest.

    Args:
        path: of the log.
        columns: see `LogColumns`.
        names: of `recipes` and of rules; None: all recipes, and the rules that cost seconds.
        recipes: trainings by name.
        run_folder: each training keeps its state under its name there, and goes on from it.
        about: features of the items, which every network learns.
        split_by: see `split_log`.
        filter_seen: see `Holdout`.
        users: a .parquet file for the results of each user.
        picture: a file for a plot.
        json: print one document in place of the table.

    Returns:
        False if a training was interrupted.

    Raises:
        RecurraError: a name is unknown, the log cannot be used, or a file cannot be written.
    """
    check_outputs(users, picture)
    unknown = sorted(set(names or ()) - {*recipes, *BASELINES})
    if unknown:
        known = ", ".join([*recipes, *BASELINES])
        raise RecurraError(f"no model {unknown[0]!r}; known are {known}")
    log, report = read_log(path, columns)
    features = None if about is None else about.read(log)
    split = split_log(log, split_by, path, filter_seen=filter_seen)
    tell(path, log, report)
    tell_of_features(about, features)
    rules = None if names is None else [n for n in names if n in BASELINES]
    rows = judge_baselines(split, rules) if is_first_process() else []
    for name in recipes if names is None else [n for n in names if n in RECIPES]:
        say(f"{name}:")
        start = time.process_time()
        model, result = train(split, recipes[name], run_folder / name, features=features)
        if not result.finished:
            return False
        seconds = time.process_time() - start
        if is_first_process():
            rows.append(Row(judge(NetworkScorer(model, name), split), seconds))
    gather_from_processes(None)  # so that all have looked at the files that are written now
    if not is_first_process():
        return True
    if users is not None:
        write_users(rows, users)
    if picture is not None:
        plot(rows, split, picture)
    if json:
        print_json({"split": split_by, **learnt_features(features), **document(rows, split)})
    else:
        show(rows, split)
    return True
