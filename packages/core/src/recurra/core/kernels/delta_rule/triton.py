"""The GPU form of `delta_rule`: one kernel carries the states from chunk to chunk.

All else in the chunked form is products of matrices and triangular systems of all chunks at once,
which PyTorch does on a GPU as it does elsewhere, gradients included. Only this runs in order, with
U and W of the WY form, K the decayed keys, d a chunk's decay and S its state before it, turned:

    u = U - W S,   S' = d S + K^T u.

Its gradient is the same run from the last chunk to the first, with the parts exchanged. With g the
gradients that come in from outside,

    du = g_u + K dS',   dS = d dS' + g_S - W^T du,

and those to W, K and d are products of matrices of all chunks again. Nothing is added in an order
that changes: repeats are equal to the bit. To be differentiated twice, the portable loop is
differentiated instead.

Source: Yang et al. 2024 (arXiv 2406.06484, section 3.2).

Roofline, for each chunk of 64 steps of a head with P = N = D: reads U, W and K and writes u and S,
4 (256 D + D^2) bytes, for 256 D^2 FLOPs; in blocks of 32 of P (of 16 where N is above 64), W and K
come from the caches again.
At D = 64 that is 1 MFLOP for 82 kB, 13 FLOPs a byte: bound by memory in three TF32 products for
each, if rows x heads x D / 32 programs fill the chip. (8, 4096, 32, 64) moves 1.3 GB, 0.4 ms at the
3.35 TB/s of an H100. Backward reads g_S besides. No GPU was at hand when this was written: these
are counts, not measurements.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recurra.core.kernels import triton_support
from recurra.core.kernels.delta_rule import fast
from recurra.core.kernels.second_derivatives import differentiable

CHUNK = 64
# The widest N whose state stays in registers, as `test_triton_compiled.py` compiles it: what three
# TF32 products need besides differs from one chip's assembler to the other's.
WIDEST = {"sm_90": 128, "gfx942": 128, "cpu": 128}


def fits(arch: str, dtype: torch.dtype, head: int) -> bool:
    """Say whether the states of a head stay on a chip.

    Args:
        arch: as `triton_support.chip` names it.
        dtype: of the states and sums: float32, whatever the inputs are in.
        head: N, the width of the keys.
    """
    return dtype == torch.float32 and head <= WIDEST.get(arch, 64)


def carry(
    written: Tensor, erased: Tensor, keys: Tensor, decay: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Carry the state through the chunks as `fast.carry` does, which serves what does not fit."""
    given = (written, erased, keys, decay, state)
    n = keys.shape[-1]
    fitting = fits(triton_support.chip(written), written.dtype, n)
    if written.numel() == 0 or n == 0 or not fitting:
        return fast.carry(*given)
    if torch.is_grad_enabled() and any(z.requires_grad for z in given):
        u, before, last = _Carry.apply(*given)  # type: ignore[no-untyped-call]
        return u, before, last
    return _run(written, erased, keys, decay, state, None)


class _Carry(torch.autograd.Function):
    """The loop over the chunks, whose backward is the loop from the last to the first."""

    @staticmethod
    def forward(
        ctx: Any, written: Tensor, erased: Tensor, keys: Tensor, decay: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        u, before, last = _run(written, erased, keys, decay, state, None)
        ctx.save_for_backward(written, erased, keys, decay, state, u, before)
        return u, before, last

    @staticmethod
    def backward(
        ctx: Any, grad_u: Tensor, grad_before: Tensor, grad_last: Tensor
    ) -> tuple[Tensor | None, ...]:
        *given, u, before = ctx.saved_tensors
        if torch.is_grad_enabled():
            cotangents = (grad_u, grad_before, grad_last)
            return differentiable(fast.carry, given, cotangents)
        _, erased, keys, decay, _ = given
        of_u, after, of_state = _run(grad_u, keys, erased, decay, grad_last, grad_before)
        of_keys = u @ after.mT
        of_decay = (before * after).sum((-2, -1), keepdim=True)
        return of_u, -(of_u @ before.mT), of_keys, of_decay, of_state


def _run(
    added: Tensor,
    reading: Tensor,
    writing: Tensor,
    decay: Tensor,
    state: Tensor,
    more: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run u = added - reading S, S = decay S + writing^T u over the chunks, forward.

    With `more`, backward: u = added + reading S, S = decay S + more - writing^T u from the last
    chunk to the first. Returns u, the S that each chunk met, and the last S.
    """
    n_rows, n_chunks, heads, chunk, p = added.shape
    n = reading.shape[-1]
    before = added.new_empty(n_rows, n_chunks, heads, n, p)
    u, last = added.new_empty(added.shape), added.new_empty(n_rows, heads, n, p)
    # The state lies in registers, a block of P in tiles of N.
    block_p, block_n = (32, 64) if n <= 64 else (16, 32)
    block_p = min(block_p, triton_support.power_of_two(p, 16))
    block_n = min(block_n, triton_support.power_of_two(n, 16))
    inputs = [z.contiguous() for z in (added, reading, writing, decay, state)]
    triton_support.launch(
        _all_chunks,
        n_rows * heads * triton.cdiv(p, block_p),
        *(*inputs, before if more is None else more.contiguous(), u, before, last),
        *(n_chunks, heads, p, n),
        BACKWARD=more is not None,
        CHUNK=chunk,
        BLOCK_P=block_p,
        BLOCK_N=block_n,
        TILES=triton.cdiv(n, block_n),
        **triton_support.product_options(added),
    )
    return u, before, last


@triton.jit(do_not_specialize=["n_chunks"])
def _all_chunks(
    added,
    reading,
    writing,
    decay,
    start,
    more,
    u,
    before,
    last,
    n_chunks,
    heads,
    p_width,
    n_width,
    BACKWARD: tl.constexpr,
    PRECISION: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    TILES: tl.constexpr,
):
    """Carry one block of P of one row's head (N, P) through all chunks."""
    p_blocks = tl.cdiv(p_width, BLOCK_P)
    p = tl.program_id(0) % p_blocks * BLOCK_P + tl.arange(0, BLOCK_P)
    place = (tl.program_id(0) // p_blocks).to(tl.int64)
    row, head = place // heads, place % heads
    i, inside = tl.arange(0, CHUNK), (p < p_width)[None, :]
    state = _load_state(start, place, n_width, p, p_width, BLOCK_N, TILES)
    s = 0
    while s < n_chunks:
        chunk = n_chunks - 1 - s if BACKWARD else s
        at = (row * n_chunks + chunk) * heads + head
        steps = at * CHUNK + i
        _store_state(before, at, state, n_width, p, p_width, BLOCK_N, TILES)
        of_steps = steps[:, None] * p_width + p[None, :]
        now = tl.load(added + of_steps, mask=inside, other=0.0).to(tl.float32)
        for k in tl.static_range(TILES):
            n = k * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
            of_reading = reading + steps[:, None] * n_width + n
            read = tl.load(of_reading, mask=n < n_width, other=0.0).to(tl.float32)
            found = tl.dot(read, state[k], input_precision=PRECISION)
            now = now + found if BACKWARD else now - found
        tl.store(u + of_steps, now, mask=inside)
        kept = tl.load(decay + at).to(tl.float32)
        if BACKWARD:
            extra = _load_state(more, at, n_width, p, p_width, BLOCK_N, TILES)
        after = ()  # type: Any
        for k in tl.static_range(TILES):
            n = k * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
            of_writing = writing + steps[None, :] * n_width + n
            turned = tl.load(of_writing, mask=n < n_width, other=0.0).to(tl.float32)
            found = tl.dot(turned, now, input_precision=PRECISION)
            if BACKWARD:
                after += (state[k] * kept + extra[k] - found,)
            else:
                after += (state[k] * kept + found,)
        state = after
        s += 1
    _store_state(last, place, state, n_width, p, p_width, BLOCK_N, TILES)


@triton.jit
def _load_state(states, at, n_width, p, p_width, BLOCK_N: tl.constexpr, TILES: tl.constexpr):
    """Load one block of P of the state (N, P) at a place, as a tuple of tiles of N."""
    tiles = ()  # type: Any
    for k in tl.static_range(TILES):
        n = k * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
        mask = (n < n_width) & (p < p_width)[None, :]
        of_tile = states + (at * n_width + n) * p_width + p[None, :]
        tiles += (tl.load(of_tile, mask=mask, other=0.0).to(tl.float32),)
    return tiles


@triton.jit
def _store_state(
    states, at, tiles, n_width, p, p_width, BLOCK_N: tl.constexpr, TILES: tl.constexpr
):
    """Store what `_load_state` loads."""
    for k in tl.static_range(TILES):
        n = k * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
        mask = (n < n_width) & (p < p_width)[None, :]
        tl.store(states + (at * n_width + n) * p_width + p[None, :], tiles[k], mask=mask)
