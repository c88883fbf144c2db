"""How fast the core's kernels are on one thread of a CPU, against the plain ways to write them.

    uv run python benchmarks/kernels.py fir
    uv run python benchmarks/kernels.py ssd

Times are CPU milliseconds: the median of interleaved repeats for `fir`, the minimum for `ssd`. The
ratios are what counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.kernels import fir, ssd

# (B, T, C, K, m): FRCRN's widest memory, MossFormer2's convolution module, its dense memory.
FIR_SHAPES = [(100, 159, 256, 20, 1), (1, 4000, 2048, 17, 1), (1, 4000, 256, 39, 2)]
# (B, H, N, P): four heads with square states, as wide as Mamba-2 has them.
SSD_SHAPE = (1, 4, 64, 64)
SSD_STEPS = [256, 1024, 4096]
LOOP_REPEATS = 3  # a loop over 4096 steps takes seconds


def main() -> None:
    """Print the table of one kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernel", choices=["fir", "ssd"])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    if args.kernel == "ssd":
        print_ssd(repeats=args.repeats)
        return
    print(f"{'x, taps':30} {'':18} {'ours ms':>8} {'conv1d':>8} {'shifted adds':>13}")
    for shape in FIR_SHAPES:
        print_fir(*shape, repeats=args.repeats)


def print_ssd(*, repeats: int) -> None:
    """Print ours and the loop over steps, in milliseconds and as a ratio."""
    b, h, n, p = SSD_SHAPE
    print(f"B {b}, H {h}, N {n}, P {p}, float32; minimum of {repeats}, loop {LOOP_REPEATS}")
    print(f"{'T':>6} {'':18} {'ours ms':>8} {'loop ms':>8} {'ratio':>6}")
    for t in SSD_STEPS:
        key, query = torch.randn(b, t, h, n) / n, torch.randn(b, t, h, n)
        inputs = torch.randn(b, t, h, p), -torch.rand(b, t, h), key, query
        torch.testing.assert_close(ssd_loop(*inputs), ssd(*inputs)[0], rtol=1e-4, atol=1e-4)
        for backward in (False, True):
            ours = step(lambda *z: ssd(*z)[0], inputs, backward)
            ms = 1e3 * min(cpu_seconds(ours, repeats))
            loop_ms = 1e3 * min(cpu_seconds(step(ssd_loop, inputs, backward), LOOP_REPEATS))
            what = "forward + backward" if backward else "forward"
            print(f"{t:6} {what:18} {ms:8.1f} {loop_ms:8.0f} {loop_ms / ms:5.1f}x", flush=True)


def ssd_loop(x: Tensor, log_a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Run state-space duality step by step, without indexing inside the loop."""
    state = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], b.shape[3])
    outputs = []
    steps = zip(*(z.unbind(1) for z in (x, log_a.exp(), b, c)), strict=True)
    for x_t, a_t, b_t, c_t in steps:
        state = a_t[..., None, None] * state + x_t[..., :, None] * b_t[..., None, :]
        outputs.append((state @ c_t[..., None]).squeeze(-1))
    return torch.stack(outputs, dim=1)


def print_fir(b: int, t: int, c: int, k: int, m: int, *, repeats: int) -> None:
    """Print ours in milliseconds, and how many times as long the others take."""
    x = torch.randn(b, t, c * m)
    taps = torch.randn(k, c, m) / k
    ways = {"ours": ours, "conv1d": grouped_conv1d, "shifted adds": shifted_adds}
    expected = ours(x, taps)
    for way in ways.values():
        torch.testing.assert_close(way(x, taps), expected, rtol=1e-4, atol=1e-4)
    label = f"({b}, {t}, {c * m}), K {k}" + (f", m {m}" if m > 1 else "")
    for backward in (False, True):
        steps = {name: step(way, (x, taps), backward) for name, way in ways.items()}
        ms = {name: 1e3 * seconds for name, seconds in medians(steps, repeats).items()}
        what = "forward + backward" if backward else "forward"
        ratios = [f"{ms[name] / ms['ours']:.1f}x" for name in ("conv1d", "shifted adds")]
        print(f"{label:30} {what:18} {ms['ours']:8.1f} {ratios[0]:>8} {ratios[1]:>13}", flush=True)


def ours(x: Tensor, taps: Tensor) -> Tensor:
    """Filter by the core's kernel, causally."""
    return fir(x, taps)[0]


def grouped_conv1d(x: Tensor, taps: Tensor) -> Tensor:
    """Filter by PyTorch's grouped convolution on (B, C, T), as the reference models do."""
    padded = functional.pad(x.transpose(1, 2), (taps.shape[0] - 1, 0))
    return functional.conv1d(padded, taps.permute(1, 2, 0), groups=taps.shape[1]).transpose(1, 2)


def shifted_adds(x: Tensor, taps: Tensor) -> Tensor:
    """Filter by one multiply-add of the whole tensor a tap."""
    k, c, m = taps.shape
    padded = functional.pad(x, (0, 0, k - 1, 0)).unflatten(2, (c, m))
    y = torch.zeros_like(x[..., :c])
    for i in range(k):
        for j in range(m):
            y = torch.addcmul(y, padded[:, i : i + x.shape[1], :, j], taps[i, :, j])
    return y


def step(
    way: Callable[..., Tensor], inputs: tuple[Tensor, ...], backward: bool
) -> Callable[[], None]:
    """Return what is timed: the kernel, or the kernel with its gradients."""

    @torch.no_grad()
    def forward() -> None:
        way(*inputs)

    def forward_and_backward() -> None:
        way(*(z.detach().requires_grad_() for z in inputs)).sum().backward()

    return forward_and_backward if backward else forward


def cpu_seconds(run: Callable[[], None], repeats: int) -> list[float]:
    """Return the CPU seconds of each repeat, after one that is not counted."""
    samples = []
    for _ in range(repeats + 1):
        start = time.process_time()
        run()
        samples.append(time.process_time() - start)
    return samples[1:]


def medians(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return the median CPU seconds of each step; they take turns."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 1):
        for name, run in steps.items():
            start = time.process_time()
            run()
            samples[name].append(time.process_time() - start)
    return {name: statistics.median(values[1:]) for name, values in samples.items()}


if __name__ == "__main__":
    main()
