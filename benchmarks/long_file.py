"""How much memory and time do `recurra-speech enhance` and `separate` need for hours of audio?

    uv run python benchmarks/long_file.py --minutes 2 10 180 --folder /tmp
    uv run python benchmarks/long_file.py --command separate --minutes 1 5

Each length is worked on in a process of its own, on one thread. The recording is a shipped noisy
one over and over, as 16-bit mono wav at its own rate. Without `--model`, `enhance` runs
`frcrn-small`, and `separate` the preset `mossformer2-small` with weights at random: they need the
same memory and time as learned ones.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile

from recurra.speech.models.mossformer2_ss import MOSSFORMER2_SMALL, MossFormer2Ss

NOISY = Path(__file__).resolve().parents[1] / "examples" / "noisy.wav"
WORK = """
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
    parser.add_argument("--command", choices=["enhance", "separate"], default="enhance")
    parser.add_argument("--model", help="a shipped one, or a model folder")
    parser.add_argument("--folder", type=Path, help="where there is room for the recordings")
    asked = parser.parse_args()
    print("| minutes | CPU s | CPU s a second | peak MiB |\n|---|---|---|---|")
    for minutes in asked.minutes:
        with tempfile.TemporaryDirectory(dir=asked.folder) as name:
            model = asked.model or default_model(asked.command, Path(name))
            found = work(asked.command, make_recording(Path(name), minutes), model)
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


def default_model(command: str, folder: Path) -> str:
    """Return the name of a shipped model, or a folder with a separator of random weights."""
    if command == "enhance":
        return "frcrn-small"
    MossFormer2Ss(MOSSFORMER2_SMALL).save_pretrained(folder / "mossformer2-small")
    return str(folder / "mossformer2-small")


def work(command: str, path: Path, model: str) -> dict[str, float]:
    """Run a command on the file in a process of its own."""
    words = [sys.executable, "-c", WORK, command, str(path), "--model", model]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stderr.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
