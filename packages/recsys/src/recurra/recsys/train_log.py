"""From a log to a model folder, with a table of what the model is worth."""

import json as json_text
import time
from pathlib import Path

from recurra.core.cli import print_json
from recurra.core.pretrained import check_replaceable
from recurra.core.training import is_first_process
from recurra.recsys.data import Interactions, LogColumns, LogReport, read_log, split_log
from recurra.recsys.item_features import FeatureColumns, ItemFeatures
from recurra.recsys.judging import judge
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.recommender import METRICS, Recommender
from recurra.recsys.report import Row, document, judge_baselines, say, show, warn_if_under
from recurra.recsys.train import TrainConfig, train, training_file


def train_log(
    path: Path,
    columns: LogColumns,
    name: str,
    config: TrainConfig,
    output: Path,
    run_folder: Path | None = None,
    about: FeatureColumns | None = None,
    *,
    split_by: str = "leave-one-out",
    filter_seen: bool = True,
    json: bool = False,
) -> bool:
    """Read a log, train, judge and write the model folder.

    Under torchrun all processes train, and the first one does the rest.

    Args:
        path: of the log.
        columns: see `LogColumns`.
        name: what the table calls the model.
        config: of the training.
        output: the model folder; an earlier one is replaced.
        run_folder: see `train`; None is `<output>.run`.
        about: features of the items to learn with them.
        split_by: see `split_log`.
        filter_seen: see `Holdout`.
        json: print one document in place of the table.

    Returns:
        False if the training was interrupted: nothing is written then but the run folder.

    Raises:
        RecurraError: the log cannot be used, or `output` holds something else.
    """
    check_replaceable(output)
    log, report = read_log(path, columns)
    features = None if about is None else about.read(log)
    split = split_log(log, split_by, path, filter_seen=filter_seen)
    tell(path, log, report)
    tell_of_features(about, features)
    rows = judge_baselines(split) if is_first_process() else []
    start = time.process_time()
    run = run_folder or output.with_name(f"{output.name}.run")
    model, result = train(split, config, run, features=features)
    if not result.finished:
        return False
    if not is_first_process():
        return True
    seconds = time.process_time() - start
    rows.append(Row(judge(NetworkScorer(model, name), split), seconds))
    found = {"split": split_by, **learnt_features(features), **document(rows, split)}
    text = json_text.dumps(found, indent=2) + "\n"
    files = {METRICS: lambda path: path.write_text(text), **training_file(config)}
    Recommender(model, log).save(output, files=files)
    if json:
        print_json({"output": str(output), **found})
    else:
        show(rows, split)
        print(f"wrote {output}")
    warn_if_under(rows, name)
    return True


def tell(path: Path, log: Interactions, report: LogReport) -> None:
    """Say what was made of a file."""
    for line in report.lines():
        say(f"{path}: {line}")
    say(f"{path}: {log.summary()}")


def tell_of_features(about: FeatureColumns | None, features: ItemFeatures | None) -> None:
    """Say what was found of the features that were asked for, if any."""
    if about is not None and features is not None:
        say(f"{about.path}: {features.summary()}")


def learnt_features(features: ItemFeatures | None) -> dict[str, list[str]]:
    """What `metrics.json` says of the features that a model was trained with."""
    return {} if features is None else {"features": list(features.columns)}
