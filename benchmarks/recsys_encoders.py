"""What lets the events of a history see each other: encoders beside each other, on one log.

    uv run python benchmarks/recsys_encoders.py ml-100k.inter --budget 4

SASRec's recipe with each encoder, trained for as many epochs as fit into the same CPU time by the
time of its updates, so that the learning rate of each falls to its end; the best weights by the
validation events are judged by the last event of each user. The rules stand below.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from recurra.core.cli import print_table
from recurra.core.training import Draw
from recurra.recsys.data import LogColumns, Split, leave_one_out, read_log
from recurra.recsys.judging import judge
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.recipes import load_recipe
from recurra.recsys.report import judge_baselines
from recurra.recsys.train import NextItemTask, TrainConfig, build_batches, build_model, train

STREAMS = "network.positions=none"
ENCODERS = {
    "attention": [],
    "attention, n-gram heads beside it": ["network.ngrams=[1,2]"],
    "prefix attention": ["network.encoder=prefix-attention", STREAMS],
    "Mamba-2": ["network.encoder=mamba2", STREAMS],
}
VALIDATIONS, TIMED = 10, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--budget", type=float, default=4.0, help="CPU minutes of each training")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    split = leave_one_out(read_log(asked.log, LogColumns())[0])
    for name, words in ENCODERS.items():
        options = {"validations": VALIDATIONS}
        config = replace(load_recipe("sasrec", words, options), patience=None)
        config = replace(config, epochs=epochs_within(60 * asked.budget, split, config))
        print(*row_of(name, split, config), sep=" | ", flush=True)
    rules = [(rule.judgement.name, f"{rule.ndcg:.4f}") for rule in judge_baselines(split)]
    print_table(rules, ["rule", "NDCG@10"])


def epochs_within(seconds: float, split: Split, config: TrainConfig) -> int:
    """How many epochs take that much CPU time, by the median of some updates."""
    model, batches = build_model(config, split.train), build_batches(config, split.train)
    task = NextItemTask(model.train(), batches, split.valid, config)
    optimizer = task.optimizer(model.parameters(), learning_rate=1e-3, weight_decay=0.01)
    taken = []
    for place in itertools.islice(itertools.cycle(range(len(batches))), TIMED):
        start = time.process_time()
        task.training_step(model, batches[Draw(0, place)])["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        taken.append(time.process_time() - start)
    return max(1, round(seconds / (len(batches) * statistics.median(taken))))


def row_of(name: str, split: Split, config: TrainConfig) -> list[str]:
    """Train and judge: name, NDCG@10 with its 95 % interval, parameters, epochs, CPU seconds."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model, result = train(split, config, Path(folder) / "run", progress=False)
    seconds = time.process_time() - start
    interval = judge(NetworkScorer(model), split).interval()
    said = f"{interval.mean:.4f} ({interval.low:.4f} to {interval.high:.4f})"
    count = sum(parameter.numel() for parameter in model.parameters())
    best = f"best at {result.best_step} of {result.step}"
    return [name, said, f"{count:,}", f"{config.epochs} ({best})", f"{seconds:.0f}"]


if __name__ == "__main__":
    main()
