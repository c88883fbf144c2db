"""How fast FRCRN runs on one thread of a CPU, against the official formulation.

    uv run python benchmarks/frcrn_speed.py

Every run is a process of its own: it warms up on one second, then reports the CPU seconds of one
clip and its peak memory. The models take turns, so that a busy machine slows them alike; only
ratios within one run mean anything there. The bar: ours takes at most 0.55 of the yardstick's time
at 10 s in f32, and at most 0.30 in bf16 where the CPU has it.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import frcrn_reference
from recurra.core.memory import peak_memory
from recurra.core.pretrained import load_tensors
from recurra.speech.losses import si_sdr
from recurra.speech.models.frcrn import FRCRN_SMALL, Frcrn, FrcrnConfig
from recurra.speech.models.frcrn_official import from_official

YARDSTICK, OURS, BF16, SMALL = "yardstick f32", "ours f32", "ours bf16", "frcrn-small f32"


def main() -> None:
    """Measure and print the tables, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[4, 10, 30])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help="run one model on the first length and print JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.one:
        print(json.dumps(run_once(args.one, args.seconds[0])))
        return
    print(f"{cpu_name()}, torch {torch.__version__}, one thread, median of {args.repeats}")
    check_same_numbers()
    names = [YARDSTICK, OURS, SMALL]
    if has_bf16():
        names.insert(2, BF16)
    else:
        print("bf16 was not measured: this CPU has no bf16 instructions")
    print(f"{'':16} {'clip':>5} {'CPU s':>8} {'per s':>7} {'to yardstick':>13} {'peak MiB':>8}")
    for seconds in args.seconds:
        samples: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(args.repeats):
            for name in names:
                samples[name].append(measure(name, seconds))
        print_rows(samples, seconds)


def print_rows(samples: dict[str, list[dict[str, float]]], seconds: int) -> None:
    """Print a row a model for clips of one length."""
    medians = {
        name: {key: statistics.median(sample[key] for sample in runs) for key in runs[0]}
        for name, runs in samples.items()
    }
    for name, row in medians.items():
        ratio = row["cpu"] / medians[YARDSTICK]["cpu"]
        print(
            f"{name:16} {seconds:>3} s {row['cpu']:8.2f} {row['cpu'] / seconds:7.3f}"
            f" {ratio:13.3f} {row['peak_mib']:8.0f}",
            flush=True,
        )


def measure(name: str, seconds: int) -> dict[str, float]:
    """Run one model in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--seconds", str(seconds)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def run_once(name: str, seconds: int) -> dict[str, float]:
    """Return the CPU seconds for one clip and the peak memory of this process in MiB."""
    run = build(name)
    run(noise(1))
    audio = noise(seconds)
    start = time.process_time()
    run(audio)
    used = time.process_time() - start
    return {"cpu": used, "peak_mib": peak_memory() or float("nan")}


def build(name: str) -> Callable[[Tensor], Tensor]:
    """Return a function of audio (1, n) that runs a model for inference."""
    if name == YARDSTICK:
        model: torch.nn.Module = frcrn_reference.build()
    elif name == SMALL:
        model = Frcrn(FRCRN_SMALL).fuse()
    else:
        model = Frcrn(FrcrnConfig())
        load_tensors(model, from_official(frcrn_reference.recipe_checkpoint()))
        model.fuse()

    @torch.inference_mode()
    def run(audio: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=name == BF16):
            return model(audio).float()

    return run


def noise(seconds: int) -> Tensor:
    """Return a clip (1, n) of white noise."""
    return 0.1 * torch.randn(1, 16000 * seconds, generator=torch.Generator().manual_seed(0))


def check_same_numbers() -> None:
    """Print how far our output is from the yardstick's, away from the unsure outermost samples."""
    audio = noise(1)
    expected = build(YARDSTICK)(audio)[:, 64:-64]
    for name in [OURS, BF16] if has_bf16() else [OURS]:
        actual = build(name)(audio)[:, 64:-64]
        distance = (actual - expected).abs().max() / expected.abs().max()
        ratio = si_sdr(reference=expected, estimate=actual).item()
        print(f"{name}: {distance:.1e} of the peak, {ratio:.1f} dB SI-SDR")


def has_bf16() -> bool:
    """Tell whether the CPU multiplies in bf16."""
    flags = torch.cpu.get_capabilities()
    return any(flags.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def cpu_name() -> str:
    """Return what the system calls the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
