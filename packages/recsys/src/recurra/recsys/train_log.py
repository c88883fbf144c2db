"""From a log to a model folder, with a table of what the model is worth."""

import json as json_text
import sys
import time
from pathlib import Path

from recurra.core.cli import print_json, print_table
from recurra.core.pretrained import check_replaceable
from recurra.recsys.baselines import Markov, Popularity
from recurra.recsys.data import Interactions, LogColumns, LogReport, leave_one_out, read_log
from recurra.recsys.neural import Bert4RecScorer
from recurra.recsys.ranking import evaluate
from recurra.recsys.recommender import Recommender
from recurra.recsys.train import TrainConfig, train

METRICS = "metrics.json"


def train_log(
    path: Path,
    columns: LogColumns,
    config: TrainConfig,
    output: Path,
    run_folder: Path | None = None,
    *,
    json: bool = False,
) -> bool:
    """Read a log, train, judge and write the model folder.

    Args:
        path: of the log.
        columns: see `LogColumns`.
        config: of the training.
        output: the model folder; an earlier one is replaced.
        run_folder: see `train`; None is `<output>.run`.
        json: print one document in place of the table.

    Returns:
        False if the training was interrupted: nothing is written then but the run folder.

    Raises:
        RecurraError: the log cannot be used, or `output` holds something else.
    """
    check_replaceable(output)
    log, report = read_log(path, columns)
    split = leave_one_out(log)
    _tell(path, log, report)
    rows = {}
    for baseline in (Popularity, Markov):
        start = time.process_time()
        scorer = baseline(split.train)
        seconds = time.process_time() - start
        rows[scorer.name] = {**evaluate(scorer, split.test), "cpu_seconds": seconds}
        value = next(iter(rows[scorer.name].values()))
        print(f"{scorer.name}: NDCG@10 {value:.4f} on the test events", file=sys.stderr)
    start = time.process_time()
    run = run_folder or output.with_name(f"{output.name}.run")
    model, result = train(split, config, run)
    if not result.finished:
        return False
    seconds = time.process_time() - start
    rows["bert4rec"] = {**evaluate(Bert4RecScorer(model), split.test), "cpu_seconds": seconds}
    document = {"protocol": "leave one out, all items ranked, seen left out", "test": rows}
    text = json_text.dumps(document, indent=2) + "\n"
    Recommender(model, log).save(output, files={METRICS: lambda path: path.write_text(text)})
    if json:
        print_json({"output": str(output), **document})
    else:
        heads = ["", *next(iter(rows.values()))]
        cells = [
            (name, *(f"{value:.4f}" for value in list(row.values())[:-1]), row["cpu_seconds"])
            for name, row in rows.items()
        ]
        print_table(cells, heads, title="Test: the last event of each user, all items ranked")
        print(f"wrote {output}")
    best = max(rows, key=lambda name: rows[name]["ndcg@10"])
    if best != "bert4rec":
        print(
            f"warning: {best} ranks better than the trained model; train longer (--epochs), or the"
            " log is too small for a network",
            file=sys.stderr,
        )
    return True


def _tell(path: Path, log: Interactions, report: LogReport) -> None:
    for line in report.lines():
        print(f"{path}: {line}", file=sys.stderr)
    few = int((log.lengths < 3).sum())
    print(
        f"{path}: {len(log)} events of {log.n_users} users and {log.n_items} items; {few} users"
        " have fewer than 3 events and are not judged",
        file=sys.stderr,
    )
