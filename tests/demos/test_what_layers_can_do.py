"""What the demo claims holds, part by part at smaller sizes, and as a person runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from memory import memory
from parity import LONGEST, draw, parity
from recall import TIMES, _newest, recall

SCRIPT = Path(__file__).parents[2] / "demos" / "what_layers_can_do.py"


def test_parity_turns_over_at_each_one() -> None:
    tokens, odd = draw(8, 20, torch.Generator().manual_seed(0))
    assert tokens[:, 0].eq(2).all()
    ones = [[sum(t == 1 for t in row[: i + 1]) % 2 for i in range(20)] for row in tokens.tolist()]
    assert odd.tolist() == ones


def test_an_rnn_tracks_parity_far_beyond_its_training_and_attention_guesses() -> None:
    found = parity([0], {"RNN (LSTM)": (80, 1e-2), "PrefixAttention": (80, 3e-3)})
    far = {name: right[:, LONGEST // 2 :].mean() for name, right in found.items()}
    assert far["RNN (LSTM)"] > 0.95
    assert 0.4 < far["PrefixAttention"] < 0.6
    # It has learned something: the parity of one bit.
    assert found["PrefixAttention"][0, 1] > 0.95


def test_the_newest_value_of_a_key_is_the_one_written_last() -> None:
    which = torch.cat([torch.arange(16), torch.tensor([3, 5, 3])])[None]
    what = torch.arange(19)[None]
    assert _newest(which, what).tolist() == [[0, 1, 2, 18, 4, 17, *range(6, 16)]]


def test_the_delta_rule_overwrites_where_sums_confuse_old_and_new() -> None:
    found = recall([0], rows=16)
    assert all(right[0, 0] > 0.99 for right in found.values())  # all hold keys written once
    assert TIMES[-1] == 16
    assert found["delta rule"].min() > 0.97
    assert found["sum with the best decay"][0, -1] < 0.9
    assert found["sum (linear attention)"][0, -1] < 0.25


def test_prefix_attention_keeps_288_bytes_where_a_cache_grows_and_finds_the_same() -> None:
    marks, state, cache = memory(0, steps=500)
    assert marks == list(range(50, 501, 50))
    assert state.n_bytes == [4 * (64 + 2 * 4)] * 10  # float32: two numbers a head more than C
    assert cache.n_bytes == [4 * 2 * 64 * mark for mark in marks]
    assert state.error < 1e-5
    assert cache.error < 1e-5


@pytest.mark.slow
def test_the_demo_prints_its_table_and_draws_in_about_a_minute(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    command = [sys.executable, str(SCRIPT), "--picture", str(picture)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert re.search(r"parity .*RNN \(LSTM\) +1\.00 +1\.00", printed)
    assert re.search(r"recall .*delta rule +1\.00 +1\.00", printed)
    assert re.search(r"memory .*bytes.*PrefixAttention +288 +288", printed)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 100_000
    # 49 s where it was written; cores that share their caches with other work count more.
    assert usage.ru_utime + usage.ru_stime < 90
