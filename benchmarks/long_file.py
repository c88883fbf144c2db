"""How much memory and time does `recurra-speech enhance` need for hours of audio?

    uv run python benchmarks/long_file.py --minutes 2 10 180 --folder /tmp

Each length is cleaned in a process of its own, on one thread. The recording is a shipped noisy one
over and over, as 16-bit mono wav at its own rate.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile

NOISY = Path(__file__).resolve().parents[1] / "examples" / "noisy.wav"
ENHANCE = """
import json, sys, time
import torch
from recurra.core.memory import peak_memory
from recurra.speech.cli import main

torch.set_num_threads(1)
assert main() == 0
print(json.dumps({"cpu": time.process_time(), "peak_mib": peak_memory()}), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--model", default="frcrn-small")
    parser.add_argument("--folder", type=Path, help="where there is room for the recordings")
    asked = parser.parse_args()
    print("| minutes | CPU s | CPU s a second | peak MiB |\n|---|---|---|---|")
    for minutes in asked.minutes:
        with tempfile.TemporaryDirectory(dir=asked.folder) as name:
            found = enhance(make_recording(Path(name), minutes), asked.model)
        share = found["cpu"] / (60 * minutes)
        cells = f"{found['cpu']:.0f} | {share:.3f} | {found['peak_mib']:.0f}"
        print(f"| {minutes} | {cells} |", flush=True)


def make_recording(folder: Path, minutes: int) -> Path:
    """Write the shipped recording until it is that long."""
    audio, rate = soundfile.read(NOISY, dtype="int16")
    path = folder / "long.wav"
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        left = 60 * minutes * rate
        while left > 0:
            file.write(audio[:left])
            left -= min(left, len(audio))
    return path


def enhance(path: Path, model: str) -> dict[str, float]:
    """Clean the file in a process of its own."""
    command = [sys.executable, "-c", ENHANCE, "enhance", str(path), "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stderr.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
