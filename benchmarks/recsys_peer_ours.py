"""Our side of recsys_peers.py, by the library as it is."""

import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recsys_peer_tables import Point
from recurra.core.training import Draw, fit
from recurra.core.training.optimization import Optimization, build_accelerator
from recurra.recsys import Recommender
from recurra.recsys.baselines import Markov
from recurra.recsys.data import Interactions, LogColumns, Split, leave_one_out, read_log
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.ranking import evaluate
from recurra.recsys.recipes import load_recipe
from recurra.recsys.train import NextItemTask, build_batches, build_model, fit_config

EPOCHS = {"bert4rec": 5, "sasrec": 8}
VALIDATIONS = 10


def read(path: Path) -> Interactions:
    """A log, of whose users each has at least three events."""
    log = read_log(path, LogColumns())[0]
    return log.first(log.lengths, np.flatnonzero(log.lengths >= 3))


def last_events(log: Interactions, n: int) -> Interactions:
    """The last n events of each user."""
    lengths = np.minimum(log.lengths, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(log.offsets[1:] - offsets[1:], lengths) + np.arange(offsets[-1])
    return Interactions(log.users, log.items, offsets, log.sequence[places])


def write_histories(log: Interactions, folder: Path) -> Path:
    """What recsys_peer_jobs.py reads."""
    path = folder / "histories.npz"
    np.savez(path, offsets=log.offsets, sequence=log.sequence)
    return path


class Ours:
    """BERT4Rec's recipe, but that a fifth is hidden of all histories, on the events of a log."""

    def __init__(self, log: Interactions) -> None:
        torch.set_num_threads(1)
        config = load_recipe("bert4rec", ["cloze.mask_share=0.2", "cloze.last_share=0"])
        self.batch_size = config.batch_size
        split = leave_one_out(log)
        self.batches = build_batches(config, split.train)
        self.epochs = itertools.count()
        model = build_model(config, split.train)
        task = NextItemTask(model, self.batches, split.valid, config)
        settings = fit_config(config, len(self.batches))
        self.optimization = Optimization(task, settings, build_accelerator(settings))
        self.recommender = Recommender(model, split.test.histories)
        self.training_speed(self.batch_size)  # warms up
        self.list_speed()

    def training_speed(self, rows: int) -> float:
        """Users a CPU second in about so many of an epoch, their batches made, by `fit`'s update.

        Batches are of like lengths and come in random order, so that some stand for all.
        """
        epoch, users = next(self.epochs), 0
        start = time.process_time()
        for place in range(min(max(1, rows // self.batch_size), len(self.batches))):
            batch = self.batches[Draw(epoch, place)]
            users += len(batch["items"])
            self.optimization.update([batch])
        return users / (time.process_time() - start)

    def list_speed(self) -> float:
        """Users a CPU second who get lists, seen items left out, as a table of their own ids."""
        self.recommender.model.eval()
        start = time.process_time()
        self.recommender.for_users(k=10)
        return self.recommender.log.n_users / (time.process_time() - start)


class Watched(NextItemTask):
    """Notes at each validation how much CPU time training took, and what the model is worth."""

    points: list[Point]
    judging = 0.0
    start = 0.0
    split: Split

    def validate(self, model: nn.Module) -> dict[str, float]:
        """As the task does, and note it."""
        begun = time.process_time()
        scorer = NetworkScorer(model)
        found = evaluate(scorer, self.split.valid)
        test = evaluate(scorer, self.split.test)["ndcg@10"]
        self.points.append(Point(begun - self.start - self.judging, found["ndcg@10"], test))
        self.judging += time.process_time() - begun
        return found


def learn_here(split: Split, name: str, seed: int, epochs: int | None) -> list[Point]:
    """Train as `recurra-recsys train` does, first embeddings and checkpoints counted in."""
    torch.set_num_threads(1)
    start = time.process_time()
    if name == "markov":
        rule = Markov(split.train)
        fitted = time.process_time() - start
        return [
            Point(fitted, *(evaluate(rule, part)["ndcg@10"] for part in (split.valid, split.test)))
        ]
    options = {"seed": seed, "epochs": epochs or EPOCHS[name], "validations": VALIDATIONS}
    config = load_recipe(name, [], {**options, "threads": 1})
    torch.manual_seed(seed)
    model, batches = build_model(config, split.train), build_batches(config, split.train)
    task = Watched(model, batches, split.valid, config)
    task.points, task.start, task.split = [], start, split
    with tempfile.TemporaryDirectory() as folder:
        settings = fit_config(config, len(batches))
        result = fit(task, settings, Path(folder) / "run", progress=False)
    if not result.finished:
        raise SystemExit(130)  # a part of a training is no record
    return task.points
