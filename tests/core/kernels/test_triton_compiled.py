import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_kernel_compiles_for_each_chip_and_fits_on_it(tmp_path: Path) -> None:
    """No GPU is needed. What each kernel needs is printed (pytest -s), and where heads fit."""
    script = Path(__file__).with_name("compiled_kernels.py")
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, script]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("fits") > 0
