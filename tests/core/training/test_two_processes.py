"""Two processes under torchrun train what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.core.training import two_processes
from tests.core.training.conftest import SMALL, Regression
from tests.core.training.test_fit import checkpoint, lasting, same

from recurra.core.training import FitConfig, fit
from recurra.core.training.run_folder import latest_checkpoint

ROOT = Path(__file__).resolve().parents[3]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.mark.slow
def test_two_processes_equal_one_with_the_same_global_batch_and_resume_to_the_bit(tmp_path):
    done = subprocess.run(
        [*TORCHRUN, two_processes.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (done.stdout.count("parted"), done.stdout.count("gloo")) == (2, 0)

    one = FitConfig(**{**SMALL, **two_processes.CHANGES, "batch_size": 4})
    fit(Regression(dropout=0.0, norm=False), one, tmp_path / "one", progress=False)
    alone, shared = latest_checkpoint(tmp_path / "one"), latest_checkpoint(tmp_path / "shared")
    for key in ("model", "ema"):
        for name, value in alone[key].items():
            torch.testing.assert_close(shared[key][name], value, rtol=1e-4, atol=1e-6)
    logged = [lasting(tmp_path / name) for name in ("one", "shared")]
    assert [row[:3] for row in logged[0]] == [row[:3] for row in logged[1]]
    assert [row[3] for row in logged[1]] == pytest.approx([r[3] for r in logged[0]], rel=1e-3)

    assert same(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    assert lasting(tmp_path / "whole") == lasting(tmp_path / "parts")
