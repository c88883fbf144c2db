"""What does a step of training cost as the catalogue grows, with a dense table and a sparse one?

    uv run python benchmarks/recsys_table.py 10000 1000000

Each size and way runs in a process of its own: eSASRec (d = 64, 256 negatives), 500 users of 50
random items, batches of 32. First some updates are timed, then a whole short run of `train`, with
its checkpoint and a validation over all items, shows the most memory that the process held.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from recurra.core.cli import print_table
from recurra.core.memory import peak_memory
from recurra.core.training import Draw, FitConfig
from recurra.core.training.optimization import Optimization, build_accelerator
from recurra.recsys.data import Interactions, Split, leave_one_out
from recurra.recsys.recipes import load_recipe
from recurra.recsys.train import NextItemTask, TrainConfig, build_batches, build_model, train

USERS, EVENTS, WARM, STEPS = 500, 50, 5, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("items", type=int, nargs="+")
    parser.add_argument("--way", choices=["sparse", "dense"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(measure(asked.items[0], asked.way)))
        return
    rows = []
    for items, way in itertools.product(asked.items, ("dense", "sparse")):
        command = [sys.executable, __file__, str(items), "--way", way]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append((items, way, *json.loads(done.stdout).values()))
    print_table(rows, ["items", "table", "CPU ms a step", "MiB before", "most MiB"])


def measure(items: int, way: str) -> dict[str, str]:
    """Time updates, then train a little."""
    torch.set_num_threads(1)
    words = [f"sparse_table={'true' if way == 'sparse' else 'false'}", "first_embeddings=random"]
    config = load_recipe("esasrec", words, {"epochs": 1, "validations": 1})
    split, before = make_split(items), peak_memory()
    milliseconds = time_updates(split, config)
    with tempfile.TemporaryDirectory() as name:
        train(split, config, Path(name) / "run", progress=False)
    return {
        "step": f"{milliseconds:.1f}",
        "before": f"{before:.0f}",
        "most": f"{peak_memory():.0f}",
    }


def make_split(items: int) -> Split:
    """A log of random items."""
    sequence = np.random.default_rng(0).integers(1, items + 1, USERS * EVENTS).astype(np.int32)
    ids = pl.Series("user", np.arange(USERS)), pl.Series("item", np.arange(items))
    return leave_one_out(Interactions(*ids, np.arange(USERS + 1) * EVENTS, sequence))


def time_updates(split: Split, config: TrainConfig) -> float:
    """CPU milliseconds of an update as `fit` does it, the median."""
    batches = build_batches(config, split.train)
    task = NextItemTask(build_model(config, split.train), batches, split.valid, config)
    settings = FitConfig(max_steps=1000, batch_size=1, clip_norm=config.clip_norm)
    optimization = Optimization(task, settings, build_accelerator(settings))
    supply = (batches[Draw(0, place)] for place in itertools.cycle(range(len(batches))))
    taken = []
    for _ in range(WARM + STEPS):
        start = time.process_time()
        optimization.update(supply)
        taken.append(time.process_time() - start)
    return 1000 * statistics.median(taken[WARM:])


if __name__ == "__main__":
    main()
