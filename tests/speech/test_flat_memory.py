"""Hours of audio need no more memory than minutes: 10 against 2, and 4 against 1 to separate."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from tests.speech.models.mossformer2_vectors import SMALL_SS

from recurra.speech.models.mossformer2_ss import MossFormer2Ss

MOST_MORE_MIB = 50
# glibc keeps freed blocks of many sizes for later, so that a peak differs by 40 MB from run to run.
# Giving blocks from 1 MiB on back at once makes it the same within 1 MB; elsewhere it does nothing.
STEADY = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
CLEAN = """
import sys
import torch
from recurra.core.memory import peak_memory
from recurra.speech.cli import main

torch.set_num_threads(1)
code = main()
print(peak_memory(), file=sys.stderr)
raise SystemExit(code)
"""


def peak_mib(command, folder, model, rate, channels, minutes):
    """Run a command on minutes of noise in a process of its own; return its peak memory in MiB."""
    noise = np.random.default_rng(0).normal(0, 0.05, (rate, channels)).astype(np.float32)
    path = folder / f"{minutes}.wav"
    with soundfile.SoundFile(path, "w", rate, channels, "PCM_16") as file:
        for _ in range(60 * minutes):
            file.write(noise)
    done = subprocess.run(
        [sys.executable, "-c", CLEAN, command, str(path), "--model", model],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | STEADY,
    )
    return float(done.stderr.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (48000, 2)])
def test_ten_minutes_need_no_more_memory_than_two(model, rate, channels, tmp_path):
    short, long = (
        peak_mib("enhance", tmp_path, model, rate, channels, minutes) for minutes in (2, 10)
    )
    assert long - short < MOST_MORE_MIB


@pytest.mark.slow
def test_four_minutes_of_voices_need_no_more_memory_than_one(tmp_path):
    config = replace(SMALL_SS, stack=replace(SMALL_SS.stack, n_blocks=1))
    MossFormer2Ss(replace(config, win_length=256, hop_length=128)).save_pretrained(
        tmp_path / "tiny"
    )
    model = str(tmp_path / "tiny")
    short, long = (peak_mib("separate", tmp_path, model, 16000, 1, n) for n in (1, 4))
    assert long - short < MOST_MORE_MIB
