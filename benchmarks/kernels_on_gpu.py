"""How fast the core's Triton kernels are on a GPU, against the portable forms and other packages.

    uv run python benchmarks/kernels.py linear_scan

does this where PyTorch sees a GPU. A time is the median of the runs that fit in 100 ms, after a
warm-up; rates follow from the counts of bytes and FLOPs in the kernels' docstrings. Other packages
are measured where they are installed: `uv pip install flashrnn flash-linear-attention`.
"""

import statistics
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from recurra.core.kernels import (
    delta_rule,
    fft_conv,
    fir,
    flashrnn,
    gated_linear_attention,
    linear_scan,
    mixed_chunk_attention,
    prefix_attention,
    selective_scan,
    ssd,
)
from timing import timed

Way = Callable[..., Tensor]


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


def print_ways(
    label: str,
    ways: dict[str, Way],
    inputs: tuple[Tensor, ...],
    work: tuple[float, float],
    unit: str,
    seconds: Callable[[Callable[[], None]], float],
) -> None:
    """Print milliseconds and the rate of each way; `work` is that forward, and with gradients."""
    for backward in (False, True):
        for name, way in ways.items():
            time = seconds(timed(way, inputs, backward))
            what = "forward + backward" if backward else "forward"
            rate = work[backward] / time
            print(f"{label:24} {what:18} {name:16} {1e3 * time:9.3f} ms {rate:9.1f} {unit}")


def scan_table(b: int, t: int, d: int, device: str) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the ways to run a scan and their inputs."""
    inputs = torch.rand(b, t, d, device=device) * 0.1 + 0.9, torch.randn(b, t, d, device=device)
    return {
        "ours": lambda a, x: linear_scan(a, x)[0],
        "portable": lambda a, x: linear_scan(a, x, backend="fast")[0],
    }, inputs


def attention_table(
    b: int, t: int, h: int, d: int, device: str
) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the ways to attend to prefixes and their inputs."""
    q, *kv = (torch.randn(*s, h, d, device=device) for s in [(), (b, t), (b, t)])

    def by_torch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        tiled = q.unsqueeze(1).repeat(b, 1, t, 1)
        return nn.functional.scaled_dot_product_attention(
            tiled, k.transpose(1, 2), v.transpose(1, 2), is_causal=True
        )

    return {
        "ours": lambda q, k, v: prefix_attention(q, k, v)[0],
        "portable": lambda q, k, v: prefix_attention(q, k, v, backend="fast")[0],
        "torch SDPA": by_torch,
    }, (q, *kv)


def ssd_table(
    b: int, t: int, h: int, d: int, device: str
) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the ways to run state-space duality and their inputs."""
    x, key, query = (torch.randn(b, t, h, d, device=device) for _ in range(3))
    inputs = x, -torch.rand(b, t, h, device=device), key / d, query
    ways: dict[str, Way] = {
        "ours": lambda *z: ssd(*z)[0],
        "portable": lambda *z: ssd(*z, backend="fast")[0],
    }
    if find_spec("fla"):
        from fla.ops.simple_gla import chunk_simple_gla

        ways["fla simple_gla"] = lambda x, g, k, q: chunk_simple_gla(q, k, x, g=g, scale=1.0)[0]
    return ways, inputs


def gated_table(
    b: int, t: int, h: int, d: int, device: str
) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the ways to run gated linear attention and their inputs."""
    q, k, v = (torch.randn(b, t, h, d, device=device) for _ in range(3))
    inputs = q, k / d, v, -torch.rand(b, t, h, d, device=device)
    ways: dict[str, Way] = {
        "ours": lambda *z: gated_linear_attention(*z)[0],
        "portable": lambda *z: gated_linear_attention(*z, backend="fast")[0],
    }
    if find_spec("fla"):
        from fla.ops.gla import chunk_gla

        ways["fla gla"] = lambda q, k, v, g: chunk_gla(q, k, v, g, scale=1.0)[0]
    return ways, inputs


def delta_table(
    b: int, t: int, h: int, d: int, device: str
) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the ways to run the delta rule without decays and their inputs."""
    q, k, v = (torch.randn(b, t, h, d, device=device) for _ in range(3))
    inputs = q, nn.functional.normalize(k, dim=-1), v, torch.rand(b, t, h, device=device)
    ways: dict[str, Way] = {
        "ours": lambda *z: delta_rule(*z)[0],
        "portable": lambda *z: delta_rule(*z, backend="fast")[0],
    }
    if find_spec("fla"):
        from fla.ops.delta_rule import chunk_delta_rule

        ways["fla, bf16"] = lambda q, k, v, beta: chunk_delta_rule(
            *(z.bfloat16() for z in (q, k, v, beta)), scale=1.0
        )[0]
    return ways, inputs


def mixed_table(
    b: int, t: int, n: int, p: int, device: str
) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the ways to attend as MossFormer2 does, both ways in groups of 256."""
    keys = (torch.randn(b, t, n, device=device) for _ in range(4))
    return {
        "ours": lambda *z: mixed_chunk_attention(*z)[0],
        "portable": lambda *z: mixed_chunk_attention(*z, backend="fast")[0],
    }, (*keys, torch.randn(b, t, p, device=device))


def cell_table(
    b: int, t: int, h: int, d: int, device: str
) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the ways to run an LSTM's recurrence; PyTorch's has one head and an input matrix."""
    wx = torch.randn(b, t, 4, h, d, device=device)
    inputs = wx, torch.randn(4, h, d, d, device=device) / d, torch.zeros(4, h, d, device=device)
    whole = nn.LSTM(h * d, h * d, batch_first=True, device=device)
    ways: dict[str, Way] = {
        "ours": lambda *z: flashrnn(*z, cell="lstm")[0],
        "portable": lambda *z: flashrnn(*z, cell="lstm", backend="fast")[0],
        "torch, one head": lambda wx, r, b: whole(wx[:, :, 0].flatten(2))[0],
    }
    if find_spec("flashrnn"):
        from flashrnn import flashrnn as theirs

        for backend in ("triton_fused", "cuda_fused"):
            run = partial(theirs, function="lstm", backend=backend, dtype="float32")
            ways[backend] = lambda *z, run=run: run(*z)[0][0]
    return ways, inputs


def fir_table(
    b: int, t: int, c: int, k: int, device: str
) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the ways to filter each channel with k taps, and their inputs."""
    inputs = torch.randn(b, t, c, device=device), torch.randn(k, c, 1, device=device)
    return {
        "ours": lambda x, taps: fir(x, taps)[0],
        "portable (cuDNN)": lambda x, taps: fir(x, taps, backend="fast")[0],
    }, inputs


def selective_table(
    b: int, t: int, d: int, n: int, device: str
) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the ways to run a selective scan and their inputs."""
    u, delta = (torch.rand(b, t, d, device=device) for _ in range(2))
    b_c = (torch.randn(b, t, n, device=device) for _ in range(2))
    inputs = u, 0.1 * delta, -torch.rand(d, n, device=device), *b_c
    return {
        "ours": lambda *z: selective_scan(*z)[0],
        "portable": lambda *z: selective_scan(*z, backend="fast")[0],
    }, inputs


def fft_table(
    b: int, t: int, c: int, k: int, device: str
) -> tuple[dict[str, Way], tuple[Tensor, ...]]:
    """Return the way to convolve each channel with a long response, by cuFFT."""
    inputs = torch.randn(b, t, c, device=device), torch.randn(k, c, device=device) / k
    return {"ours (cuFFT)": lambda *z: fft_conv(*z)[0]}, inputs


def print_kernel(
    kernel: str,
    device: str = "cuda",
    scale: int = 1,
    seconds: Callable[[Callable[[], None]], float] = gpu_seconds,
) -> None:
    """Print the table of one kernel; `scale` divides its number of steps."""
    if kernel == "linear_scan":
        for b, t, d in [(8, 4096, 2048), (1, 65_536, 256)]:
            n = b * (t // scale) * d / 1e9
            ways = scan_table(b, t // scale, d, device)
            print_ways(f"({b}, {t // scale}, {d})", *ways, (12 * n, 32 * n), "GB/s", seconds)
    elif kernel == "prefix_attention":
        b, t, h, d = 4, 8192 // scale, 16, 64
        gb = 12 * b * t * h * d / 1e9
        table = attention_table(b, t, h, d, device)
        print_ways(f"({b}, {t}, {h}, {d})", *table, (gb, 3 * gb), "GB/s", seconds)
    elif kernel == "ssd":
        b, t, h, d = 8, 4096 // scale, 32, 64
        tflop = b * t * h * (256 * d + 4 * d * d) / 1e12
        table = ssd_table(b, t, h, d, device)
        print_ways(f"({b}, {t}, {h}, {d})", *table, (tflop, 4 * tflop), "TFLOP/s", seconds)
    elif kernel in ("gated_linear_attention", "delta_rule"):
        b, t, h, d = 8, 4096 // scale, 32, 64
        gated = kernel == "gated_linear_attention"
        gb = 4 * b * t * h * (5 if gated else 4) * d / 1e9  # in and out only
        table = (gated_table if gated else delta_table)(b, t, h, d, device)
        print_ways(f"({b}, {t}, {h}, {d})", *table, (gb, 3 * gb), "GB/s", seconds)
    elif kernel == "mixed_chunk_attention":
        b, t, n, p = 8, 4096 // scale, 128, 2048
        tflop = b * t * (512 * (n + p) + 4 * n * p) / 1e12  # scores counted once
        table = mixed_table(b, t, n, p, device)
        print_ways(f"({b}, {t}, {p})", *table, (tflop, 3 * tflop), "TFLOP/s", seconds)
    elif kernel == "selective_scan":
        b, t, d, n = 8, 4096 // scale, 2048 // scale, 16
        gb = b * t * d / 1e9
        table = selective_table(b, t, d, n, device)
        print_ways(f"({b}, {t}, {d}), N {n}", *table, (12 * gb, 80 * gb), "GB/s", seconds)
    elif kernel == "fft_conv":
        b, t, c = 8, 4096 // scale, 2048 // scale
        gb = 24 * b * 2 * t * c / 1e9  # the circle is twice as long as the line
        table = fft_table(b, t, c, t, device)
        print_ways(f"({b}, {t}, {c}), K {t}", *table, (gb, 3 * gb), "GB/s", seconds)
    elif kernel == "flashrnn":
        for b, t, h, d in [(16, 1024 // scale, 12, 64), (16, 1024 // scale, 48, 16)]:
            tflop = b * t * h * 8 * d * d / 1e12
            table = cell_table(b, t, h, d, device)
            print_ways(f"({b}, {t}, {h}, {d})", *table, (tflop, 4 * tflop), "TFLOP/s", seconds)
    elif kernel == "fir":
        for b, t, c, k in [(100, 160 // scale, 256, 20), (1, 4000 // scale, 2048, 17)]:
            gb = 8 * b * t * c / 1e9
            table = fir_table(b, t, c, k, device)
            print_ways(f"({b}, {t}, {c}), {k} taps", *table, (gb, 3 * gb), "GB/s", seconds)
    else:
        raise ValueError(f"no table of {kernel}")
