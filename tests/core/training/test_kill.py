"""A run that is killed at any moment ends as if it had not been."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.core.training import kill_driver
from tests.core.training.conftest import Regression
from tests.core.training.test_fit import checkpoint, lasting, same

from recurra.core.training import fit

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "workers"), [(1, 0), (3, 1)])
def test_kill_minus_nine_at_random_moments_changes_nothing(tmp_path, seed, workers):
    command = [sys.executable, kill_driver.__file__, str(tmp_path / "killed"), str(seed)]
    done = subprocess.run(
        [*command, str(workers)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "damaged" not in done.stderr
    counts = json.loads(done.stdout)
    assert counts["kills"] >= 2
    assert workers or counts["halves"] >= 1  # the test did hit a write, not only the steps
    fit(Regression(), kill_driver.config(0), tmp_path / "whole", progress=False)
    assert same(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "killed"))
    assert lasting(tmp_path / "whole") == lasting(tmp_path / "killed")
    assert (tmp_path / "killed" / "best" / "weights.pt").read_bytes() == (
        tmp_path / "whole" / "best" / "weights.pt"
    ).read_bytes()
