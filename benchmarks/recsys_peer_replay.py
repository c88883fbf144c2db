"""RePlay's BERT4Rec, run by recsys_peers.py in an environment of its own; see recsys_peer_jobs.py.

RePlay's data sets and Lightning module, in Lightning's loop. CPU seconds of training are those of
the loop over batches.
"""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import Callback, Trainer, seed_everything
from replay.data import FeatureHint, FeatureType
from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorSchema
from replay.models.nn.optimizer_utils import FatOptimizerFactory
from replay.models.nn.sequential.bert4rec import (
    Bert4Rec,
    Bert4RecPredictionDataset,
    Bert4RecTrainingDataset,
)
from torch.utils.data import DataLoader

from recsys_peer_jobs import CpuClock, Histories, answer_jobs, top_lists

LENGTH, MASK_SHARE, EPOCHS = 100, 0.2, 4


class Timing(Callback):
    """Lets a clock run while there are batches."""

    def __init__(self) -> None:
        self.clock = CpuClock()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start it."""
        self.clock.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop it."""
        self.clock.stop()


class Peer:
    """A data set."""

    def __init__(self, histories: Histories) -> None:
        warnings.filterwarnings("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        self.histories = histories
        item = TensorFeatureInfo(
            name="item",
            feature_type=FeatureType.CATEGORICAL,
            is_seq=True,
            feature_hint=FeatureHint.ITEM_ID,
            cardinality=histories.n_items,
            embedding_dim=64,
        )
        self.schema = TensorSchema([item])

    def answer(
        self, job: str, model: str, batch: int, lr: float, dropout: float, seed: int, seconds: float
    ) -> Iterator[dict[str, Any]]:
        """Train for so many CPU seconds: the lists of everyone, each four epochs."""
        seed_everything(seed, verbose=False)
        network = Bert4Rec(
            self.schema,
            block_count=2,
            head_count=2,
            hidden_size=64,
            max_seq_len=LENGTH,
            dropout_rate=dropout,
            enable_embedding_tying=True,
            optimizer_factory=FatOptimizerFactory(learning_rate=lr),
        )
        examples = Bert4RecTrainingDataset(self.data_set(2), LENGTH, MASK_SHARE)
        loader = DataLoader(examples, batch, shuffle=True)
        timing = Timing()
        trainer = Trainer(
            max_epochs=0,
            callbacks=[timing],
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        while timing.clock.seconds < seconds:
            trainer.fit_loop.max_epochs += EPOCHS
            trainer.fit(network.train(), loader)
            yield {
                "cpu_seconds": timing.clock.seconds,
                "valid": self.lists(network.eval(), without=2),
                "test": self.lists(network.eval(), without=1),
            }

    def data_set(self, without: int) -> PandasSequentialDataset:
        """Histories, the items by RePlay's numbers from 0."""
        items = [history - 1 for history in self.histories.without_last(without)]
        frame = pd.DataFrame({"user": np.arange(len(items)), "item": items})
        return PandasSequentialDataset(self.schema, "user", "item", frame)

    @torch.no_grad()
    def lists(self, network: Bert4Rec, without: int) -> list[list[int]]:
        """Lists by our numbers, from RePlay's own scores of all items."""
        asked = Bert4RecPredictionDataset(self.data_set(without), LENGTH)
        seen, found = self.histories.without_last(without), []
        for start, batch in enumerate(DataLoader(asked, 256)):
            theirs = network.predict(batch).numpy()
            scores = np.pad(theirs, ((0, 0), (1, 0)))
            rows = seen[256 * start : 256 * start + len(scores)]
            found += top_lists(scores, rows)
        return found


if __name__ == "__main__":
    answer_jobs(lambda histories: Peer(histories).answer)
