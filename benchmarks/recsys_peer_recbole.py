"""RecBole's BERT4Rec, run by recsys_peers.py in an environment of its own; see recsys_peer_jobs.py.

RecBole's loaders, model and training loop, which is stopped after each part of the time to make
lists. It makes a sample of each beginning of each history. Names that NumPy 2 took away are put
back, without which it cannot be imported.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys_peer_jobs import CpuClock, Histories, answer_jobs, top_lists

CHECKS = 8  # how often lists are made


class TimeIsOver(Exception):
    """Ends RecBole's epoch in the middle."""


class Peer:
    """A data set."""

    def __init__(self, histories: Histories) -> None:
        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
        self.histories = histories

    def answer(
        self, job: str, model: str, batch: int, lr: float, dropout: float, seed: int, seconds: float
    ) -> Iterator[dict[str, Any]]:
        """Train for so many CPU seconds: the lists of everyone, now and then."""
        put_names_back()
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed

        with tempfile.TemporaryDirectory() as folder:
            write_log(self.histories, Path(folder))
            config = Config(model, "log", config_dict=settings(folder, batch, lr, dropout, seed))
            init_seed(seed, reproducibility=True)
            loaders = data_preparation(config, create_dataset(config))
            network = get_model(model)(config, loaders[0]._dataset)
            trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
            clock, loss = CpuClock(), network.calculate_loss
            start_of_part = 0.0

            def timed_loss(batch: Any) -> torch.Tensor:
                clock.stop()
                clock.start()
                if clock.seconds - start_of_part > seconds / CHECKS:
                    raise TimeIsOver
                return loss(batch)

            network.calculate_loss = timed_loss
            while clock.seconds < seconds:
                start_of_part = clock.seconds
                clock.start()
                try:
                    trainer._train_epoch(loaders[0], 0)
                except TimeIsOver:
                    trainer.optimizer.zero_grad()
                clock.stop()
                lists = {
                    "valid": self.lists(network, loaders[1], without=2),
                    "test": self.lists(network, loaders[2], without=1),
                }
                yield {"cpu_seconds": clock.seconds, **lists}

    @torch.no_grad()
    def lists(self, network: Any, loader: Any, without: int) -> list[list[int]]:
        """Lists by our numbers, from RecBole's own scores of all items."""
        network.eval()
        dataset, seen = loader._dataset, self.histories.without_last(without)
        ours = [int(word) for word in dataset.field2id_token["item_id"][1:]]
        users = [int(word) for word in dataset.field2id_token["user_id"][1:]]
        found: list[list[int]] = [[] for _ in users]
        for interaction, *_ in loader:
            theirs = network.full_sort_predict(interaction).view(len(interaction), -1).numpy()
            rows = [users[number - 1] for number in interaction["user_id"].tolist()]
            scores = np.full((len(rows), self.histories.n_items + 1), -np.inf, np.float32)
            scores[:, ours] = theirs[:, 1 : len(ours) + 1]
            for row, items in zip(
                rows, top_lists(scores, [seen[row] for row in rows]), strict=True
            ):
                found[row] = items
        return found


def put_names_back() -> None:
    """Names of NumPy 1."""
    for name, kind in (("float_", np.float64), ("complex_", np.complex128), ("unicode_", np.str_)):
        if not hasattr(np, name):
            setattr(np, name, kind)


def write_log(histories: Histories, folder: Path) -> None:
    (folder / "log").mkdir()
    with (folder / "log" / "log.inter").open("w") as out:
        print("user_id:token\titem_id:token\ttimestamp:float", file=out)
        for user, items in enumerate(histories.without_last(0)):
            for place, item in enumerate(items.tolist()):
                print(user, item, place, sep="\t", file=out)


def settings(folder: str, batch: int, lr: float, dropout: float, seed: int) -> dict[str, Any]:
    """The sizes that are compared, with RecBole's own longest history of 50."""
    return {
        "data_path": folder,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 50,
        "hidden_size": 64,
        "n_heads": 2,
        "n_layers": 2,
        "inner_size": 256,
        "hidden_dropout_prob": dropout,
        "attn_dropout_prob": dropout,
        "mask_ratio": 0.2,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "train_batch_size": batch,
        "eval_batch_size": 512,
        "learning_rate": lr,
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "mode": "full",
            "group_by": "user",
        },
        "use_gpu": False,
        "show_progress": False,
        "checkpoint_dir": folder,
        "log_wandb": False,
        "seed": seed,
        "worker": 0,
    }


if __name__ == "__main__":
    answer_jobs(lambda histories: Peer(histories).answer)
