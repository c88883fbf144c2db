"""A log on the disk is the log in memory, to the bit."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from recurra.core.errors import RecurraError
from recurra.recsys.data import (
    LogColumns,
    import_log,
    log_folder,
    open_log,
    read_log,
    tables,
    text_pieces,
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Batches, parts and blocks so small that a log of a test has many."""
    monkeypatch.setattr(tables, "ROWS", 37)
    monkeypatch.setattr(text_pieces, "PIECE", 700)
    monkeypatch.setattr(log_folder, "PARTS", 5)
    monkeypatch.setattr(log_folder, "BLOCK", 23)


def random_log(seed, rows=600):
    """Ties in time, repeats, rows without a user, an item or a time, text and numbers as ids."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "user": [f"u{n}" for n in rng.zipf(1.3, rows) % 60],
            "item": rng.zipf(1.4, rows) % 40,
            "rating": rng.integers(1, 6, rows),
            "time": rng.integers(1_500_000_000_000, 1_500_000_000_020, rows).astype(str),
        }
    )
    bad = rng.choice(rows, (4, 6), replace=False)
    row = pl.int_range(rows)
    return frame.with_columns(
        user=pl.when(row.is_in(bad[0])).then(None).otherwise("user"),
        rating=pl.when(row.is_in(bad[3])).then(None).otherwise("rating"),
        item=pl.when(row.is_in(bad[1])).then(None).otherwise("item"),
        time=pl.when(row.is_in(bad[2])).then(pl.lit("soon")).otherwise("time"),
    )


def assert_same(found, expected):
    (log, report), (other, wanted) = found, expected
    assert report == wanted
    assert log.users.equals(other.users)
    assert log.items.equals(other.items)
    for name in ("offsets", "sequence", "times"):
        ours, theirs = getattr(log, name), getattr(other, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    "columns", [LogColumns(), LogColumns(weight_min=3), LogColumns(weight_min=2, k_core=4)]
)
def test_the_folder_holds_what_is_read_into_memory(tmp_path, seed, ending, columns):
    frame, path = random_log(seed), tmp_path / f"log.{ending}"
    frame.write_csv(path) if ending == "csv" else frame.write_parquet(path)
    read = []
    report = import_log(path, tmp_path / "log", columns, advance=read.append)
    unused = ("repeated row", f"not in the {columns.k_core}-core")
    assert sum(read) == report.rows - sum(
        count for why, count in report.left_out.items() if why not in unused
    )
    assert_same(open_log(tmp_path / "log"), read_log(path, columns))
    assert report.times == "milliseconds"
    assert set(report.left_out) >= {"no user", "no item", "unreadable time", "repeated row"}
    log, _ = open_log(tmp_path / "log")
    assert not log.sequence.flags.owndata  # mapped
    assert log.times.min() >= 1.5e9
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_log_without_times_keeps_the_order_of_its_rows_and_its_repeats(tmp_path):
    random_log(3).drop("time").write_csv(tmp_path / "log.csv")
    import_log(tmp_path / "log.csv", tmp_path / "log")
    assert_same(open_log(tmp_path / "log"), read_log(tmp_path / "log.csv"))
    assert_same(read_log(tmp_path / "log"), read_log(tmp_path / "log.csv"))


def test_words_for_a_missing_value_and_whole_floats_are_the_same_on_the_disk(tmp_path):
    frame = random_log(5).with_columns(item=pl.col("item").cast(pl.Float64))
    frame.write_parquet(tmp_path / "log.parquet")
    import_log(tmp_path / "log.parquet", tmp_path / "log")
    assert_same(open_log(tmp_path / "log"), read_log(tmp_path / "log.parquet"))
    assert open_log(tmp_path / "log")[0].items.dtype == pl.Int64
    frame.write_csv(tmp_path / "log.csv", null_value="NaN")
    report = import_log(tmp_path / "log.csv", tmp_path / "log", force=True)
    assert_same(open_log(tmp_path / "log"), read_log(tmp_path / "log.csv"))
    assert report.left_out["item is 'NaN'"] == 6


def test_the_k_core_has_k_events_of_everyone_and_everything(tmp_path):
    random_log(4).write_csv(tmp_path / "log.csv")
    import_log(tmp_path / "log.csv", tmp_path / "log", LogColumns(k_core=6))
    log, report = open_log(tmp_path / "log")
    assert report.left_out["not in the 6-core"] > 0
    assert min(log.lengths.min(), np.bincount(log.sequence)[1:].min()) >= 6
    assert np.all(np.diff(np.bincount(log.sequence)[1:]) <= 0)  # numbered by what is left


def test_folders_are_not_overwritten_unless_asked_and_never_if_foreign(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item\nu,a\n")
    import_log(path, tmp_path / "log")
    with pytest.raises(RecurraError, match="give --force"):
        import_log(path, tmp_path / "log")
    path.write_text("user,item\nu,a\nu,b\n")
    import_log(path, tmp_path / "log", force=True)
    assert len(open_log(tmp_path / "log")[0]) == 2
    (tmp_path / "log/mine.txt").touch()
    with pytest.raises(RecurraError, match="no imported log"):
        import_log(path, tmp_path / "log", force=True)


def test_what_cannot_be_imported_leaves_nothing(tmp_path):
    path = tmp_path / "log.csv"
    for text, message in (("user,item\n,a\n", "1 no user"), ("user,item\n", "no usable row")):
        path.write_text(text)
        with pytest.raises(RecurraError, match=message):
            import_log(path, tmp_path / "log")
    path.write_text("user,item\nu,a\nu,b\n")
    with pytest.raises(RecurraError, match="has no usable row: 2 not in the 3-core"):
        import_log(path, tmp_path / "log", LogColumns(k_core=3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.json", b"{"),
        ("log.json", b"{}"),
        ("offsets.npy", b"no array"),
        ("items.parquet", b"no table"),
        ("sequence.npy", None),
    ],
)
def test_a_damaged_folder_is_one_line(tmp_path, name, content):
    (tmp_path / "log.csv").write_text("user,item\nu,a\nu,b\n")
    import_log(tmp_path / "log.csv", tmp_path / "log")
    path = tmp_path / "log" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(RecurraError, match="import it anew") as caught:
        open_log(tmp_path / "log")
    assert "\n" not in str(caught.value)


def test_columns_are_not_given_again_for_a_folder(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\nu,a\nu,b\n")
    import_log(tmp_path / "log.csv", tmp_path / "log")
    with pytest.raises(RecurraError, match="was imported with its columns"):
        read_log(tmp_path / "log", LogColumns(user="user"))
    about = json.loads((tmp_path / "log/log.json").read_text())
    assert about["columns"] == {"user": "user", "item": "item"}


@pytest.mark.parametrize("kind", [pl.Int16, pl.Date, pl.Categorical, pl.Float32])
def test_ids_of_any_type_are_the_same_on_the_disk(tmp_path, kind):
    number = pl.col("item").cast(pl.String) if kind == pl.Categorical else pl.col("item") + 0.5
    item = (number if kind != pl.Date else pl.col("item").cast(pl.Int32)).cast(kind)
    random_log(6).with_columns(item=item).write_parquet(tmp_path / "log.parquet")
    import_log(tmp_path / "log.parquet", tmp_path / "log")
    assert_same(open_log(tmp_path / "log"), read_log(tmp_path / "log.parquet"))
    assert open_log(tmp_path / "log")[0].items.dtype == kind


MEASURED = """
import sys
from pathlib import Path
from recurra.core.memory import peak_memory
from recurra.recsys.data import import_log, text_pieces

text_pieces.PIECE = 1 << 20
folder = Path(sys.argv[1])
import_log(folder / "warm.csv", folder / "warm")
before = peak_memory()
import_log(folder / "log.csv", folder / "log")
print(peak_memory() - before)
"""


@pytest.mark.slow
def test_an_import_holds_neither_the_file_nor_the_text_that_ids_came_in(tmp_path):
    """Each piece has new ids, and each id is long enough for polars to keep it apart."""
    path = tmp_path / "log.csv"
    with open(path, "w") as file:
        file.write("user,item,time\n")
        for n in range(400_000):
            file.write(f"user-{n // 200:0200},item-{n % 700:0150},{n}\n")
    (tmp_path / "warm.csv").write_text("user,item,time\n" + "u,a,1\n" * 10)
    command = [sys.executable, "-c", MEASURED, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert path.stat().st_size > 140e6
    assert float(done.stdout) < 70  # MiB
