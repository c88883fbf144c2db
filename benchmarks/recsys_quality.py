"""How good are the networks, beside the rules? Some seeds of each, in sittings, as a table.

    uv run python benchmarks/recsys_quality.py ml-100k.inter --folder runs/ml-100k

Leave-one-out: the last event of each user is the test, the one before it chooses the weights, the
others are learnt from, and are all that the rules are fitted to; at the test a history has all but
the last event. All items are ranked, seen ones left out. Each network is trained for as many epochs
as fit into the budget by the CPU time of its first updates, so that its learning rate falls to its
end, unless its recipe's patience ends it before.

NDCG@10 is the mean over users of a user's mean over the seeds, its interval and that of the
difference to the Markov rule are over users. With `--refit`, two more columns are of the same
recipes learnt anew from all but the last event, for as many epochs as the best weights had, with
nothing to choose by: it doubles the time. `--folder` keeps what is done: a command that was stopped
(Ctrl-C, SIGTERM) and is given again goes on where it stopped. Words behind the log change the
recipes, such as `network.max_len=50`; with `--items FILE --features A B` networks learn columns
about the items, too. Forms of logs: `recsys_logs.py`.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from recsys_encoders import epochs_within
from recsys_logs import read_benchmark_features, read_benchmark_log
from recurra.core.bootstrap import MeanInterval, bootstrap_mean
from recurra.core.cli import print_table
from recurra.core.errors import RecurraError
from recurra.core.files import replaced_file
from recurra.recsys.data import Interactions, Split, leave_one_out
from recurra.recsys.item_features import ItemFeatures
from recurra.recsys.judging import Judgement, judge
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.recipes import RECIPES, load_recipe
from recurra.recsys.report import REFERENCE, judge_baselines
from recurra.recsys.train import TrainConfig, build_batches, train

METRIC = "ndcg@10"
REFIT_HEADS = ["refit: NDCG@10", f"minus {REFERENCE} (95 %)"]
HEADS = ["", "NDCG@10 (95 %)", f"minus {REFERENCE} (95 %)", "each seed"]
HEADS += ["HR@10", "CPU s a seed", "best update of each"]


@dataclass(frozen=True)
class Result:
    """One training, or a rule's fit, that came to its end; rows a user are beside it.

    `valid_ndcg` and updates are those of the best weights; a rule has no seed and none of them.
    """

    name: str
    seed: int | None
    cpu_seconds: float
    means: dict[str, float]  # on the test
    valid_ndcg: float | None = None
    updates: int | None = None
    best_update: int | None = None


class Study:
    """The folder of a comparison: what was asked for, trainings, and results as they come."""

    def __init__(self, folder: Path, asked: dict[str, object]) -> None:
        """Begin one, or go on with it.

        Raises:
            RecurraError: the folder is of other questions.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        begun = self._read("asked.json")
        if begun is None:
            self._write("asked.json", asked)
        elif begun != asked:
            raise RecurraError(f"{folder} was begun with {begun}; take another --folder")

    def results(self) -> list[Result]:
        """What is done, the rules first."""
        found = [
            Result(**json.loads(path.read_text())) for path in self.folder.glob("*.result.json")
        ]
        return sorted(found, key=lambda result: (result.seed is not None, result.name, result.seed))

    def users(self, result: Result) -> pl.DataFrame:
        """Rows a user of a result."""
        return pl.read_parquet(self._path(result.name, result.seed, "parquet"))

    def has(self, name: str, seed: int | None) -> bool:
        """Whether that came to its end."""
        return self._path(name, seed, "result.json").exists()

    def keep(self, result: Result, judgement: Judgement) -> None:
        """Write a result; it counts once it is whole."""
        with replaced_file(self._path(result.name, result.seed, "parquet")) as partial:
            judgement.users.write_parquet(partial)
        self._write(self._path(result.name, result.seed, "result.json").name, asdict(result))

    def epochs(self, name: str, measure: Callable[[], int]) -> int:
        """Epochs of a network's trainings: as first measured, so that a run can go on."""
        plan = self._read("epochs.json") or {}
        if name not in plan:
            plan[name] = measure()
            self._write("epochs.json", plan)
        return plan[name]

    def run(self, name: str, seed: int) -> Path:
        """The folder of a training."""
        return self.folder / f"{name}-{seed}.run"

    def spent(self, name: str, seed: int, seconds: float = 0.0) -> float:
        """CPU seconds of a training's sittings so far, with those of this one added."""
        file = f"{name}-{seed}.seconds.json"
        total = (self._read(file) or 0.0) + seconds
        if seconds:
            self._write(file, total)
        return total

    def _path(self, name: str, seed: int | None, ending: str) -> Path:
        return self.folder / f"{name if seed is None else f'{name}-{seed}'}.{ending}"

    def _read(self, file: str):
        path = self.folder / file
        return json.loads(path.read_text()) if path.exists() else None

    def _write(self, file: str, value: object) -> None:
        with replaced_file(self.folder / file) as partial:
            partial.write_text(json.dumps(value))


def main() -> int:
    asked = parse_options()
    torch.set_num_threads(1)
    try:
        known = {"log": asked.log.name, "words": asked.words, "budget": asked.budget}
        if asked.items is not None:
            known |= {"items": asked.items.name, "features": asked.features}
        study = Study(asked.folder, known)
        log = read_benchmark_log(asked.log)
        features = None
        if asked.items is not None:
            features = read_benchmark_features(asked.items, asked.features, log)
        split = leave_one_out(log)
        fit_rules(study, split)
        refits = Study(asked.folder / "refit", known) if asked.refit else None
        if refits is not None:
            fit_rules(refits, refit_split(log, split))
        finished = True
        for seed in range(asked.seeds):
            for name in asked.models:
                finished = finished and train_one(study, split, features, name, seed, asked)
                if finished and refits is not None:
                    finished = refit_one(refits, study, log, features, name, seed, asked)
        show(study, split, refits)
    except RecurraError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if finished else 130


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("words", nargs="*", help="changes of the recipes")
    parser.add_argument("--folder", type=Path, required=True, help="keeps trainings and results")
    parser.add_argument("--models", nargs="+", choices=RECIPES, default=["bert4rec"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=4.0, help="CPU minutes of a training")
    parser.add_argument("--items", type=Path, help="a table about the items")
    parser.add_argument("--features", nargs="+", default=[], help="columns of it to learn")
    parser.add_argument("--refit", action="store_true", help="learn from all but the last, too")
    return parser.parse_intermixed_args()


def fit_rules(study: Study, split: Split) -> None:
    """Fit and judge popularity, the Markov rule and, where they cost seconds, the others."""
    if study.has(REFERENCE, None):  # the last one to be kept
        return
    rows = {row.judgement.name: row for row in judge_baselines(split)}
    for row in (*(row for name, row in rows.items() if name != REFERENCE), rows[REFERENCE]):
        found = row.judgement
        study.keep(Result(found.name, None, row.cpu_seconds, found.means()), found)


def train_one(
    study: Study,
    split: Split,
    features: ItemFeatures | None,
    name: str,
    seed: int,
    asked: argparse.Namespace,
) -> bool:
    """Train and judge one network, or go on with it; False if it was stopped."""
    if study.has(name, seed):
        return True
    config = load_recipe(name, asked.words, {"seed": seed, "threads": 1})
    epochs = study.epochs(name, lambda: epochs_within(60 * asked.budget, split, config))
    return finish(study, split, features, name, replace(config, epochs=epochs))


def refit_split(log: Interactions, split: Split) -> Split:
    """Learn from all but the last event of who is judged; there is nothing to choose by."""
    lengths = log.lengths
    return replace(split, train=log.first(np.where(lengths >= 3, lengths - 1, lengths)))


def refit_one(
    refits: Study,
    study: Study,
    log: Interactions,
    features: ItemFeatures | None,
    name: str,
    seed: int,
    asked: argparse.Namespace,
) -> bool:
    """Train as long as the best weights of a seed were; False if it was stopped."""
    if refits.has(name, seed):
        return True
    split = leave_one_out(log)
    chosen = next(r for r in study.results() if (r.name, r.seed) == (name, seed))
    config = load_recipe(name, asked.words, {"seed": seed, "threads": 1})
    epochs = max(1, round(chosen.best_update / len(build_batches(config, split.train))))
    # One validation, at the end, which the last weights win.
    config = replace(config, epochs=epochs, validations=1, patience=None)
    return finish(refits, refit_split(log, split), features, name, config)


def finish(
    study: Study, split: Split, features: ItemFeatures | None, name: str, config: TrainConfig
) -> bool:
    """Train and judge, or go on with it; False if it was stopped."""
    seed, start = config.seed, time.process_time()
    try:
        model, result = train(split, config, study.run(name, seed), features=features)
    finally:
        seconds = study.spent(name, seed, time.process_time() - start)
    print(f"{name}, seed {seed}: {result.end} at update {result.step}", file=sys.stderr)
    if result.finished:
        found = judge(NetworkScorer(model, name), split)
        steps = {"updates": result.step, "best_update": result.best_step}
        study.keep(Result(name, seed, seconds, found.means(), result.best, **steps), found)
    return result.finished


def show(study: Study, split: Split, refits: Study | None) -> None:
    """Print a row a rule or network; seeds are averaged within users first."""
    named = by_name(study)
    values = {name: user_means(study, results) for name, results in named.items()}
    again = {} if refits is None else by_name(refits)
    refit_values = {name: user_means(refits, results) for name, results in again.items()}
    rows = []
    for name, results in named.items():
        seeds = [result for result in results if result.seed is not None]
        refit = []
        if name in refit_values:
            refit = [f"{refit_values[name].mean():.4f}", beside(refit_values, name)]
        rows.append(
            [
                name,
                said(bootstrap_mean(values[name]), ".4f"),
                beside(values, name),
                ", ".join(f"{result.means[METRIC]:.4f}" for result in seeds),
                f"{statistics.mean(result.means['hit_rate@10'] for result in results):.4f}",
                f"{statistics.mean(result.cpu_seconds for result in results):.1f}",
                ", ".join(f"{result.best_update} of {result.updates}" for result in seeds),
                *(refit if refits is None or refit else ["", ""]),
            ]
        )
    title = f"{len(split.test.targets)} users, {split.train.n_items} items"
    print_table(rows, HEADS if refits is None else HEADS + REFIT_HEADS, title=title)


def by_name(study: Study) -> dict[str, list[Result]]:
    """The results of each rule and network, a seed each."""
    named: dict[str, list[Result]] = {}
    for result in study.results():
        named.setdefault(result.name, []).append(result)
    return named


def user_means(study: Study, results: list[Result]) -> np.ndarray:
    """The mean over seeds of each user's NDCG@10."""
    return np.mean([study.users(result)[METRIC].to_numpy() for result in results], axis=0)


def beside(values: dict[str, np.ndarray], name: str) -> str:
    """The mean difference to the Markov rule, with its interval."""
    if name == REFERENCE:
        return ""
    return said(bootstrap_mean(values[name] - values[REFERENCE]), "+.4f")


def said(found: MeanInterval, form: str) -> str:
    """A mean with its interval."""
    return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}})"


if __name__ == "__main__":
    sys.exit(main())
