"""Trains esasrec on a log by what is asked alone, so that processes can be compared.

torchrun --nproc-per-node 2 two_processes.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch

from recurra.core.training import FitConfig, fit
from recurra.recsys.data import Interactions, leave_one_out
from recurra.recsys.recipes import load_recipe
from recurra.recsys.train import NextItemTask, build_batches, build_model

V = 40


def learn(folder: Path, *, kind: str, accumulate: int) -> dict[str, torch.Tensor]:
    """Six updates of `accumulate` batches in each process: the weights behind them.

    Nothing is drawn in a step: there is no dropout, and all items are negatives. The table of
    items is "sparse" or "dense".
    """
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", int(item)) for user in range(40) for item in rng.integers(0, V, 6)]
    log = Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))
    words = ["network.dropout=0.0", "network.attention_dropout=0.0", "network.d_model=8"]
    words += [
        "first_embeddings=random",
        f"sparse_table={str(kind == 'sparse').lower()}",
        "batch_size=3",
    ]
    config = load_recipe("esasrec", words)
    torch.manual_seed(0)
    split = leave_one_out(log)
    model, batches = build_model(config, split.train), build_batches(config, split.train)
    task = NextItemTask(model, batches, split.valid, config)
    every = torch.arange(1, log.n_items + 1)
    task._sampler.draw = lambda k, device: (every, torch.full(every.shape, -np.log(len(every))))
    how = FitConfig(
        seed=1, max_steps=6, batch_size=1, accumulate=accumulate, learning_rate=1e-2, clip_norm=0.5
    )
    fit(task, how, folder, progress=False)
    return {name: value.detach().clone() for name, value in model.named_parameters()}


if __name__ == "__main__":
    for kind in ("sparse", "dense"):
        found = learn(Path(sys.argv[1]) / kind, kind=kind, accumulate=1)
        torch.save(found, Path(sys.argv[1]) / f"{kind}.pt")
