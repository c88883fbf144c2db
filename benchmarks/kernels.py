"""How fast the core's kernels are on one thread of a CPU, against the plain ways to write them.

    uv run python benchmarks/kernels.py fir

prints the table of a kernel; `--help` names all. Times are CPU milliseconds over repeats that take
turns, the minimum of each; the ratios are what counts. Where PyTorch
sees a GPU, the kernels for GPUs are measured instead, flashrnn among them (`kernels_on_gpu.py`);
`--cpu` leaves the GPU alone. No GPU has been at hand so far, so there is no figure of one in this
tree.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

import kernels_on_gpu
from recurra.core.kernels import (
    delta_rule,
    fft_conv,
    fir,
    gated_linear_attention,
    linear_scan,
    mixed_chunk_attention,
    prefix_attention,
    selective_scan,
    ssd,
)
from timing import cpu_seconds, timed

KERNELS = [
    "delta_rule",
    "fft_conv",
    "fir",
    "flashrnn",
    "gated_linear_attention",
    "linear_scan",
    "mixed_chunk_attention",
    "prefix_attention",
    "selective_scan",
    "ssd",
]
# (B, T, C, K, m): FRCRN's widest memory, MossFormer2's convolution module, its dense memory.
FIR_SHAPES = [(100, 159, 256, 20, 1), (1, 4000, 2048, 17, 1), (1, 4000, 256, 39, 2)]
SCAN_SHAPES = [(1, 1024, 64), (1, 16_384, 64)]  # (B, T, D)
ATTENTION_SHAPES = [(1, 1024, 4, 64), (1, 4096, 4, 64)]  # (B, T, H, D)
SSD_SHAPES = [(1, 256, 4, 64), (1, 1024, 4, 64), (1, 4096, 4, 64)]  # (B, T, H, N = P)
MIXED_SHAPES = [(1, 1024, 128, 512)]  # (B, T, N, P)
SELECTIVE_SHAPES = [(1, 1024, 128, 16), (1, 4096, 128, 16)]  # (B, T, D, N)
FFT_SHAPES = [(1, 1024, 64, 256), (1, 4096, 64, 4096)]  # (B, T, C, K)


def main() -> None:
    """Print the table of one kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernel", choices=KERNELS)
    parser.add_argument("--cpu", action="store_true", help="measure the CPU, GPU or not")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    if torch.cuda.is_available() and not args.cpu:
        print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
        kernels_on_gpu.print_kernel(args.kernel)
        return
    if args.kernel == "flashrnn":
        parser.error("no GPU is here; benchmarks/rnn.py measures flashrnn on a CPU")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    if args.kernel == "fir":
        print(f"{'x, taps':30} {'':18} {'ours ms':>8} {'conv1d':>8} {'shifted adds':>13}")
        for fir_shape in FIR_SHAPES:
            print_fir(*fir_shape, repeats=args.repeats)
    elif args.kernel == "linear_scan":
        print(f"{'a, b':30} {'':18} {'ours ms':>8} {'loop':>8}")
        for scan_shape in SCAN_SHAPES:
            print_linear_scan(*scan_shape, repeats=args.repeats)
    elif args.kernel == "ssd":
        print(f"{'x':30} {'':18} {'ours ms':>8} {'loop':>8}")
        for shape in SSD_SHAPES:
            print_ssd(*shape, repeats=args.repeats)
    elif args.kernel == "mixed_chunk_attention":
        print(f"{'v':30} {'':18} {'ours ms':>8} {'loop':>8}")
        for shape in MIXED_SHAPES:
            print_mixed(*shape, repeats=args.repeats)
    elif args.kernel == "selective_scan":
        print(f"{'u, N':30} {'':18} {'ours ms':>8} {'loop':>8}")
        for shape in SELECTIVE_SHAPES:
            print_selective_scan(*shape, repeats=args.repeats)
    elif args.kernel == "fft_conv":
        print(f"{'x, K':30} {'':18} {'ours ms':>8} {'loop':>8}")
        for shape in FFT_SHAPES:
            print_fft_conv(*shape, repeats=args.repeats)
    elif args.kernel in ("delta_rule", "gated_linear_attention"):
        print(f"{'v':30} {'':18} {'ours ms':>8} {'loop':>8}")
        for shape in SSD_SHAPES:
            print_matrix_state(args.kernel, *shape, repeats=args.repeats)
    else:
        print(f"{'k, v':30} {'':18} {'ours ms':>8} {'SDPA':>8}")
        for shape in ATTENTION_SHAPES:
            print_prefix_attention(*shape, repeats=args.repeats)


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
        steps = {name: timed(way, (x, taps), backward) for name, way in ways.items()}
        samples = cpu_seconds(steps, repeats)
        ms = {name: 1e3 * min(values) for name, values in samples.items()}
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


def print_linear_scan(b: int, t: int, d: int, *, repeats: int) -> None:
    """Print the scan's milliseconds, and how many times as long the plain loop takes."""
    inputs = torch.rand(b, t, d) * 0.1 + 0.9, torch.randn(b, t, d)
    ways = {
        "ours": lambda a, b: linear_scan(a, b)[0],
        "loop": lambda a, b: linear_scan(a, b, backend="reference")[0],  # unbind and stack
    }
    print_ratio(f"({b}, {t}, {d})", ways, inputs, repeats)


def print_prefix_attention(b: int, t: int, h: int, d: int, *, repeats: int) -> None:
    """Print ours in milliseconds, and how many times as long PyTorch's causal attention takes."""
    inputs = torch.randn(h, d), torch.randn(b, t, h, d), torch.randn(b, t, h, d)
    ways = {"ours": lambda q, k, v: prefix_attention(q, k, v)[0], "SDPA": causal_attention}
    print_ratio(f"({b}, {t}, {h}, {d})", ways, inputs, repeats)


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend by PyTorch's function; the query is repeated in memory: expanded, it is slower."""
    tiled = q.unsqueeze(1).repeat(k.shape[0], 1, k.shape[1], 1)  # (B, H, T, D)
    y = functional.scaled_dot_product_attention(
        tiled, k.transpose(1, 2), v.transpose(1, 2), is_causal=True
    )
    return y.transpose(1, 2)


def print_ssd(b: int, t: int, h: int, n: int, *, repeats: int) -> None:
    """Print ours in milliseconds, and how many times as long the plain loop takes."""
    key, query = torch.randn(b, t, h, n) / n, torch.randn(b, t, h, n)
    inputs = torch.randn(b, t, h, n), -torch.rand(b, t, h), key, query
    ways = {"ours": lambda *z: ssd(*z)[0], "loop": ssd_loop}
    print_ratio(f"({b}, {t}, {h}, {n})", ways, inputs, repeats)


def ssd_loop(x: Tensor, log_a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Run state-space duality step by step, without indexing inside the loop."""
    state = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], b.shape[3])
    outputs = []
    steps = zip(*(z.unbind(1) for z in (x, log_a.exp(), b, c)), strict=True)
    for x_t, a_t, b_t, c_t in steps:
        state = a_t[..., None, None] * state + x_t[..., :, None] * b_t[..., None, :]
        outputs.append((state @ c_t[..., None]).squeeze(-1))
    return torch.stack(outputs, dim=1)


def print_matrix_state(kernel: str, b: int, t: int, h: int, n: int, *, repeats: int) -> None:
    """Print ours in milliseconds, and how many times as long the plain loop takes."""
    run, last = delta_rule, torch.rand(b, t, h)
    if kernel == "gated_linear_attention":
        run, last = gated_linear_attention, -torch.rand(b, t, h, n)
    q, k, v = (torch.randn(b, t, h, n) for _ in range(3))
    inputs = q * n**-0.5, functional.normalize(k, dim=-1), v, last
    ways = {
        "ours": lambda *z: run(*z)[0],
        "loop": lambda *z: run(*z, backend="reference")[0],  # unbind and stack
    }
    print_ratio(f"({b}, {t}, {h}, {n})", ways, inputs, repeats)


def print_mixed(b: int, t: int, n: int, p: int, *, repeats: int) -> None:
    """Print ours in milliseconds, causal, and how many times as long the plain loop takes."""
    inputs = *(torch.randn(b, t, n) for _ in range(4)), torch.randn(b, t, p)
    ways = {
        "ours": lambda *z: mixed_chunk_attention(*z, causal=True)[0],
        "loop": lambda *z: mixed_chunk_attention(*z, causal=True, backend="reference")[0],
    }
    print_ratio(f"({b}, {t}, {p})", ways, inputs, repeats)


def print_selective_scan(b: int, t: int, d: int, n: int, *, repeats: int) -> None:
    """Print ours in milliseconds, and how many times as long the plain loop takes."""
    inputs = (
        *(torch.randn(b, t, d), torch.rand(b, t, d) * 0.1, -torch.rand(d, n)),
        *(torch.randn(b, t, n) for _ in range(2)),
    )
    ways = {
        "ours": lambda *z: selective_scan(*z)[0],
        "loop": lambda *z: selective_scan(*z, backend="reference")[0],
    }
    print_ratio(f"({b}, {t}, {d}), N {n}", ways, inputs, repeats)


def print_fft_conv(b: int, t: int, c: int, k: int, *, repeats: int) -> None:
    """Print ours in milliseconds, and how many times as long the plain sum over K takes."""
    inputs = torch.randn(b, t, c), torch.randn(k, c) / k
    ways = {
        "ours": lambda *z: fft_conv(*z)[0],
        "loop": lambda *z: fft_conv(*z, backend="reference")[0],
    }
    print_ratio(f"({b}, {t}, {c}), K {k}", ways, inputs, repeats)


def print_ratio(
    label: str, ways: dict[str, Callable[..., Tensor]], inputs: tuple[Tensor, ...], repeats: int
) -> None:
    """Check that two ways agree, then print the first in milliseconds and the second's ratio."""
    ours, other = ways
    torch.testing.assert_close(ways[ours](*inputs), ways[other](*inputs), rtol=1e-4, atol=1e-4)
    for backward in (False, True):
        steps = {name: timed(way, inputs, backward) for name, way in ways.items()}
        ms = {name: 1e3 * min(values) for name, values in cpu_seconds(steps, repeats).items()}
        what = "forward + backward" if backward else "forward"
        ratio = f"{ms[other] / ms[ours]:.1f}x"
        print(f"{label:30} {what:18} {ms[ours]:8.2f} {ratio:>8}", flush=True)


if __name__ == "__main__":
    main()
