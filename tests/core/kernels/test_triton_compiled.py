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
    # Which chip takes which heads (32-bit) and which keys; what does not fit runs `fast`.
    for chip, heads, keys in [
        ("sm_80", "16, 32, 64", "16, 32, 64"),
        ("sm_90", "16, 32, 64", "16, 32, 64, 96, 128"),
        ("gfx942", "16, 32, 64, 96, 128", "16, 32, 64, 96, 128"),
    ]:
        assert f"{chip}: flashrnn fits heads of {heads} of " in run.stdout
        assert f"{chip}: delta_rule fits keys of {keys} of " in run.stdout
