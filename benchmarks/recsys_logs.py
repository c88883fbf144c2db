"""Logs as the field's repositories hand them on, which `recsys_quality.py` takes.

| form | is of |
|---|---|
| a table with a header, or a folder of `recurra-recsys import` | RecBole (.inter) and everyone |
| .txt without a header, `user item item ...` in a line | S3-Rec: Beauty, Sports, Yelp |
| .txt without a header, `user item` in a line, a user's lines in order | SASRec and BERT4Rec |
| a folder with train_input.txt and val_input.txt, `item item ...` in a line | gSASRec's ML-1M |

The test events of the last are not taken, and of most users the event before is not there: it is
near the published ML-1M, and not it. What is known of the items is a table too (RecBole's .item),
or S3-Rec's `..._item2attributes.json`, whose column is called attributes.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recurra.recsys.data import Interactions, LogColumns, read_log
from recurra.recsys.item_features import FeatureColumns, ItemFeatures


def read_benchmark_log(path: Path) -> Interactions:
    """Read a log of any of these forms.

    Raises:
        RecurraError: it is a table that cannot be used.
    """
    if (path / "train_input.txt").is_file():
        return _log_of(enumerate(_gsasrec_histories(path)))
    if path.suffix == ".txt":
        lines = _lines(path)
        if lines and all(word.isdigit() for word in lines[0]):
            return _log_of((user, items) for user, *items in lines)
    return read_log(path, LogColumns())[0]


def read_benchmark_features(path: Path, columns: Sequence[str], log: Interactions) -> ItemFeatures:
    """Read columns about the items of a log.

    Raises:
        RecurraError: they cannot be used.
    """
    if path.suffix != ".json":
        return FeatureColumns(path, tuple(columns)).read(log)
    cells = json.loads(path.read_text())
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "items.parquet")
        pl.DataFrame({"item": list(cells), "attributes": list(cells.values())}).write_parquet(table)
        return FeatureColumns(table, tuple(columns)).read(log)


def _gsasrec_histories(folder: Path) -> list[list[str]]:
    """A history a user, with one event more for users that are in the validation."""
    longer = {tuple(items[:-1]): items for items in _lines(folder / "val_input.txt")}
    return [longer.get(tuple(items), items) for items in _lines(folder / "train_input.txt")]


def _log_of(histories) -> Interactions:
    rows = [(int(user), int(item)) for user, items in histories for item in items]
    return Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))


def _lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines() if line.strip()]
