"""How fast the core's kernels are on one thread of a CPU, against the plain ways to write them.

    uv run python benchmarks/kernels.py fir
    uv run python benchmarks/kernels.py rnn

Times are CPU milliseconds of interleaved repeats, the median for `fir`, the minimum for `rnn`; the
ratios are what counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels import fir
from recurra.core.layers import RNN

# (B, T, C, K, m): FRCRN's widest memory, MossFormer2's convolution module, its dense memory.
FIR_SHAPES = [(100, 159, 256, 20, 1), (1, 4000, 2048, 17, 1), (1, 4000, 256, 39, 2)]
RNN_SHAPE = (16, 256, 256)  # (B, T, C), and as many hidden units


def main() -> None:
    """Print the table of one kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernel", choices=["fir", "rnn"])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    if args.kernel == "rnn":
        print_rnn(repeats=args.repeats)
        return
    print(f"{'x, taps':30} {'':18} {'ours ms':>8} {'conv1d':>8} {'shifted adds':>13}")
    for shape in FIR_SHAPES:
        print_fir(*shape, repeats=args.repeats)


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
        steps = {name: step(way, x, taps, backward) for name, way in ways.items()}
        ms = {name: 1e3 * seconds for name, seconds in cpu_seconds(steps, repeats).items()}
        what = "forward + backward" if backward else "forward"
        ratios = [f"{ms[name] / ms['ours']:.1f}x" for name in ("conv1d", "shifted adds")]
        print(f"{label:30} {what:18} {ms['ours']:8.1f} {ratios[0]:>8} {ratios[1]:>13}", flush=True)


def print_rnn(*, repeats: int) -> None:
    """Print recurrent layers in milliseconds, and how many times as long as nn.LSTM they take."""
    width = RNN_SHAPE[2]
    layers = {
        "nn.LSTM": nn.LSTM(width, width, batch_first=True),
        "RNN, one head": RNN(width, width),
        "RNN, 4 heads": RNN(width, width, n_heads=4),
        "RNN, peephole": RNN(width, width, peephole=True),
        "nn.GRU": nn.GRU(width, width, batch_first=True),
        "RNN, gru, 4 heads": RNN(width, width, cell="gru", n_heads=4),
        "RNN, slstm, 4 heads": RNN(width, width, cell="slstm", n_heads=4),
    }
    x = torch.randn(RNN_SHAPE)
    print(f"x {RNN_SHAPE}, {width} hidden units, float32, minimum of {repeats}")
    print(f"{'':22}{'forward ms':>11} {'':6} {'forward + backward ms':>22}")
    both = []
    for backward in (False, True):
        steps = {name: layer_step(layer, x, backward) for name, layer in layers.items()}
        both.append(cpu_seconds(steps, repeats, min))
    for name in layers:
        cells = [f"{1e3 * s[name]:8.1f} {s[name] / s['nn.LSTM']:5.2f}x" for s in both]
        print(f"{name:24}{cells[0]} {cells[1]:>22}")


def layer_step(layer: nn.Module, x: Tensor, backward: bool) -> Callable[[], None]:
    """Return what is timed: a layer over x, or the layer with all its gradients."""

    @torch.no_grad()
    def forward() -> None:
        layer(x)

    def forward_and_backward() -> None:
        layer(x.detach().requires_grad_())[0].sum().backward()

    return forward_and_backward if backward else forward


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
    way: Callable[[Tensor, Tensor], Tensor], x: Tensor, taps: Tensor, backward: bool
) -> Callable[[], None]:
    """Return what is timed: the filter, or the filter with its gradients."""

    @torch.no_grad()
    def forward() -> None:
        way(x, taps)

    def forward_and_backward() -> None:
        leaves = x.detach().requires_grad_(), taps.detach().requires_grad_()
        way(*leaves).sum().backward()

    return forward_and_backward if backward else forward


def cpu_seconds(
    steps: dict[str, Callable[[], None]],
    repeats: int,
    pick: Callable[[list[float]], float] = statistics.median,
) -> dict[str, float]:
    """Return the median CPU seconds of each step, or another pick of them; they take turns."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 1):
        for name, run in steps.items():
            start = time.process_time()
            run()
            samples[name].append(time.process_time() - start)
    return {name: pick(values[1:]) for name, values in samples.items()}


if __name__ == "__main__":
    main()
