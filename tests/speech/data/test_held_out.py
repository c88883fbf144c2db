import csv
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from recurra.core.errors import RecurraError
from recurra.speech.data.held_out import (
    HeldOutConfig,
    held_out_set,
    sha256_of,
    write_held_out_set,
)
from recurra.speech.data.mixing import snr_db
from recurra.speech.data.sources import sounding_share

SMALL = HeldOutConfig(
    per_snr=5,
    snr_db=(-5.0, 10.0),
    kinds=("music", "machine", "impact", "computed", "babble"),
    seconds=(1.0, 2.0),
)


@pytest.fixture(scope="module")
def items(corpus):
    return list(held_out_set(corpus, SMALL))


def test_the_set_is_the_same_every_time(corpus, items):
    assert sha256_of(held_out_set(corpus, SMALL)) == sha256_of(items)
    assert sha256_of(held_out_set(corpus, replace(SMALL, seed=1))) != sha256_of(items)


def test_a_larger_set_begins_with_the_smaller_one(corpus, items):
    larger = list(held_out_set(corpus, replace(SMALL, per_snr=6)))
    np.testing.assert_array_equal(larger[4].noisy, items[4].noisy)


def test_every_ratio_has_every_kind(items):
    assert [(i.snr_db, i.kind) for i in items] == [
        (snr, kind) for snr in SMALL.snr_db for kind in SMALL.kinds
    ]
    assert len({i.name for i in items}) == 10


def test_ratios_are_exact_and_nothing_is_silent(items):
    for item in items:
        assert 16_000 <= len(item.noisy) <= 32_000
        assert snr_db(item.clean, item.noisy - item.clean) == pytest.approx(item.snr_db, abs=0.05)
        assert sounding_share(item.clean) >= 0.3
        assert sounding_share(item.noisy - item.clean) >= 0.15


def test_only_held_out_voices_and_packages_are_in_it(items):
    assert {i.voice for i in items} <= {"cyd", "dan"}
    assert {i.noise_source for i in items if i.kind in ("music", "machine")} == {"row"}


def test_files_hold_exactly_what_is_hashed(corpus, items, tmp_path):
    summary = write_held_out_set(tmp_path / "set", corpus, SMALL)
    assert summary.sha256 == sha256_of(items)
    assert (summary.items, summary.seed) == (10, 2026)
    with (tmp_path / "set/index.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["name"] for row in rows] == [item.name for item in items]
    for part in ("noisy", "clean"):
        audio, rate = soundfile.read(tmp_path / f"set/{part}/{items[3].name}.wav", dtype="float32")
        assert rate == 16_000
        np.testing.assert_array_equal(audio, getattr(items[3], part))


def test_a_folder_with_files_in_it_is_refused(corpus, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(RecurraError, match="not empty"):
        write_held_out_set(tmp_path, corpus, SMALL)


def test_a_kind_that_is_not_there_is_named(corpus):
    with pytest.raises(RecurraError, match=r"no noise of the kinds \['rain'\]"):
        next(held_out_set(corpus, replace(SMALL, kinds=("rain",))))
