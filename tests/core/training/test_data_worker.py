"""Processes that load data."""

import subprocess
import sys


def test_a_data_worker_ends_when_its_training_process_is_gone():
    # A worker whose parent died before it started has another parent than it was told.
    code = (
        "import os, time; from recurra.core.training.data_worker import start_worker;"
        "start_worker(0, parent=os.getppid() + 1); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=50).returncode == 1
