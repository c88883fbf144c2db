"""RecTools, run by recsys_peers.py in an environment of its own; see recsys_peer_jobs.py.

CPU seconds of training are those of Lightning's loop over batches, without what RecTools does once
before it; those of lists are of the whole of `recommend`.
"""

import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

from recsys_peer_jobs import CpuClock, Histories, K, answer_jobs

SIZES = {"n_factors": 64, "n_blocks": 2, "n_heads": 2, "session_max_len": 100}
MASK_SHARE = 0.2
CLOCK = CpuClock()


class Timing(Callback):
    """Lets the clock run while there are batches; Lightning copies it, so the clock is no part."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start it."""
        CLOCK.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop it."""
        CLOCK.stop()


class Peer:
    """A data set, and the models that were timed on it, by their batch size."""

    def __init__(self, histories: Histories) -> None:
        warnings.filterwarnings("ignore")
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        self.users = np.arange(histories.n_users)
        self.train = data_set(histories.without_last(2))
        self.valid_and_before = data_set(histories.without_last(1))
        self.timed: dict[int, Any] = {}

    def answer(self, job: str, **options: Any) -> Iterator[dict[str, Any]]:
        """What a job gives.

        "time training" of `batch` and `batches`: CPU seconds of so many updates;
        "time lists": CPU seconds of a list for everyone;
        "learn": see `learn`.
        """
        if job == "time training":
            yield {"cpu_seconds": self.time_training(**options)}
        elif job == "time lists":
            yield self.lists(next(iter(self.timed.values())), self.valid_and_before)
        else:
            yield from self.learn(**options)

    def time_training(self, batch: int, batches: int) -> float:
        """CPU seconds of so many updates of a model that has learnt before."""
        if batch not in self.timed:
            model = build("bert4rec", batch, lr=1e-3, dropout=0.1, batches=batches)
            model.fit_partial(self.train, min_epochs=1, max_epochs=1)  # warms up
            self.timed[batch] = model
        before = CLOCK.seconds
        self.timed[batch].fit_partial(self.train, min_epochs=1, max_epochs=1)
        return CLOCK.seconds - before

    def learn(
        self, model: str, batch: int, lr: float, dropout: float, seed: int, seconds: float
    ) -> Iterator[dict[str, Any]]:
        """Train for so many CPU seconds: the lists of everyone, each four epochs."""
        seed_everything(seed, verbose=False)
        network, start = build(model, batch, lr, dropout), CLOCK.seconds
        while CLOCK.seconds - start < seconds:
            network.fit_partial(self.train, min_epochs=4, max_epochs=4)
            yield {
                "cpu_seconds": CLOCK.seconds - start,
                "valid": self.lists(network, self.train)["lists"],
                "test": self.lists(network, self.valid_and_before)["lists"],
            }

    def lists(self, model: Any, dataset: Dataset) -> dict[str, Any]:
        """The best items of everyone, and the CPU seconds of finding them."""
        start = time.process_time()
        found = model.recommend(users=self.users, dataset=dataset, k=K, filter_viewed=True)
        seconds = time.process_time() - start
        lists = found.groupby(Columns.User)[Columns.Item].apply(list)
        return {
            "cpu_seconds": seconds,
            "lists": [list(map(int, lists[user])) for user in self.users],
        }


def data_set(histories: list[np.ndarray]) -> Dataset:
    lengths = [len(history) for history in histories]
    place = np.concatenate([np.arange(length) for length in lengths])
    columns = {
        Columns.User: np.repeat(np.arange(len(histories)), lengths),
        Columns.Item: np.concatenate(histories),
        Columns.Weight: 1.0,
        Columns.Datetime: pd.to_datetime(place, unit="s"),
    }
    return Dataset.construct(pd.DataFrame(columns))


def build(kind: str, batch: int, lr: float, dropout: float, batches: int | None = None) -> Any:
    """A model of the sizes that are compared; `batches` is how many of an epoch are taken."""

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=1,
            limit_train_batches=batches,
            callbacks=[Timing()],
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    options = {
        **SIZES,
        "batch_size": batch,
        "lr": lr,
        "dropout_rate": dropout,
        "loss": "softmax",
        "train_min_user_interactions": 2,
        "recommend_torch_device": "cpu",
        "get_trainer_func": trainer,
    }
    if kind == "bert4rec":
        return BERT4RecModel(mask_prob=MASK_SHARE, **options)
    return SASRecModel(**options)


if __name__ == "__main__":
    answer_jobs(lambda histories: Peer(histories).answer)
