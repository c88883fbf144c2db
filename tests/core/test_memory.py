import subprocess
import sys

import numpy as np
import pytest

from recurra.core.memory import peak_memory

HOLD = """
import sys
from recurra.core.memory import peak_memory
block = bytearray(int(sys.argv[1]) << 20)
del block
print(peak_memory())
"""


def peak_of(mebibytes):
    command = [sys.executable, "-c", HOLD, str(mebibytes)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_the_peak_has_what_was_freed_and_not_what_the_parent_holds():
    held = np.ones(300 << 17)  # 300 MiB, touched
    little, much = peak_of(1), peak_of(101)
    assert much - little == pytest.approx(100, abs=10)
    assert peak_memory() > 300 <= held.nbytes / 2**20
    if sys.platform == "linux":
        assert little < 200
