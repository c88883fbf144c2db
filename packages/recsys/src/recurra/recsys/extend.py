"""A model for what came since: new events, users and items; what was known keeps its number."""

import json as json_text
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from recurra.core.cli import load_config
from recurra.core.pretrained import check_replaceable, load_tensors, resolve
from recurra.core.training import gather_from_processes, is_first_process
from recurra.recsys.baselines import Markov, Popularity
from recurra.recsys.data import Holdout, Interactions, LogColumns, LogReport, Split, read_log
from recurra.recsys.judging import judge
from recurra.recsys.models import NetworkConfig, NextItemModel
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.recommender import METRICS, Recommender
from recurra.recsys.report import Row, document, judge_baselines
from recurra.recsys.train import TRAINING, TrainConfig, train, training_file

REACH = 2  # events before and after a new item that say what it is like
JUDGED = 1_000  # users by whose new events the model is judged before it learns them


@dataclass(frozen=True)
class ExtendReport:
    """What became of a model: counts of what is new, and whether its training came to its end.

    `split` and `rows` are what it was worth for the first new event of known users, before it
    learnt any, beside rules; no rows where no known user has new events, nor in other processes
    than the first.
    """

    log: LogReport
    events: int
    users: int
    items: int
    finished: bool
    split: Split
    rows: list[Row]


def extend_model(
    name_or_path: str | Path,
    path: Path,
    columns: LogColumns,
    output: Path,
    *,
    epochs: int,
    seed: int = 0,
    run_folder: Path | None = None,
) -> ExtendReport:
    """Put the events of a new log behind a model's histories, and learn from those who have some.

    The model is judged by what came before it learns it. Then all events of who has new ones are
    learnt, so that nothing is left to choose weights by: the last ones are kept. The recipe is that
    of the model's own training, at half its rate. Under torchrun all processes train, and the first
    one judges and writes.

    Args:
        name_or_path: a model folder, or an id of the Hugging Face Hub.
        path: a log of what came since, see `read_log`; events that the model has already would
            count twice.
        columns: see `LogColumns`.
        output: the folder of the new model; an earlier model there is replaced.
        epochs: times that the histories with new events are seen; 0 learns nothing, and leaves the
            scores of old items after old histories as they are, to the bit.
        seed: of order and masks.
        run_folder: of the training; None is `<output>.extend`, which goes when it is done.

    Raises:
        RecurraError: there is no such model, the log cannot be used, or `output` holds something
            else.
    """
    check_replaceable(output)
    folder = resolve(name_or_path, shipped_in=None)
    old = Recommender.from_pretrained(folder)
    new, report = read_log(path, columns)
    log = join_logs(old.log, new)
    model, finished = grow_model(old.model, log), True
    split = what_came(log, old.log, seed)
    rows = []
    if len(split.test.targets) and is_first_process():
        rows = judge_baselines(split, [Popularity.name, Markov.name])
        rows.append(Row(judge(NetworkScorer(model), split), None))
    config = replace(_recipe(folder, model), epochs=epochs or 1, seed=seed)
    run = run_folder or output.with_name(f"{output.name}.extend")
    if epochs:
        _, touched = _joined_ids(old.log.users, new.users)
        learnt = log.first(log.lengths, with_replay(touched, log.n_users, seed))
        gentle = replace(config, learning_rate=config.learning_rate / 2)
        model, result = train(replace(split, train=learnt), gentle, run, start=model, choose=False)
        finished = result.finished
    gather_from_processes(None)  # so that all have read what may be replaced now
    if finished and is_first_process():
        found = {"extended": True, **(document(rows, split) if rows else {})}
        text = json_text.dumps(found, indent=2) + "\n"
        files = {METRICS: lambda path: path.write_text(text), **training_file(config)}
        Recommender(model, log).save(output, files=files)
        if epochs and run_folder is None:
            shutil.rmtree(run)
    n_users, n_items = log.n_users - old.log.n_users, log.n_items - old.log.n_items
    return ExtendReport(report, len(new), n_users, n_items, finished, split, rows)


def what_came(log: Interactions, old: Interactions, seed: int) -> Split:
    """Judge by the first new event of users who had events before, after those that they had.

    Args:
        log: see `join_logs`.
        old: the part of it that was there before.
        seed: of the lot, where there are more than `JUDGED` such users.
    """
    before = np.zeros(log.n_users, np.int64)
    before[: old.n_users] = old.lengths
    judged = np.flatnonzero((before > 0) & (before < log.lengths))
    if len(judged) > JUDGED:
        judged = np.sort(np.random.default_rng(seed).choice(judged, JUDGED, replace=False))
    targets = log.sequence[log.offsets[judged] + before[judged]]
    came = Holdout(log.first(before, judged), targets)
    return Split(
        train=log.first(before),
        valid=came,
        test=came,
        protocol="the first new event of known users, before any was learnt",
    )


def with_replay(touched: np.ndarray, n_users: int, seed: int) -> np.ndarray:
    """Users with new events, and as many others by lot, so that what was known is kept in mind.

    Source: Mi, Lin and Faltings 2020, "ADER" (arXiv 2007.12000), which replays exemplars of earlier
    data beside what is new; theirs are chosen by item and nearness, and weighed.

    Args:
        touched: numbers of the users who have new events.
        n_users: how many there are.
        seed: of the lot.

    Returns:
        int64, rising.
    """
    others = np.setdiff1d(np.arange(n_users), touched)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(others, min(len(touched), len(others)), replace=False)
    return np.sort(np.concatenate([touched, drawn]))


def join_logs(old: Interactions, new: Interactions) -> Interactions:
    """Histories of both, the new events behind the old; old users and items keep their numbers.

    Ids are compared as text. New items come behind the old ones, the most frequent first, and new
    users behind the old users. Times are left out: those of a model's log are not known.
    """
    items, item_numbers = _joined_ids(old.items, new.items)
    users, user_numbers = _joined_ids(old.users, new.users)
    owners = np.concatenate(
        [
            np.repeat(np.arange(old.n_users), old.lengths),
            user_numbers[np.repeat(np.arange(new.n_users), new.lengths)],
        ]
    )
    sequence = np.concatenate([old.sequence, 1 + item_numbers[new.sequence - 1]])
    counts = np.bincount(owners, minlength=len(users))
    return Interactions(
        users=users,
        items=items,
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        sequence=sequence[np.argsort(owners, kind="stable")].astype(np.int32),
    )


def grow_model(model: NextItemModel, log: Interactions) -> NextItemModel:
    """The same network for more items: their embeddings are means over their neighbours in `log`.

    The neighbours of an item are the old items up to 2 events before and after it; an item without
    any gets the mean over all old items.

    Args:
        model: for the first items of `log`.
        log: see `join_logs`.

    Returns:
        A new model, whose scores of old items are those of `model` to the bit.
    """
    n_old, n_new = model.config.n_items, log.n_items - model.config.n_items
    grown = type(model)(replace(model.config, n_items=log.n_items))
    tensors = dict(model.state_dict())
    means = torch.from_numpy(_neighbour_shares(log, n_old))
    for name in ("item_embedding.weight", "output_bias"):
        if name in tensors and n_new:
            table = tensors[name]
            known, special = table[: n_old + 1], table[n_old + 1 :]
            flat = known[1:].flatten(1) if known.ndim > 1 else known[1:, None]
            added = (means @ flat.double()).to(table.dtype).reshape(-1, *table.shape[1:])
            tensors[name] = torch.cat([known, added, special])
    load_tensors(grown, tensors)
    return grown.eval()


def _neighbour_shares(log: Interactions, n_old: int) -> np.ndarray:
    """For each new item the share of each old one among its neighbours: float64 (new, old)."""
    owners = np.repeat(np.arange(log.n_users), log.lengths)
    shares = np.zeros((log.n_items - n_old, n_old))
    for distance in range(1, REACH + 1):
        same = owners[distance:] == owners[:-distance]
        before, after = log.sequence[:-distance][same], log.sequence[distance:][same]
        for item, other in ((before, after), (after, before)):
            wanted = (item > n_old) & (other <= n_old)
            np.add.at(shares, (item[wanted] - n_old - 1, other[wanted] - 1), 1.0)
    shares[shares.sum(axis=1) == 0] = 1.0
    return shares / shares.sum(axis=1, keepdims=True)


def _joined_ids(old: pl.Series, new: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Old ids, then the new ones that are not among them, and the place of each new id."""
    places = {text: place for place, text in enumerate(old.cast(pl.String))}
    texts = new.cast(pl.String)
    unknown = [place for place, text in enumerate(texts) if text not in places]
    for place in unknown:
        places[texts[place]] = len(places)
    added = new.gather(unknown)
    if added.dtype != old.dtype:
        try:
            added = added.cast(old.dtype)
        except pl.exceptions.PolarsError:  # "x7" is no number: the ids are text from here on
            old, added = old.cast(pl.String), added.cast(pl.String)
    joined = pl.concat([old, added.alias(old.name)])
    return joined, np.array([places[text] for text in texts], np.int64)


def _recipe(folder: Path, model: NextItemModel) -> TrainConfig:
    """How the model of a folder was trained, as far as it says; else how one of its sizes is."""
    if (folder / TRAINING).is_file():
        return load_config(TrainConfig, folder / TRAINING)
    sizes = {field.name: getattr(model.config, field.name) for field in fields(NetworkConfig)}
    return TrainConfig(model=model.kind, network=NetworkConfig(**sizes))
