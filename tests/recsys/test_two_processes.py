"""`train` under torchrun: two processes learn, one prints and writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recurra.recsys import Recommender

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.mark.slow
def test_two_processes_print_one_table_and_write_one_model(tmp_path):
    log = tmp_path / "log.csv"
    rows = [f"u{user},{'abcdef'[(user + step) % 6]}" for user in range(40) for step in range(5)]
    log.write_text("user,item\n" + "\n".join(rows) + "\n")
    command = Path(sys.executable).with_name("recurra-recsys")
    words = ["train", str(log), "-o", str(tmp_path / "model"), "--epochs", "2"]
    done = subprocess.run(
        [*TORCHRUN, "--no-python", "--", str(command), *words, "batch_size=4", "network.d_model=8"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Test: the last event of each user") == 1
    assert done.stdout.count("bert4rec") == 1
    assert done.stdout.count("wrote ") == 1
    assert done.stderr.count("200 events of 40 users and 6 items") == 1
    assert done.stderr.count("markov: NDCG@10") == 1
    assert len(Recommender.from_pretrained(tmp_path / "model").for_users(k=1).table) == 40
