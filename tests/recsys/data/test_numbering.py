"""Ids get their codes in the order in which they come, whatever they are."""

import datetime
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from recurra.recsys.data.numbering import IdTable


def codes_by_dict(batches):
    known = {}
    return [[known.setdefault(value, len(known)) for value in batch] for batch in batches], known


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (pl.String, lambda n: f"user-{n}" + "x" * (n % 30)),
        (pl.Int64, lambda n: n * 2**40),
        (pl.Int16, lambda n: n - 200),
        (pl.Float64, lambda n: n / 7),
        (pl.Boolean, lambda n: n % 2 == 0),
        (pl.Date, lambda n: datetime.date(2026, 1, 1) + datetime.timedelta(n)),
        (pl.Binary, lambda n: str(n).encode()),
        (pl.Categorical, lambda n: f"c{n}"),
    ],
)
def test_codes_count_up_in_the_order_of_the_ids(kind, make):
    rng = np.random.default_rng(0)
    batches = [[make(int(n)) for n in rng.integers(0, 500, size)] for size in (1, 0, 90, 400, 400)]
    table = IdTable()
    found = [table.codes(pl.Series("user", batch, kind)) for batch in batches]
    expected, known = codes_by_dict(batches)
    assert [codes.tolist() for codes in found] == expected
    assert {codes.dtype for codes in found} == {np.dtype(np.int32)}
    assert table.ids.to_list() == list(known)
    assert table.ids.dtype == kind


def test_ids_of_one_hash_stay_apart(monkeypatch):
    """The first two hashes that are tried do not tell ids apart that begin with one letter."""
    real = pl.Series.hash

    def poor(series, seed):
        return real(series.str.slice(0, 1) if seed < 2 else series, seed)

    monkeypatch.setattr(pl.Series, "hash", poor)
    batches = [["a1", "b1"], ["b1", "a1", "c1"], ["a2", "a1", "b1", "b2"], ["c1", "b2", "a2"]]
    table = IdTable()
    found = [table.codes(pl.Series(batch)).tolist() for batch in batches]
    assert found == [[0, 1], [1, 0, 2], [3, 0, 1, 4], [2, 4, 3]]
    assert table.ids.to_list() == ["a1", "b1", "c1", "a2", "b2"]


MEASURED = """
import numpy as np
import polars as pl
from recurra.core.memory import peak_memory
from recurra.recsys.data.numbering import IdTable

table, before = IdTable(), 0
for n in range(30):
    numbers = np.where(np.arange(100_000) % 1000 == 0, n * 100_000 + np.arange(100_000), 0)
    table.codes(pl.Series([f"the-long-id-of-a-user-{number:030}" for number in numbers]))
    before = before or peak_memory()
print(peak_memory() - before)
"""


@pytest.mark.slow
def test_the_text_of_a_batch_is_not_kept_for_a_few_ids():
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 50  # MiB; all the text is 150
