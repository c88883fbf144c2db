import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("part", ["launches", "vector_states", "matrix_states", "losses"])
def test_the_kernels_equal_their_references_on_the_interpreter(part: str) -> None:
    """Triton reads the variable when it is first imported, so this takes another process."""
    tests = Path(__file__).with_name("interpreted") / f"{part}.py"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", tests]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
