"""The end of a process that has met others."""

import subprocess
import sys

import pytest

# A thread of Gloo's is made to want Python's lock while the main thread runs into Python's end.
LEAVE = """
import sys, time
import torch
from torch import distributed
from recurra.core.training.processes import part_at_exit

part_at_exit()
distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
sys.setswitchinterval(1000)
distributed.all_reduce(torch.ones(1_000_000), async_op=True)
end = time.monotonic() + 0.5
while time.monotonic() < end:
    pass
"""


@pytest.mark.slow
def test_a_process_that_ends_beside_a_thread_of_gloos_ends_well():
    done = subprocess.run(
        [sys.executable, "-c", LEAVE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
