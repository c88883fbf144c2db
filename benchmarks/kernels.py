"""How fast the core's kernels are on one thread of a CPU, against the plain ways to write them.

    uv run python benchmarks/kernels.py fir

prints the table of a kernel; `--help` names all. Times are CPU milliseconds over repeats that take
turns, the minimum of each; the ratios are what counts. Where PyTorch sees a GPU, the kernels for
GPUs are measured instead (`kernels_on_gpu.py`); `--cpu` leaves the GPU alone. No GPU has been at
hand so far, so there is no figure of one in this tree.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import kernel_inputs
import kernels_on_gpu
from recurra.core import kernels
from timing import cpu_seconds, timed

Way = Callable[..., Tensor]


@dataclass(frozen=True)
class Table:
    """What is measured of a kernel.

    Attributes:
        shape: the names of the sizes.
        shapes: the sizes of each pair of rows.
        draw: a function of the sizes that draws the inputs.
        ways: functions of the inputs that give the same; ours is the first, and "loop" the plain
            loop over the steps, of `unbind` and `stack`, without indexing.
    """

    shape: str
    shapes: list[tuple[int, ...]]
    draw: Callable[..., tuple[Tensor, ...]]
    ways: dict[str, Way]


def first(kernel: Callable[..., Any], **options: Any) -> Way:
    """Return a kernel that gives its outputs without the last state."""
    return lambda *inputs: kernel(*inputs, **options)[0]


def ours_and_loop(kernel: Callable[..., Any], **options: Any) -> dict[str, Way]:
    """Return a kernel and its reference."""
    return {
        "ours": first(kernel, **options),
        "loop": first(kernel, **options, backend="reference"),
    }


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


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend by PyTorch's function; the query is repeated in memory: expanded, it is slower."""
    tiled = q.unsqueeze(1).repeat(k.shape[0], 1, k.shape[1], 1)  # (B, H, T, D)
    y = functional.scaled_dot_product_attention(
        tiled, k.transpose(1, 2), v.transpose(1, 2), is_causal=True
    )
    return y.transpose(1, 2)


def whole_cross_entropy(hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Make all scores, then PyTorch's cross-entropy of them."""
    return functional.cross_entropy(functional.linear(hidden, table, bias), targets)


def ssd_loop(x: Tensor, log_a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Run state-space duality step by step; products are faster here than the reference's."""
    state = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], b.shape[3])
    outputs = []
    steps = zip(*(z.unbind(1) for z in (x, log_a.exp(), b, c)), strict=True)
    for x_t, a_t, b_t, c_t in steps:
        state = a_t[..., None, None] * state + x_t[..., :, None] * b_t[..., None, :]
        outputs.append((state @ c_t[..., None]).squeeze(-1))
    return torch.stack(outputs, dim=1)


def lstm_loop(wx: Tensor, r: Tensor, b: Tensor) -> Tensor:
    """Run head-wise LSTMs step by step, one product for all gates of all heads in each."""
    heads, width = r.shape[1:3]
    matrices = r.permute(1, 3, 0, 2).flatten(2)  # (H, D, 4 D)
    inputs = (wx + b).permute(1, 3, 0, 2, 4).flatten(3)  # (T, H, B, 4 D)
    h = c = wx.new_zeros(heads, wx.shape[0], width)
    outputs = []
    for x_t in inputs.unbind(0):
        i, f, z, o = torch.baddbmm(x_t, h, matrices).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * z.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs).permute(2, 0, 1, 3)


MATRICES = [(1, 256, 4, 64), (1, 1024, 4, 64), (1, 4096, 4, 64)]
TABLES = {
    "delta_rule": Table(
        "(B, T, H, N = P)", MATRICES, kernel_inputs.delta_rule, ours_and_loop(kernels.delta_rule)
    ),
    "fft_conv": Table(
        "(B, T, C, K)",
        [(1, 1024, 64, 256), (1, 4096, 64, 4096)],
        kernel_inputs.fft_conv,
        ours_and_loop(kernels.fft_conv),
    ),
    # FRCRN's widest memory, MossFormer2's convolution module, its dense memory.
    "fir": Table(
        "(B, T, C, K, m)",
        [(100, 159, 256, 20, 1), (1, 4000, 2048, 17, 1), (1, 4000, 512, 39, 2)],
        kernel_inputs.fir,
        {"ours": first(kernels.fir), "conv1d": grouped_conv1d, "shifted adds": shifted_adds},
    ),
    "flashrnn": Table(
        "(B, T, H, D), LSTM",
        [(1, 1024, 4, 64), (1, 1024, 1, 256), (16, 256, 4, 64)],
        kernel_inputs.lstm,
        {"ours": first(kernels.flashrnn, cell="lstm"), "loop": lstm_loop},
    ),
    "gated_linear_attention": Table(
        "(B, T, H, N = P)",
        MATRICES,
        kernel_inputs.gated_linear_attention,
        ours_and_loop(kernels.gated_linear_attention),
    ),
    "linear_cross_entropy": Table(
        "(M, C, V)",
        [(1280, 64, 3416), (1280, 64, 20_000)],
        kernel_inputs.linear_cross_entropy,
        {"ours": kernels.linear_cross_entropy, "whole matrix": whole_cross_entropy},
    ),
    "linear_scan": Table(
        "(B, T, D)",
        [(1, 1024, 64), (1, 16_384, 64)],
        kernel_inputs.linear_scan,
        ours_and_loop(kernels.linear_scan),
    ),
    "mixed_chunk_attention": Table(
        "(B, T, N, P), causal",
        [(1, 1024, 128, 512)],
        kernel_inputs.mixed_chunk_attention,
        ours_and_loop(kernels.mixed_chunk_attention, causal=True),
    ),
    "prefix_attention": Table(
        "(B, T, H, D)",
        [(1, 1024, 4, 64), (1, 4096, 4, 64)],
        kernel_inputs.prefix_attention,
        {**ours_and_loop(kernels.prefix_attention), "torch SDPA": causal_attention},
    ),
    "selective_scan": Table(
        "(B, T, D, N)",
        [(1, 1024, 128, 16), (1, 4096, 128, 16)],
        kernel_inputs.selective_scan,
        ours_and_loop(kernels.selective_scan),
    ),
    "ssd": Table(
        "(B, T, H, N = P)",
        MATRICES,
        kernel_inputs.ssd,
        {"ours": first(kernels.ssd), "loop": ssd_loop},
    ),
}


def main() -> None:
    """Print the table of one kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernel", choices=sorted(TABLES))
    parser.add_argument("--cpu", action="store_true", help="measure the CPU, GPU or not")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    if torch.cuda.is_available() and not args.cpu:
        print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
        kernels_on_gpu.print_kernel(args.kernel)
        return
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    print_table(TABLES[args.kernel], args.repeats)


def print_table(table: Table, repeats: int) -> None:
    """Print ours in milliseconds, and how many times as long the other ways take."""
    ours, *others = table.ways
    print(f"{table.shape:24} {'':18} {ours + ' ms':>9}" + "".join(f"{w:>14}" for w in others))
    for shape in table.shapes:
        inputs = table.draw(*shape)
        check(table.ways, inputs)
        for backward in (False, True):
            steps = {name: timed(way, inputs, backward) for name, way in table.ways.items()}
            ms = {name: 1e3 * min(values) for name, values in cpu_seconds(steps, repeats).items()}
            what = "forward + backward" if backward else "forward"
            ratios = "".join(f"{ms[name] / ms[ours]:13.2f}x" for name in others)
            print(f"{shape!s:24} {what:18} {ms[ours]:9.2f}{ratios}", flush=True)


def check(ways: dict[str, Way], inputs: tuple[Tensor, ...]) -> None:
    """Raise AssertionError unless all ways give what the first gives."""
    expected, *others = (way(*inputs) for way in ways.values())
    for found in others:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main()
