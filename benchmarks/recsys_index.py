"""How much does an index of a large catalogue save, and what does it miss?

    uv run python benchmarks/recsys_index.py 100000 1000000

Makes a SASRec of random layers (L = 50, d = 64) over items of 256 kinds, whose embeddings differ by
kind more than within one, and histories of 49 items of one kind; the times do not depend on whether
weights were trained, the recall does, and `recurra-recsys index` prints that of a model of yours.
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import torch

from recurra.core.cli import print_table
from recurra.recsys import Recommender
from recurra.recsys.data import Interactions
from recurra.recsys.index import index_model
from recurra.recsys.models import SasRec, SasRecConfig

KINDS, USERS, WIDTH = 256, 600, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("items", type=int, nargs="+")
    columns = []
    for items in parser.parse_args().items:
        with tempfile.TemporaryDirectory() as name:
            make_model(items).save(Path(name) / "model")
            report = asdict(index_model(Path(name) / "model"))
        columns.append({**report, "written": None})
    names = [name for name in columns[0] if name not in ("items", "written")]
    rows = [(name, *(f"{column[name]:.4g}" for column in columns)) for name in names]
    print_table(rows, ["", *(f"{column['items']} items" for column in columns)])


def make_model(items: int) -> Recommender:
    """A network of random layers for items of some kinds, and users who take items of one."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = SasRec(SasRecConfig(n_items=items, max_len=50, d_model=WIDTH)).eval()
    kinds = rng.integers(0, KINDS, items)
    vectors = rng.normal(size=(KINDS, WIDTH))[kinds] + 0.6 * rng.normal(size=(items, WIDTH))
    with torch.no_grad():
        model.item_embedding.weight[1 : items + 1] = torch.from_numpy(vectors / WIDTH**0.5)
    of_kind = [np.flatnonzero(kinds == kind) + 1 for kind in range(KINDS)]
    histories = [rng.choice(of_kind[user % KINDS], 49, replace=False) for user in range(USERS)]
    log = Interactions(
        users=pl.Series("user", np.arange(USERS)),
        items=pl.Series("item", np.arange(items)),
        offsets=np.arange(USERS + 1) * 49,
        sequence=np.concatenate(histories).astype(np.int32),
    )
    return Recommender(model, log)


if __name__ == "__main__":
    main()
