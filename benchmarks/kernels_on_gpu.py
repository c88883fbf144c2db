"""How fast the core's Triton kernels are on a GPU, against the portable forms and other packages.

    uv run python benchmarks/kernels.py linear_scan

does this where PyTorch sees a GPU. A time is the median of the runs that fit in 100 ms, after a
warm-up; rates follow from the counts of bytes and FLOPs in the kernels' docstrings. Other packages
are measured where they are installed: `uv pip install flashrnn flash-linear-attention
cut-cross-entropy`.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

import kernel_inputs
from recurra.core import kernels
from timing import timed

Way = Callable[..., Tensor]


@dataclass(frozen=True)
class Table:
    """What is measured of a kernel.

    Attributes:
        shape: the names of the sizes.
        shapes: the sizes of each group of rows.
        draw: a function of the sizes that draws the inputs.
        ways: functions of the inputs; ours is the first.
        work: a function of the sizes that counts the bytes or FLOPs of a forward pass.
        with_gradients: how many times as much a pass with gradients does.
        unit: "GB/s" or "TFLOP/s", of `work` in a second.
        peers: ways that need a package, under its name.
    """

    shape: str
    shapes: list[tuple[int, ...]]
    draw: Callable[..., tuple[Tensor, ...]]
    ways: dict[str, Way]
    work: Callable[..., float]
    with_gradients: float
    unit: str
    peers: dict[str, dict[str, Way]] = field(default_factory=dict)


def ours_and_portable(kernel: Callable[..., Any], **options: Any) -> dict[str, Way]:
    """Return a kernel as it chooses itself, and in its portable form."""
    return {
        "ours": lambda *z: kernel(*z, **options)[0],
        "portable": lambda *z: kernel(*z, **options, backend="fast")[0],
    }


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend by PyTorch's function, the query repeated in memory."""
    tiled = q.unsqueeze(1).repeat(k.shape[0], 1, k.shape[1], 1)
    return nn.functional.scaled_dot_product_attention(
        tiled, k.transpose(1, 2), v.transpose(1, 2), is_causal=True
    )


def torch_lstm(wx: Tensor, r: Tensor, b: Tensor) -> Tensor:
    """Run PyTorch's LSTM of the same width: one head, and an input matrix besides."""
    x = wx[:, :, 0].flatten(2)
    y: Tensor = _torch_lstm(x.shape[2], x.device)(x)[0]
    return y


@cache
def _torch_lstm(width: int, device: torch.device) -> nn.Module:
    return nn.LSTM(width, width, batch_first=True, device=device)


def fla_simple_gla(x: Tensor, log_a: Tensor, key: Tensor, query: Tensor) -> Tensor:
    """Run flash-linear-attention's state-space duality."""
    from fla.ops.simple_gla import chunk_simple_gla

    return chunk_simple_gla(query, key, x, g=log_a, scale=1.0)[0]


def fla_gla(q: Tensor, k: Tensor, v: Tensor, log_a: Tensor) -> Tensor:
    """Run flash-linear-attention's gated linear attention."""
    from fla.ops.gla import chunk_gla

    return chunk_gla(q, k, v, log_a, scale=1.0)[0]


def fla_delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """Run flash-linear-attention's delta rule, which takes 16 bits."""
    from fla.ops.delta_rule import chunk_delta_rule

    return chunk_delta_rule(*(z.bfloat16() for z in (q, k, v, beta)), scale=1.0)[0]


def their_flashrnn(wx: Tensor, r: Tensor, b: Tensor, *, backend: str) -> Tensor:
    """Run the package flashrnn."""
    from flashrnn import flashrnn

    return flashrnn(wx, r, b, function="lstm", backend=backend, dtype="float32")[0][0]


def their_cross_entropy(hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Run the package cut-cross-entropy in 16 bits, without a bias, nothing left out."""
    from cut_cross_entropy import linear_cross_entropy

    return linear_cross_entropy(hidden.bfloat16(), table.bfloat16(), targets, impl="cce_exact")


def whole_cross_entropy(hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Make all scores, then PyTorch's cross-entropy of them."""
    return nn.functional.cross_entropy(nn.functional.linear(hidden, table, bias), targets)


MATRICES = [(8, 4096, 32, 64)]
TABLES = {
    "delta_rule": Table(
        "(B, T, H, N = P)",
        MATRICES,
        kernel_inputs.delta_rule,
        ours_and_portable(kernels.delta_rule),
        lambda b, t, h, d: 16 * b * t * h * d,  # in and out only
        3,
        "GB/s",
        {"fla": {"fla, bf16": fla_delta_rule}},
    ),
    "fft_conv": Table(
        "(B, T, C, K)",
        [(8, 4096, 2048, 4096)],
        kernel_inputs.fft_conv,
        {"ours (cuFFT)": lambda x, kernel: kernels.fft_conv(x, kernel)[0]},
        lambda b, t, c, k: 24 * b * (t + k) * c,
        3,
        "GB/s",
    ),
    "fir": Table(
        "(B, T, C, K, m)",
        [(100, 160, 256, 20, 1), (1, 4000, 2048, 17, 1)],
        kernel_inputs.fir,
        ours_and_portable(kernels.fir),  # the portable form is cuDNN's convolution
        lambda b, t, c, k, m: 8 * b * t * c,
        3,
        "GB/s",
    ),
    "flashrnn": Table(
        "(B, T, H, D), LSTM",
        [(16, 1024, 12, 64), (16, 1024, 48, 16)],
        kernel_inputs.lstm,
        {**ours_and_portable(kernels.flashrnn, cell="lstm"), "torch, one head": torch_lstm},
        lambda b, t, h, d: 8 * b * t * h * d * d,
        4,
        "TFLOP/s",
        {
            "flashrnn": {
                b: partial(their_flashrnn, backend=b) for b in ("triton_fused", "cuda_fused")
            }
        },
    ),
    "gated_linear_attention": Table(
        "(B, T, H, N = P)",
        MATRICES,
        kernel_inputs.gated_linear_attention,
        ours_and_portable(kernels.gated_linear_attention),
        lambda b, t, h, d: 20 * b * t * h * d,  # in and out only
        3,
        "GB/s",
        {"fla": {"fla gla": fla_gla}},
    ),
    "linear_cross_entropy": Table(
        "(M, C, V)",
        [(5120, 64, 100_000), (5120, 128, 100_000)],
        kernel_inputs.linear_cross_entropy,
        {
            "ours": kernels.linear_cross_entropy,
            "portable": partial(kernels.linear_cross_entropy, backend="fast"),
            "whole matrix": whole_cross_entropy,
        },
        lambda m, c, v: 2 * m * c * v,
        5,  # the scores once more for each of two gradients
        "TFLOP/s",
        {"cut_cross_entropy": {"their exact, bf16": their_cross_entropy}},
    ),
    "linear_scan": Table(
        "(B, T, D)",
        [(8, 4096, 2048), (1, 65_536, 256)],
        kernel_inputs.linear_scan,
        ours_and_portable(kernels.linear_scan),
        lambda b, t, d: 12 * b * t * d,
        32 / 12,
        "GB/s",
    ),
    "mixed_chunk_attention": Table(
        "(B, T, N, P)",
        [(8, 4096, 128, 2048)],
        kernel_inputs.mixed_chunk_attention,
        ours_and_portable(kernels.mixed_chunk_attention),
        lambda b, t, n, p: b * t * (512 * (n + p) + 4 * n * p),  # groups of 256, scores once
        3,
        "TFLOP/s",
    ),
    "prefix_attention": Table(
        "(B, T, H, D)",
        [(4, 8192, 16, 64)],
        kernel_inputs.prefix_attention,
        {**ours_and_portable(kernels.prefix_attention), "torch SDPA": causal_attention},
        lambda b, t, h, d: 12 * b * t * h * d,
        3,
        "GB/s",
    ),
    "selective_scan": Table(
        "(B, T, D, N)",
        [(8, 4096, 2048, 16)],
        kernel_inputs.selective_scan,
        ours_and_portable(kernels.selective_scan),
        lambda b, t, d, n: 12 * b * t * d,
        80 / 12,  # at N = 16
        "GB/s",
    ),
    "ssd": Table(
        "(B, T, H, N = P)",
        MATRICES,
        kernel_inputs.ssd,
        ours_and_portable(kernels.ssd),
        lambda b, t, h, d: b * t * h * (256 * d + 4 * d * d),
        4,
        "TFLOP/s",
        {"fla": {"fla simple_gla": fla_simple_gla}},
    ),
}


def print_kernel(kernel: str) -> None:
    """Print the table of one kernel: milliseconds and the rate of each way."""
    table = TABLES[kernel]
    print(table.shape)
    for shape in table.shapes:
        with torch.device("cuda"):
            inputs = table.draw(*shape)
        unit = 1e9 if table.unit == "GB/s" else 1e12
        for backward in (False, True):
            what = "forward + backward" if backward else "forward"
            work = table.work(*shape) * (table.with_gradients if backward else 1) / unit
            for name, way in ways_of(table).items():
                time = gpu_seconds(timed(way, inputs, backward))
                rate = f"{1e3 * time:9.3f} ms {work / time:9.1f} {table.unit}"
                print(f"{shape!s:24} {what:18} {name:16} {rate}")


def ways_of(table: Table) -> dict[str, Way]:
    """Return a table's ways, those of the installed packages among them."""
    installed = (ways for package, ways in table.peers.items() if find_spec(package))
    return table.ways | {name: way for ways in installed for name, way in ways.items()}


def gpu_seconds(step: Callable[[], None]) -> float:
    """Return the median of the runs in about 100 ms."""
    times = [_once(step) for _ in range(5)][2:]
    repeats = max(3, min(100, int(0.1 / statistics.median(times))))
    return statistics.median(_once(step) for _ in range(repeats))


def _once(step: Callable[[], None]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3
