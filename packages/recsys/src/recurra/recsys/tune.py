"""Settings for a log: trainings of a few epochs, the better ones longer, the best one kept."""

import json as json_text
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recurra.core.cli import print_json, print_table
from recurra.core.errors import RecurraError
from recurra.core.files import replaced_file
from recurra.core.pretrained import check_replaceable
from recurra.core.training import DivergedError, gather_from_processes, is_first_process
from recurra.recsys.data import LogColumns, Split, read_log, split_log
from recurra.recsys.item_features import FeatureColumns, ItemFeatures
from recurra.recsys.judging import judge
from recurra.recsys.models import load_model
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.recipes import load_recipe
from recurra.recsys.recommender import METRICS, Recommender
from recurra.recsys.report import Row, document, judge_baselines, say, show, warn_if_under
from recurra.recsys.search import draw_tries, halve, space_of
from recurra.recsys.train import train, training_file
from recurra.recsys.train_log import learnt_features, tell, tell_of_features

TRIES = "tries.json"


@dataclass(frozen=True)
class TuneConfig:
    """What is searched.

    Attributes:
        model: the name of a recipe.
        words: changes of the recipe that every try has.
        tries: how many settings, the recipe's own among them.
        epochs: of the last round; None is the recipe's.
        seed: of what is drawn, and of every training.
        split: see `split_log`.
        filter_seen: see `Holdout`; of every try and of the table.
    """

    model: str = "bert4rec"
    words: tuple[str, ...] = ()
    tries: int = 9
    epochs: int | None = None
    seed: int = 0
    split: str = "leave-one-out"
    filter_seen: bool = True


@dataclass(frozen=True)
class Try:
    """One training and what it reached.

    Attributes:
        words: the settings that were drawn, as `train` takes them.
        epochs: that it was to have.
        ndcg: of the best weights at 10, over the validation events; the only figure that decides.
        seconds: of wall clock that it took.
        end: what ended it: "steps", "patience", "time" (the budget), or "diverged".
    """

    words: tuple[str, ...]
    epochs: int
    ndcg: float
    seconds: float
    end: str


def tune_log(
    path: Path,
    columns: LogColumns,
    config: TuneConfig,
    output: Path,
    run_folder: Path | None = None,
    about: FeatureColumns | None = None,
    *,
    budget: float | None = None,
    json: bool = False,
) -> bool:
    """Search for settings on a log, judge the best model and write its folder.

    Under torchrun all processes train every try, and the first one does the rest.

    Args:
        path: of the log.
        columns: see `LogColumns`.
        config: of the search.
        output: the model folder; an earlier one is replaced.
        run_folder: keeps the tries, to go on with; None is `<output>.tune`.
        about: features of the items, which every try learns.
        budget: minutes for all tries; the one that is in work then is cut short.
        json: print one document in place of the tables.

    Returns:
        False if it was interrupted: nothing is written then but the run folder.

    Raises:
        RecurraError: the log, the settings or a folder cannot be used, or every try diverged.
    """
    check_replaceable(output)
    recipe = load_recipe(config.model, config.words)
    log, report = read_log(path, columns)
    features = None if about is None else about.read(log)
    split = split_log(log, config.split, path, filter_seen=config.filter_seen)
    tell(path, log, report)
    tell_of_features(about, features)
    tries = draw_tries(
        space_of(recipe.model, int(log.lengths.max())), config.tries, config.seed, config.words
    )
    counts = {"events": len(log), "users": log.n_users, "items": log.n_items}
    known = {**counts, "log": log.digest()}
    if features is not None:
        known["features"] = features.digest()
    folder = run_folder or output.with_name(f"{output.name}.tune")
    search = Search(split, config, known, folder, budget, features)
    if not search.run(tries, config.epochs or recipe.epochs):
        return False
    best = search.best()
    if not is_first_process():
        return True
    model = load_model(search.folder_of(best) / "best").folded()
    rows = judge_baselines(split)
    rows.append(Row(judge(NetworkScorer(model, config.model), split), None))
    ranked = sorted(search.done.values(), key=lambda done: -done.ndcg)
    tuning = {"best": asdict(best), "tries": [asdict(done) for done in ranked]}
    found = {
        "split": config.split,
        "tuning": tuning,
        **learnt_features(features),
        **document(rows, split),
    }
    text = json_text.dumps(found, indent=2) + "\n"
    trained = load_recipe(config.model, best.words, {"epochs": best.epochs, "seed": config.seed})
    files = {METRICS: lambda path: path.write_text(text), **training_file(trained)}
    Recommender(model, log).save(output, files=files)
    if json:
        print_json({"output": str(output), **found})
    else:
        _show_tries(ranked)
        show(rows, split)
        print(f"wrote {output}, trained with: {' '.join(best.words) or 'the recipe as it is'}")
    warn_if_under(rows, config.model)
    return True


class Search:
    """Tries of a search in a folder: each once, in rounds; a folder that has some goes on.

    Attributes:
        done: what has ended, by words and epochs.
    """

    def __init__(
        self,
        split: Split,
        config: TuneConfig,
        known: Mapping[str, object],
        folder: Path,
        budget: float | None = None,
        features: ItemFeatures | None = None,
    ) -> None:
        """Take a split, what to search, and the folder.

        Args:
            split: what to learn from and choose by.
            config: of the search.
            known: of the log, by which another one is told from it.
            folder: new, or of the same search of the same log.
            budget: minutes for all tries, or None.
            features: of the items, or None.

        Raises:
            RecurraError: the folder holds another search, or something else.
        """
        self.split, self.config, self.folder, self.budget = split, config, folder, budget
        self.features = features
        self.done: dict[tuple[tuple[str, ...], int], Try] = {}
        self._asked = json_text.loads(json_text.dumps({**asdict(config), **known}))
        for done in self._read():
            self.done[done.words, done.epochs] = done

    def run(self, tries: Sequence[tuple[str, ...]], epochs: int) -> bool:
        """Make all rounds, or as many as the budget lets; False if interrupted."""
        self._numbers = {words: number for number, words in enumerate(tries, start=1)}
        gather_from_processes(None)  # so that all have read the folder before it changes
        self._write()
        for count, epochs_of_round in halve(len(tries), epochs):
            tries = tries[:count]
            for words in tries:
                if not self._try(words, epochs_of_round):
                    return False
                if self._is_over():
                    say(f"the {self.budget:g} minutes are over; a longer --budget goes on")
                    return True
            tries = sorted(tries, key=lambda words: -self.done[words, epochs_of_round].ndcg)
        return True

    def best(self) -> Try:
        """The try with the best validation figure; of equal ones the first.

        Raises:
            RecurraError: none has weights.
        """
        whole = [done for done in self.done.values() if done.end != "diverged"]
        if not whole:
            raise RecurraError("every try diverged; give lower rates, such as learning_rate=1e-4")
        return max(whole, key=lambda done: done.ndcg)

    def folder_of(self, done: Try) -> Path:
        """Where the run of a try is."""
        return self.folder / f"try-{self._numbers[done.words]}-epochs-{done.epochs}"

    def _try(self, words: tuple[str, ...], epochs: int) -> bool:
        """Train once, unless that is done; False if interrupted."""
        earlier = self.done.get((words, epochs))
        if earlier is not None and earlier.end != "time":
            return True
        minutes = None
        if self.budget is not None:
            others = sum(done.seconds for done in self.done.values() if done is not earlier)
            minutes = max(self.budget - others / 60, 1e-3)
        options = {"epochs": epochs, "seed": self.config.seed, "max_minutes": minutes}
        recipe = load_recipe(self.config.model, words, options)
        number, name = self._numbers[words], " ".join(words) or "the recipe as it is"
        say(f"try {number}, {epochs} epochs: {name}")
        start, before = time.monotonic(), 0.0 if earlier is None else earlier.seconds
        ndcg, end = 0.0, "diverged"
        try:
            folder = self.folder_of(Try(words, epochs, ndcg, before, end))
            _, result = train(self.split, recipe, folder, features=self.features)
        except DivergedError as error:
            say(f"try {number} has no figure: {error}")
        else:
            if not result.finished:
                return False
            if result.best is not None:
                ndcg, end = result.best, result.end
        seconds = before + time.monotonic() - start
        # Clocks differ, and by the seconds all decide whether there is another try.
        done = gather_from_processes(Try(words, epochs, ndcg, seconds, end))[0]
        self.done[words, epochs] = done
        self._write()
        return True

    def _is_over(self) -> bool:
        spent = sum(done.seconds for done in self.done.values())
        return self.budget is not None and spent >= 60 * self.budget

    def _read(self) -> list[Try]:
        path = self.folder / TRIES
        if not path.exists():
            if self.folder.exists() and any(self.folder.iterdir()):
                raise RecurraError(f"{self.folder} holds no search; name another folder by --run")
            return []
        try:
            found: dict[str, Any] = json_text.loads(path.read_text())
            tries = [Try(**{**row, "words": tuple(row["words"])}) for row in found["tries"]]
            asked = found["asked"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecurraError(f"{path} is not what `recurra-recsys tune` writes") from error
        if asked != self._asked:
            differ = ", ".join(key for key in self._asked if asked.get(key) != self._asked[key])
            raise RecurraError(
                f"{self.folder} holds another search ({differ} differ); name another by --run"
            )
        return tries

    def _write(self) -> None:
        if not is_first_process():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        found = {"asked": self._asked, "tries": [asdict(done) for done in self.done.values()]}
        with replaced_file(self.folder / TRIES) as partial:
            partial.write_text(json_text.dumps(found, indent=2) + "\n")


def _show_tries(tries: Sequence[Try]) -> None:
    cells = [
        [f"{done.ndcg:.4f}", done.epochs, done.end, round(done.seconds), " ".join(done.words)]
        for done in tries
    ]
    heads = ["validation ndcg@10", "epochs", "end", "seconds", "settings"]
    print_table(cells, heads, title="Tries, the best first; the recipe as it is has no settings")
