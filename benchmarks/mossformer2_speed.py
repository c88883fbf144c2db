"""How fast MossFormer2 runs on one thread of a CPU, against the official formulation.

    uv run python benchmarks/mossformer2_speed.py

The ways take turns in one process, after a run each that is not counted, so that a busy machine
slows them alike; only ratios within one run mean anything there. The separator gets audio; the
enhancer's networks get features and give masks, as transforms cost next to nothing. The bars: ours
takes at most 0.5 of the yardstick's time to separate and 0.65 to enhance in f32, 0.35 and 0.45 in
bf16 where the CPU has it.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

import mossformer2_reference
from frcrn_speed import cpu_name, has_bf16
from recurra.speech.losses import si_sdr
from recurra.speech.models import mossformer2_official
from timing import cpu_seconds

YARDSTICK = "yardstick f32"
SEPARATION, ENHANCEMENT = "MossFormer2_SS_16K", "MossFormer2_SE_48K"
Run = Callable[[], Tensor]


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--separate-seconds", type=float, nargs="+", default=[1.0, 4.0])
    parser.add_argument("--enhance-seconds", type=float, nargs="+", default=[4.0, 16.0])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{cpu_name()}, torch {torch.__version__}, one thread, median of {args.repeats}")
    if not has_bf16():
        print("bf16 was not measured: this CPU has no bf16 instructions")
    print(
        f"{'':19} {'':14} {'clip':>6} {'CPU s':>8} {'per s':>7} {'to yardstick':>13} {'SI-SDR':>7}"
    )
    for seconds in args.separate_seconds:
        audio = 0.1 * torch.randn(1, round(16000 * seconds), generator=_generator())
        compare(SEPARATION, audio, seconds, args.repeats)
    for seconds in args.enhance_seconds:
        features = torch.randn(1, round(125 * seconds), 180, generator=_generator())
        compare(ENHANCEMENT, features, seconds, args.repeats)


def compare(name: str, inputs: Tensor, seconds: float, repeats: int) -> None:
    """Print a row for each way to run a network on a clip."""
    runs = ways(name, inputs)
    expected = runs[YARDSTICK]()
    times = cpu_seconds(runs, repeats)
    medians = {way: statistics.median(samples) for way, samples in times.items()}
    for way, used in medians.items():
        ratio = si_sdr(reference=expected.flatten(), estimate=runs[way]().flatten()).item()
        print(
            f"{name:19} {way:14} {seconds:>4g} s {used:8.2f} {used / seconds:7.3f}"
            f" {used / medians[YARDSTICK]:13.3f} {ratio:7.1f}",
            flush=True,
        )


def ways(name: str, inputs: Tensor) -> dict[str, Run]:
    """Return the yardstick and ours by what the table calls them; each gives (B, n, .)."""
    yardstick = mossformer2_reference.build(name)
    checkpoint = mossformer2_reference.recipe_checkpoint(name)

    def network(*, fused: bool) -> Callable[[], Tensor]:
        if name == SEPARATION:
            separator, _ = mossformer2_official.separator(
                checkpoint, sample_rate=16000, masking=True
            )
            separator = separator.fuse() if fused else separator
            return lambda: separator.separate(inputs).transpose(1, 2)
        enhancer, _ = mossformer2_official.enhancer(checkpoint)
        enhancer = enhancer.fuse() if fused else enhancer
        return lambda: enhancer.mask(inputs)

    plain, fast = network(fused=False), network(fused=True)
    found = {YARDSTICK: lambda: yardstick(inputs), "ours plain f32": plain, "ours f32": fast}
    if has_bf16():
        found["ours bf16"] = _in_bf16(fast)
    return {way: torch.inference_mode()(run) for way, run in found.items()}


def _in_bf16(run: Run) -> Run:
    def in_bf16() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return run().float()

    return in_bf16


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


if __name__ == "__main__":
    main()
