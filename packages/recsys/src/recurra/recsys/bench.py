"""How fast a model learns and answers on this machine, and how much memory it takes."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

from recurra.core.errors import RecurraError
from recurra.core.memory import peak_memory
from recurra.core.training import Draw
from recurra.core.training.clipping import clip_gradients
from recurra.recsys.data import Holdout, LogColumns, read_log
from recurra.recsys.data.log_folder import is_log_folder
from recurra.recsys.models import NetworkConfig
from recurra.recsys.recipes import load_recipe
from recurra.recsys.recommender import Recommender
from recurra.recsys.train import NextItemTask, TrainConfig, build_batches, build_model

K = 10  # items of a list
ASKED = 1024  # users who are asked for
LEAST = 5  # times that something is measured at least


@dataclass(frozen=True)
class Speed:
    """What a model takes on this machine. Of the times none is of reading the log.

    Attributes:
        subject: the model or the log, as it was asked for.
        model: what was measured: the name of a recipe, or the kind of a trained model.
        items, users, events: of the log.
        threads: of torch.
        training_users_per_cpu_second: users over the CPU seconds of an epoch, of which some batches
            were measured, each a whole update.
        top10_users_per_cpu_second: users who got a list in a CPU second, many asked for together.
        one_user_ms: wall clock of a list for one user alone, the median, in milliseconds.
        one_user_cpu_ms: CPU time of it, the median.
        base_mib: the most memory that the process held before anything was measured, in MiB of
            2**20 bytes, with Python, torch and the log; None where the system does not tell.
        peak_mib: the most in all.
    """

    subject: str
    model: str
    items: int
    users: int
    events: int
    threads: int
    training_users_per_cpu_second: float
    top10_users_per_cpu_second: float
    one_user_ms: float
    one_user_cpu_ms: float
    base_mib: float | None
    peak_mib: float | None


def bench(
    subject: str,
    columns: LogColumns | None = None,
    *,
    recipe: str | None = None,
    seconds: float = 3.0,
    threads: int = 1,
) -> Speed:
    """Measure a trained model on the histories that it knows, or a new one on a log.

    A trained model is not changed: it is a copy of it that learns.

    Args:
        subject: a model folder or a Hub id; or a log, see `read_log`.
        columns: of a log.
        recipe: of the network for a log, see `recurra.recsys.recipes`; None is bert4rec.
        seconds: of CPU time for each of the three figures, and `LEAST` repeats at least.
        threads: of torch.

    Raises:
        RecurraError: the subject cannot be used.
    """
    path = Path(subject)
    if is_log_folder(path) or path.is_file():
        name = recipe or "bert4rec"
        config = load_recipe(name)
        log, _ = read_log(path, columns)
        recommender = Recommender(build_model(config, log).eval(), log)
    else:
        if recipe is not None or (columns or LogColumns()) != LogColumns():
            raise RecurraError(f"{subject} is no log: --model and columns are for a log")
        recommender = Recommender.from_pretrained(subject)
        name, config = recommender.model.kind, _config_of(recommender)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _measure(subject, name, recommender, config, seconds)
    finally:
        torch.set_num_threads(before)


def _measure(
    subject: str, name: str, recommender: Recommender, config: TrainConfig, seconds: float
) -> Speed:
    log, base = recommender.log, peak_memory()
    users = np.random.default_rng(0).permutation(log.n_users)[:ASKED]
    histories = [log.history(user) for user in users]
    lists = _repeat(lambda: recommender.lists(histories, K), seconds)
    others = cycle(histories)
    lone = _repeat(lambda: recommender.lists([next(others)], K), seconds)
    updates = _updates(recommender, config)
    epoch = len(build_batches(config, log))
    training = _repeat(lambda: next(updates), seconds)
    return Speed(
        subject=subject,
        model=name,
        items=log.n_items,
        users=log.n_users,
        events=len(log),
        threads=torch.get_num_threads(),
        training_users_per_cpu_second=log.n_users / epoch / statistics.mean(training[1]),
        top10_users_per_cpu_second=len(histories) / statistics.median(lists[1]),
        one_user_ms=1000 * statistics.median(lone[0]),
        one_user_cpu_ms=1000 * statistics.median(lone[1]),
        base_mib=base,
        peak_mib=peak_memory(),
    )


def _updates(recommender: Recommender, config: TrainConfig) -> Iterator[None]:
    """Updates of a copy of the model, one after another."""
    log = recommender.log
    model = build_model(config, log)
    model.load_state_dict(recommender.model.state_dict())
    batches = build_batches(config, log)
    nobody = Holdout(log.without_last(0, np.array([], int)), np.array([], np.int32))
    task = NextItemTask(model.train(), batches, nobody, config)
    rates = {"learning_rate": config.learning_rate, "weight_decay": config.weight_decay}
    optimizer = task.optimizer(model.parameters(), **rates)
    for index in cycle(range(len(batches))):
        task.training_step(model, batches[Draw(0, index)])["loss"].backward()
        clip_gradients(model.parameters(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        yield


def _repeat(work: Callable[[], object], seconds: float) -> tuple[list[float], list[float]]:
    """Do it once, then until so many CPU seconds are over: wall clock and CPU time of each."""
    work()
    wall: list[float] = []
    cpu: list[float] = []
    while len(cpu) < LEAST or sum(cpu) < seconds:
        start = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return wall, cpu


def _config_of(recommender: Recommender) -> TrainConfig:
    """How a network of the sizes of a trained one is trained by its recipe."""
    network = recommender.model.config
    sizes = {name: getattr(network, name) for name in NetworkConfig.__dataclass_fields__}
    recipe = load_recipe(recommender.model.kind)
    return replace(recipe, network=NetworkConfig(**sizes), first_embeddings="random")
