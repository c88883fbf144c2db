"""The GPU form of `mixed_chunk_attention`: what is done within groups, in one kernel.

A program has a tile of a group's steps and a block of P. It makes the weights for one tile of keys
after the other, as the scores of FlashAttention are, and adds what they give to what the queries
read of the memory: no G x G matrix lies in memory. The memories are sums of products of all groups
at once, which PyTorch makes, gradients included.

With w = relu(q k^T / G)^2, the gradient to v is w^T dy: the same kernel with q and k exchanged. A
second one writes e = 2 relu(q k^T / G) (dy v^T) / G, and dq = e k, dk = e^T q are products again.
To be differentiated twice, the portable form is differentiated instead.

Source: Hua et al. 2022 (arXiv 2202.10447, section 3.2).

Roofline, for each step, with keys of N = M: 4 (3 N + 2 P) bytes, causally 4 N P / G of memories
besides; 2 G P FLOPs for the values, half of it causally, 2 N P for the memory, and 2 G N for the
scores, made anew for every 128 of P. MossFormer2 (G = 256, N = 128, P = 2048) has 2.6 MFLOP for 18
kB: bound by products. In three TF32 products for each (165 TFLOP/s of an H100's 495), (8, 4000)
steps take 0.5 ms, and 0.2 ms to move at 3.35 TB/s. No GPU was at hand when this was written: these
are counts, not measurements.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recurra.core.kernels import triton_support
from recurra.core.kernels.mixed_chunk_attention import fast
from recurra.core.kernels.second_derivatives import differentiable

_TILE = 32  # steps of a group
_BLOCK = 128  # of P
_KEYS = 32  # of N and of M, at once
_RUNTIME = ["repeat"]


def attend(
    q: Tensor, k: Tensor, q_linear: Tensor, memory: Tensor, v: Tensor, causal: bool, dropout: float
) -> Tensor:
    """Attend within each group as `fast.attend` does, which serves a group of no keys or values."""
    given = (q, k, q_linear, memory, v)
    if any(z.numel() == 0 for z in given):
        return fast.attend(*given, causal, dropout)
    if torch.is_grad_enabled() and any(z.requires_grad for z in given):
        y: Tensor = _Attend.apply(*given, causal)  # type: ignore[no-untyped-call]
        return y
    return _run(q, k, (q_linear, memory), v, "earlier" if causal else "all")


class _Attend(torch.autograd.Function):
    """Attention within groups; its backward makes the weights anew."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        q_linear: Tensor,
        memory: Tensor,
        v: Tensor,
        causal: bool,
    ) -> Tensor:
        ctx.save_for_backward(q, k, q_linear, memory, v)
        ctx.causal = causal
        return _run(q, k, (q_linear, memory), v, "earlier" if causal else "all")

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        given = q, k, q_linear, memory, v = ctx.saved_tensors
        if torch.is_grad_enabled():

            def portable(*views: Any) -> tuple[Tensor, ...]:
                return (fast.attend(*(*views, ctx.causal, 0.0)),)

            return (*differentiable(portable, given, (grad_y,)), None)
        slopes = _slopes(q, k, v, grad_y, ctx.causal)
        return (
            slopes @ k,
            slopes.mT @ q,
            grad_y @ memory.mT,
            (q_linear.mT @ grad_y).sum_to_size(memory.shape),
            _run(k, q, None, grad_y, "later" if ctx.causal else "all"),
            None,
        )


def _run(
    q: Tensor, k: Tensor, linear: tuple[Tensor, Tensor] | None, v: Tensor, seen: str
) -> Tensor:
    """Run on groups (B, n, G, .), each step on all, or on those "earlier" or "later" and itself.

    `linear` are the queries and the memories that they read, or None.
    """
    n_rows, n_groups, group, p = v.shape
    tile = min(_TILE, triton_support.power_of_two(group, 16))
    block = min(_BLOCK, triton_support.power_of_two(p, 16))
    q_linear, memory = linear or (q, k)
    y = torch.empty_like(v, memory_format=torch.contiguous_format)
    triton_support.launch(
        _within,
        n_rows * n_groups * triton.cdiv(group, tile) * triton.cdiv(p, block),
        *(z.contiguous() for z in (q, k, q_linear, memory, v)),
        *(y, n_groups // memory.shape[1], group, q.shape[3], q_linear.shape[3], p),
        SEEN=seen,
        LINEAR=linear is not None,
        TILE=tile,
        KEYS=_KEYS,
        BLOCK_P=block,
        **triton_support.product_options(v),
    )
    return y


def _slopes(q: Tensor, k: Tensor, v: Tensor, grad_y: Tensor, causal: bool) -> Tensor:
    """Return the gradient to q k^T, (B, n, G, G)."""
    n_rows, n_groups, group, p = v.shape
    tile = min(_TILE, triton_support.power_of_two(group, 16))
    slopes = v.new_empty(n_rows, n_groups, group, group)
    triton_support.launch(
        _slope,
        n_rows * n_groups * triton.cdiv(group, tile) ** 2,
        *(z.contiguous() for z in (q, k, v, grad_y)),
        *(slopes, group, q.shape[3], p),
        CAUSAL=causal,
        TILE=tile,
        KEYS=_KEYS,
        **triton_support.product_options(v),
    )
    return slopes


@triton.jit
def _products(
    a, b, i, j, group, width, TILE: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr
):
    """Return a_i . b_j of a group's steps i and j, which lie from a and b on: (TILE, TILE)."""
    found = tl.zeros((TILE, TILE), tl.float32)
    start = 0
    while start < width:
        n = start + tl.arange(0, KEYS)
        inside = n < width
        of_a = a + i[:, None] * width + n[None, :]
        of_b = b + j[None, :] * width + n[:, None]
        a_mask = (i < group)[:, None] & inside[None, :]
        b_mask = (j < group)[None, :] & inside[:, None]
        rows = tl.load(of_a, mask=a_mask, other=0.0).to(tl.float32)
        columns = tl.load(of_b, mask=b_mask, other=0.0).to(tl.float32)
        found += tl.dot(rows, columns, input_precision=PRECISION)
        start += KEYS
    return found


@triton.jit(do_not_specialize=_RUNTIME)
def _within(
    q,
    k,
    q_linear,
    memory,
    v,
    y,
    repeat,
    group,
    n_width,
    m_width,
    p_width,
    SEEN: tl.constexpr,
    LINEAR: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    KEYS: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Write a tile of a group's steps and a block of P of y (B, n, G, P)."""
    p_blocks, tiles = tl.cdiv(p_width, BLOCK_P), tl.cdiv(group, TILE)
    p = tl.program_id(0) % p_blocks * BLOCK_P + tl.arange(0, BLOCK_P)
    first = tl.program_id(0) // p_blocks % tiles * TILE
    place = (tl.program_id(0) // p_blocks // tiles).to(tl.int64)  # the row's group
    i, p_inside = first + tl.arange(0, TILE), (p < p_width)[None, :]
    result = tl.zeros((TILE, BLOCK_P), tl.float32)
    if LINEAR:
        start = 0
        while start < m_width:
            m = start + tl.arange(0, KEYS)
            inside = m < m_width
            of_query = q_linear + (place * group + i[:, None]) * m_width + m[None, :]
            of_memory = memory + (place // repeat * m_width + m[:, None]) * p_width + p[None, :]
            mask = (i < group)[:, None] & inside[None, :]
            query = tl.load(of_query, mask=mask, other=0.0).to(tl.float32)
            kept = tl.load(of_memory, mask=inside[:, None] & p_inside, other=0.0).to(tl.float32)
            result += tl.dot(query, kept, input_precision=PRECISION)
            start += KEYS

    start = first if SEEN == "later" else 0
    end = tl.minimum(first + TILE, group) if SEEN == "earlier" else group
    while start < end:
        j = start + tl.arange(0, TILE)
        scores = _products(
            q + place * group * n_width,
            k + place * group * n_width,
            i,
            j,
            group,
            n_width,
            TILE,
            KEYS,
            PRECISION,
        )
        weights = tl.maximum(scores / group, 0.0)
        weights = weights * weights
        if SEEN == "earlier":
            weights = tl.where(i[:, None] >= j[None, :], weights, 0.0)
        if SEEN == "later":
            weights = tl.where(i[:, None] <= j[None, :], weights, 0.0)
        of_value = v + (place * group + j[:, None]) * p_width + p[None, :]
        value = tl.load(of_value, mask=(j < group)[:, None] & p_inside, other=0.0).to(tl.float32)
        result += tl.dot(weights, value, input_precision=PRECISION)
        start += TILE
    of_y = y + (place * group + i[:, None]) * p_width + p[None, :]
    tl.store(of_y, result, mask=(i < group)[:, None] & p_inside)


@triton.jit
def _slope(
    q,
    k,
    v,
    grad_y,
    slopes,
    group,
    n_width,
    p_width,
    CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Write a tile of the gradient to q k^T of a group (B, n, G, G)."""
    tiles = tl.cdiv(group, TILE)
    j = tl.program_id(0) % tiles * TILE + tl.arange(0, TILE)
    i = tl.program_id(0) // tiles % tiles * TILE + tl.arange(0, TILE)
    place = (tl.program_id(0) // tiles // tiles).to(tl.int64)
    at = place * group
    scores = _products(
        q + at * n_width, k + at * n_width, i, j, group, n_width, TILE, KEYS, PRECISION
    )
    of_weights = _products(
        grad_y + at * p_width, v + at * p_width, i, j, group, p_width, TILE, KEYS, PRECISION
    )
    slope = 2 * tl.maximum(scores / group, 0.0) * of_weights / group
    if CAUSAL:
        slope = tl.where(i[:, None] >= j[None, :], slope, 0.0)
    mask = (i < group)[:, None] & (j < group)[None, :]
    tl.store(slopes + (at + i[:, None]) * group + j[None, :], slope, mask=mask)
