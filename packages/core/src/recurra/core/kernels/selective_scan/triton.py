"""The GPU form of `selective_scan`: the states stay in registers, a few for each thread.

A program of one warp has 256 of a row's D x N states and walks through the steps, in pieces whose
inputs are loaded before any is needed. Backward, with g_t the gradient to y_t, dh_t that to h_t and
k_t = exp(delta_t a) h_{t-1} what a step keeps,

    dh_t = exp(delta_{t+1} a) dh_{t+1} + g_t c_t,   da = sum over t of delta_t k_t dh_t,
    du_t = delta_t b_t . dh_t,   ddelta_t = (a k_t + u_t b_t) . dh_t,
    db_t = sum over D of delta_t u_t dh_t,   dc_t = sum over D of g_t h_t.

Forward keeps the state before each piece, from which backward makes those within it anew. Programs
that share a result each write their part of it; PyTorch adds the parts, in an order that depends on
shapes only, so that repeats are equal to the bit.

Where rows and channels alone do not fill a GPU, the steps are cut into chunks: a first pass gives
what each chunk adds to the state, `linear_scan` what the chunks start from, and a last pass the
results. A chunk's decay needs no pass: it is exp(a) to the sum of its delta. To be differentiated
twice, the portable form is differentiated instead.

Source: Gu & Dao 2023 (arXiv 2312.00752, section 3.3.2).

Roofline, for each row, step and channel with N = 16 numbers: forward 12 bytes (reads u and delta,
writes y), 16 more to keep a state for every 4 steps, 8 more in chunks, and 7 N FLOPs, one of them
an exponential; b and c, which the channels share, come from the caches. Backward 20 bytes (u,
delta, g, du, ddelta), 16 for the states and 16 for the parts of db and dc, and 22 N FLOPs. (8,
4096, 2048) moves 0.8 GB forward, 0.24 ms at the 3.35 TB/s of an H100; its exponentials, 16 a cycle
and multiprocessor, take 0.29 ms and are the bound. With gradients it moves 5.4 GB, 1.6 ms. No GPU
was at hand when this was written: these are counts, not measurements.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from recurra.core.kernels import triton_support
from recurra.core.kernels.linear_scan import triton as linear_scan
from recurra.core.kernels.second_derivatives import differentiable
from recurra.core.kernels.selective_scan import fast, triton_kernels

_STATES = 256  # of a program, eight a thread
_BLOCK = 16  # of N
_PIECE = 4  # steps: with 8, their states and decays do not find room in the registers
_PROGRAMS = 1024  # about eight warps on each of an H100's 132 multiprocessors
_CHUNK = 256  # steps of a chunk at least


def selective_scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Run u and delta (B, T, D), a (D, N), b and c (B, T, N) from state (B, D, N), none empty."""
    given = (u, delta, a, b, c, state)
    if torch.is_grad_enabled() and any(z.requires_grad for z in given):
        y, last = _Scan.apply(*given)  # type: ignore[no-untyped-call]
        return y, last
    y, last, _ = _forward(*given, keep=False)
    return y, last


class _Scan(torch.autograd.Function):
    """The scan, whose backward makes the states anew."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        y, last, kept = _forward(u, delta, a, b, c, state, keep=True)
        ctx.save_for_backward(u, delta, a, b, c, state, kept)
        return y, last

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        *given, kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            return differentiable(fast.selective_scan, given, (grad_y, grad_last))
        u, delta, a, b, c, _ = given
        return _backward(u, delta, a, b, c, kept, grad_y, grad_last)


def _cut(u: Tensor, a: Tensor) -> tuple[int, int, tuple[int, ...], dict[str, Any]]:
    """Return blocks of D, blocks of N, the numbers and the constants of all kernels' launches.

    Programs are rows x chunks x blocks of D x blocks of N.
    """
    n_rows, n_steps, channels = u.shape
    width = a.shape[1]
    block_n = min(_BLOCK, triton_support.power_of_two(width))
    block_d = min(_STATES // block_n, triton_support.power_of_two(channels))
    d_blocks, n_blocks = triton.cdiv(channels, block_d), triton.cdiv(width, block_n)
    programs = n_rows * d_blocks * n_blocks
    n_chunks = min(triton.cdiv(_PROGRAMS, programs), triton.cdiv(n_steps, _CHUNK))
    steps = triton.cdiv(triton.cdiv(n_steps, n_chunks), _PIECE) * _PIECE
    n_chunks = triton.cdiv(n_steps, steps)
    options = {"PIECE": _PIECE, "BLOCK_D": block_d, "BLOCK_N": block_n, "num_warps": 1}
    return d_blocks, n_blocks, (n_steps, n_chunks, steps, channels, width), options


def _forward(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state and, with `keep`, the states before the pieces (B, n, D, N)."""
    d_blocks, n_blocks, numbers, options = _cut(u, a)
    u, delta, a, b, c = (z.contiguous() for z in (u, delta, a, b, c))
    starts = _starts(u, delta, a, b, state, backward=False)
    n_rows, n_chunks = starts.shape[:2]
    y, last = u.new_empty(n_rows, n_blocks, *u.shape[1:]), torch.empty_like(starts[:, 0])
    kept = u.new_empty(n_rows, triton.cdiv(u.shape[1], _PIECE), *a.shape) if keep else last
    triton_support.launch(
        triton_kernels.run,
        n_rows * n_chunks * d_blocks * n_blocks,
        *(u, delta, a, b, c, starts, y, last, kept),
        *numbers,
        **options,
        KEEP=keep,
    )
    return _total(y), last, kept


def _backward(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    kept: Tensor,
    grad_y: Tensor,
    grad_last: Tensor,
) -> tuple[Tensor, ...]:
    """Return the gradients to u, delta, a, b, c and the state before."""
    d_blocks, n_blocks, numbers, options = _cut(u, a)
    u, delta, a, b, c, grad_y = (z.contiguous() for z in (u, delta, a, b, c, grad_y))
    starts = _starts(grad_y, delta, a, c, grad_last, backward=True)
    n_rows, n_chunks = starts.shape[:2]
    of_u, of_delta = (u.new_empty(n_rows, n_blocks, *u.shape[1:]) for _ in range(2))
    of_b, of_c = (u.new_empty(n_rows, d_blocks, *b.shape[1:]) for _ in range(2))
    of_a, of_state = torch.empty_like(starts), torch.empty_like(starts[:, 0])
    triton_support.launch(
        triton_kernels.run_back,
        n_rows * n_chunks * d_blocks * n_blocks,
        *(u, delta, a, b, c, grad_y, kept, starts, of_u, of_delta, of_a, of_b, of_c, of_state),
        *numbers,
        **options,
    )
    sums = (_total(of_u), _total(of_delta), of_a.sum((0, 1)), _total(of_b), _total(of_c))
    return (*sums, of_state)


def _total(parts: Tensor) -> Tensor:
    """Add what each of the blocks has (B, blocks, ...)."""
    return parts[:, 0] if parts.shape[1] == 1 else parts.sum(1)


def _starts(
    x: Tensor, delta: Tensor, a: Tensor, weights: Tensor, start: Tensor, *, backward: bool
) -> Tensor:
    """Return the states that the chunks start from, in the order of time: (B, n, D, N).

    x is u and `weights` are b; with `backward` x is g and `weights` are c, and the states are the
    gradients to those after the chunks.
    """
    d_blocks, n_blocks, numbers, options = _cut(x, a)
    n_rows, n_chunks = x.shape[0], numbers[1]
    starts = start.unsqueeze(1).contiguous()
    if n_chunks == 1:
        return starts
    ends = x.new_empty(n_rows, n_chunks, *a.shape)
    totals = x.new_empty(n_rows, n_chunks, x.shape[2])
    triton_support.launch(
        triton_kernels.summary,
        n_rows * n_chunks * d_blocks * n_blocks,
        *(x, delta, a, weights, totals, ends),
        *numbers,
        **options,
        BACKWARD=backward,
    )
    with torch.no_grad():
        decays = torch.exp(totals.unsqueeze(-1) * a)
        after, _ = linear_scan.scan(decays, ends, start, backward)
    return torch.cat([after[:, 1:], starts] if backward else [starts, after[:, :-1]], dim=1)
