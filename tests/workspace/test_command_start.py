"""A command that only shows its help starts at once."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SCRIPTS = Path(sysconfig.get_path("scripts"))
MAX_CPU_SECONDS = 0.5
TRIES = 12
HEAVY = ["torch", "numpy", "av", "soundfile", "soxr", "polars", "scipy", "pydantic", "rich", "yaml"]


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of a command and what it started."""
    # Interpreters that may not keep bytecode compile every module again: not what a user has.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize(
    "words",
    [
        ["recurra-speech", "--help"],
        ["recurra-speech", "enhance", "--help"],
        ["recurra-speech", "--version"],
        ["recurra-recsys", "--help"],
        ["recurra-recsys", "train", "--help"],
    ],
    ids=" ".join,
)
def test_help_takes_under_half_a_second_of_cpu(words: list[str]) -> None:
    # A neighbour on the same core lengthens CPU time too, by half and more: a quiet moment counts.
    taken: list[float] = []
    while min(taken, default=MAX_CPU_SECONDS) >= MAX_CPU_SECONDS and len(taken) < TRIES:
        taken.append(cpu_seconds([str(SCRIPTS / words[0]), *words[1:]]))
    assert min(taken) < MAX_CPU_SECONDS, taken


@pytest.mark.parametrize("package", ["speech", "recsys"])
def test_importing_the_command_line_loads_nothing_heavy(package: str) -> None:
    probe = f"import sys, recurra.{package}.cli; print([m for m in {HEAVY} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
