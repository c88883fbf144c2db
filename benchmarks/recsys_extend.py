"""What is `recurra-recsys extend` worth beside training anew, and what does it cost?

    uv run python benchmarks/recsys_extend.py ml-100k.inter --budget 2

The log is cut by time: a model learns from the first eight tenths of the events, `extend` puts the
ninth behind it, and a new model learns from all nine; each training leaves out the last two events
of a user, of which the earlier chooses the weights. The last tenth judges them by the NDCG@10 of
each of its events that has some before it, also of users who came later; the histories are those
that the user has by then. Items of the nine tenths are ranked, seen ones left out. Intervals are of
differences to the new model, paired by event and drawn over users. `--folder` keeps the models, so
that the two trainings are not done again.

It also looks whether ids kept their numbers, and whether old items score what they did before
anything is learnt.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from recsys_encoders import epochs_within
from recurra.core.cli import print_table
from recurra.recsys import Recommender
from recurra.recsys.data import Holdout, Interactions, LogColumns, leave_one_out, read_log
from recurra.recsys.evaluate import in_numbers_of
from recurra.recsys.extend import extend_model
from recurra.recsys.metrics import ndcg, rank_of
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.ranking import scores_of
from recurra.recsys.recipes import RECIPES, load_recipe
from recurra.recsys.train import train, training_file

OLD, LEARNT = 0.8, 0.9  # of the events, by time
RESAMPLES = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("words", nargs="*", help="changes of the recipe")
    parser.add_argument("--model", choices=RECIPES, default="bert4rec")
    parser.add_argument("--budget", type=float, default=2.0, help="CPU minutes of a training")
    parser.add_argument("--epochs", type=int, default=3, help="of extend")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keeps the models")
    asked = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        measure(read_log(asked.log)[0], folder, asked)


def measure(log: Interactions, folder: Path, asked: argparse.Namespace) -> None:
    """Train, extend and train anew; print what each is worth and took."""
    ends = np.sort(log.times)[[int(share * len(log)) for share in (OLD, LEARNT)]]
    seconds = {
        name: train_once(before(log, end), folder / name, asked)
        for name, end in zip(("old", "anew"), ends, strict=True)
    }
    rows = frame_of(log).filter(pl.col("time").is_between(*ends, closed="left"))
    rows.write_parquet(folder / "new.parquet")
    for name, epochs in (("unlearnt", 0), ("extended", asked.epochs)):
        start = time.process_time()
        extend_model(
            folder / "old",
            folder / "new.parquet",
            LogColumns(),
            folder / name,
            epochs=epochs,
            seed=asked.seed,
        )
        seconds[name] = time.process_time() - start
    names = ("unlearnt", "extended", "anew")
    models = {name: Recommender.from_pretrained(folder / name) for name in ("old", *names)}
    check_what_stays(models)
    owners, _ = targets_after(models["anew"], log, ends[1])
    values = {name: values_after(models[name], log, ends[1]) for name in names}
    said = f"{len(owners)} events of {len(np.unique(owners))} users; {len(rows)} came since"
    print_table(
        [
            row_of(name, values[name], values["anew"], owners, seconds[name], seconds["anew"])
            for name in names
        ],
        ["", "NDCG@10", "of the new one's", "minus the new one (95 %)", "CPU s", "of its"],
        title=said,
    )


def before(log: Interactions, end: float) -> Interactions:
    """The log as it stood at a moment, with the items and users that it had by then."""
    return Interactions.from_frame(frame_of(log).filter(pl.col("time") < end))


def frame_of(log: Interactions) -> pl.DataFrame:
    """Rows "user", "item" and "time", a user's in order."""
    users = log.users.gather(np.repeat(np.arange(log.n_users), log.lengths))
    items = log.items.gather(log.sequence.astype(np.int64) - 1)
    return pl.DataFrame({"user": users, "item": items, "time": log.times})


def train_once(log: Interactions, output: Path, asked: argparse.Namespace) -> float:
    """Train a model that is not there yet; the CPU seconds that it took, or had taken."""
    note = output.with_name(f"{output.name}.seconds.json")
    if note.exists():
        return json.loads(note.read_text())
    split = leave_one_out(log)
    config = load_recipe(asked.model, asked.words, {"seed": asked.seed, "threads": 1})
    config = replace(config, epochs=epochs_within(60 * asked.budget, split, config))
    start = time.process_time()
    model, _ = train(split, config, output.with_name(f"{output.name}.run"))
    Recommender(model, log).save(output, files=training_file(config))
    seconds = time.process_time() - start
    note.write_text(json.dumps(seconds))
    return seconds


def check_what_stays(models: dict[str, Recommender]) -> None:
    """Say whether old items and users kept their numbers, and old items their scores."""
    old, unlearnt, extended = (models[name] for name in ("old", "unlearnt", "extended"))
    for new in (unlearnt, extended):
        assert new.log.items[: old.log.n_items].equals(old.log.items)
        assert new.log.users[: old.log.n_users].equals(old.log.users)
    histories = [old.log.history(user) for user in range(0, old.log.n_users, 10)]
    scores = [NetworkScorer(model.model).score(histories) for model in (old, unlearnt)]
    same = np.array_equal(scores[0], scores[1][:, : old.log.n_items + 1])
    print(f"ids kept their numbers; before learning, old items score the same to the bit: {same}")


def targets_after(
    model: Recommender, log: Interactions, moment: float
) -> tuple[np.ndarray, Holdout]:
    """Events from a moment on that have some before them: (n,) their users, and the holdout.

    Events of items that the model does not know are left out.
    """
    known = in_numbers_of(log, model.log.items)
    owners = np.repeat(np.arange(known.n_users), known.lengths)
    starts = known.offsets[owners]
    places = np.arange(len(known))
    wanted = (known.times >= moment) & (places > starts)
    starts, places = starts[wanted], places[wanted]
    lengths = places - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    events = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    histories = Interactions(
        known.users.gather(owners[wanted]), known.items, offsets, known.sequence[events]
    )
    return owners[wanted], Holdout(histories, known.sequence[places])


def values_after(model: Recommender, log: Interactions, moment: float) -> np.ndarray:
    """NDCG@10 of each of these events: float64 (n,)."""
    _, holdout = targets_after(model, log, moment)
    return np.concatenate(
        [
            ndcg(rank_of(scores, holdout.targets[rows]), 10)
            for rows, scores in scores_of(NetworkScorer(model.model), holdout)
        ]
    )


def row_of(name, values, new, owners, seconds, of_new) -> list[str]:
    """A row of the table."""
    low, high = interval_over_users(values - new, owners)
    difference = values.mean() - new.mean()
    return [
        name,
        f"{values.mean():.4f}",
        f"{values.mean() / new.mean():.3f}",
        "" if values is new else f"{difference:+.4f} ({low:+.4f} to {high:+.4f})",
        f"{seconds:.1f}",
        f"{seconds / of_new:.3f}",
    ]


def interval_over_users(values: np.ndarray, owners: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over events, whole users being drawn."""
    _, places = np.unique(owners, return_inverse=True)
    sums, counts = np.bincount(places, values), np.bincount(places)
    drawn = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
