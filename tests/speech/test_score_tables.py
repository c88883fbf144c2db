"""The tables of benchmarks/speech_tables.py, which is no package: it is loaded from its file."""

import importlib.util
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "benchmarks" / "speech_tables.py"


@pytest.fixture(scope="module")
def tables_module():
    spec = importlib.util.spec_from_file_location("speech_tables", SOURCE)
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up by name.
    sys.modules["speech_tables"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["speech_tables"]


def record(system, item, snr, value, kind="music", skipped=None):
    scores = {} if skipped else {"si_sdr": value, "pesq": 2.0, "stoi": 0.9, "dnsmos": 3.0}
    return {
        "system": system,
        "item": item,
        "snr_db": float(snr),
        "kind": kind,
        "scores": scores,
        "skipped": skipped or {},
    }


def rows(grids, title):
    grid = next(grid for grid in grids if grid.title == title)
    return {row[0]: dict(zip(grid.columns[1:], row[1:], strict=True)) for row in grid.rows}


def test_means_stand_by_snr_and_the_bar_takes_0_5_and_10_db_only(tables_module):
    records = [record("noisy", str(snr), snr, float(snr)) for snr in (-5, 0, 5, 10, 15)]
    table = rows(tables_module.tables(records), "SI-SDR (dB) by SNR")
    assert table["noisy"]["-5 dB"] == "-5.00"
    assert table["noisy"]["15 dB"] == "15.00"
    assert table["noisy"]["mean of 0, 5, 10 dB"] == "5.00 [0.00, 10.00]"


def test_gains_are_taken_mixture_by_mixture_where_both_have_a_score(tables_module):
    records = [
        record("noisy", "a", 0, 1.0),
        record("noisy", "b", 5, 5.0),
        record("noisy", "c", 15, 0.0),
        record("ours", "a", 0, 4.0),
        record("ours", "b", 5, 0.0, skipped={"si_sdr": "the estimate is silent"}),
        record("ours", "c", 15, 100.0),
    ]
    gains = rows(tables_module.tables(records), "Gain over the noisy input, mean of 0, 5, 10 dB")
    assert list(gains) == ["ours"]
    assert gains["ours"]["SI-SDR (dB)"] == "+3.00"
    assert tables_module.skipped_lines(records) == [
        "ours, si_sdr: 1 skipped (the estimate is silent)"
    ]


def test_a_comparison_that_is_not_won_is_named_ties_and_missing_scores_too(tables_module):
    records = [record("ours", str(snr), snr, 5.0) for snr in (0, 5, 10)]
    records += [record("peer", "0", 0, 4.0), record("peer", "5", 5, 6.0)]
    lines = [line for line in tables_module.not_above(records, "ours", ["peer"]) if "SI" in line]
    assert lines == [
        "ours is not above peer in SI-SDR (dB) at 5 dB: 5.00 against 6.00",
        "ours is not above peer in SI-SDR (dB) at 10 dB: 5.00 against nan",
    ]
    ties = [line for line in tables_module.not_above(records, "ours", ["peer"]) if "STOI" in line]
    assert len(ties) == 3


def test_a_table_in_markdown_has_a_head_and_a_line_a_row(tables_module):
    grid = tables_module.Grid("Title", ("", "a"), [("x", "1"), ("y", "2")])
    assert grid.markdown() == "**Title**\n\n|  | a |\n|---|---|\n| x | 1 |\n| y | 2 |"
