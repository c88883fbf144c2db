"""The GPU form of `prefix_attention`: 32 steps of a head at once, with the state in registers.

With m_t the largest score of the prefix, w_t and u_t the lower and the upper sum relative to it,

    u_t = sum over i <= t of e^(s_i - m_t) v_i + e^(m_0 - m_t) u_0,   y_t = u_t / w_t,

where 0 is what came before the tile: a triangular matrix times v. No exponent is positive. Backward
is the same in the other direction. With g_t the gradient to y_t and G after the tile,

    G_i = sum over t >= i of e^(m_i - m_t) [g_t, -g_t . y_t] / w_t + e^(m_i - m_after) G_after,
    dv_i = e^(s_i - m_i) G_i[:E],   ds_i = e^(s_i - m_i) (v_i . G_i[:E] + G_i[E]).

Where heads alone do not fill a GPU, the steps are cut into chunks: a first pass gives each chunk's
sums from nothing, `linear_scan` what the chunks start from, and a last pass the results. The choice
depends on shapes only, so that repeats are equal to the bit. To be differentiated twice, the
portable form is differentiated instead.

Source: Feng et al. 2024 (arXiv 2405.13956, sections 3.1 and 3.2).

Roofline, for each row, step and head: 8 E bytes forward without chunks (reads v, writes y), 12 E
with them, and 64 E FLOPs; backward 16 E bytes (v, y, g, dv) or 24 E. At 8 FLOPs a byte, three TF32
products for each, it is bound by memory: (4, 8192, 16, 64) moves 0.4 GB in chunks, 0.12 ms at the
3.35 TB/s of an H100. The scores, which PyTorch makes, read k besides. No GPU was at hand when this
was written: these are counts, not measurements.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recurra.core.kernels import triton_support
from recurra.core.kernels.linear_scan import triton as linear_scan
from recurra.core.kernels.prefix_attention import fast
from recurra.core.kernels.second_derivatives import differentiable

_TILE = 32  # steps
_BLOCK = 64  # elements of v
_PROGRAMS = 512  # enough for about four on each of an H100's 132 multiprocessors
_CHUNK = 256  # steps of a chunk at least
_RUNTIME = ["n_steps", "n_chunks", "steps"]


def attend(scores: Tensor, v: Tensor, sums: Tensor, top: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Average v over each prefix as `fast.attend` does: y, the last sums, the last top."""
    if v.numel() == 0:
        return fast.attend(scores, v, sums, top)
    given = (scores, v, sums, top)
    if torch.is_grad_enabled() and any(z.requires_grad for z in given):
        y, last, last_top = _Attend.apply(*given)  # type: ignore[no-untyped-call]
        return y, last, last_top
    y, last, last_top, _, _ = _forward(*given)
    return y, last, last_top


class _Attend(torch.autograd.Function):
    """The running softmax; the largest scores carry no gradient."""

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, v: Tensor, sums: Tensor, top: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, last, last_top, lowers, tops = _forward(scores, v, sums, top)
        ctx.save_for_backward(scores, v, sums, top, y, lowers, tops)
        ctx.mark_non_differentiable(last_top)
        return y, last, last_top

    @staticmethod
    def backward(
        ctx: Any, grad_y: Tensor, grad_last: Tensor, _: Tensor
    ) -> tuple[Tensor | None, ...]:
        scores, v, sums, top, y, lowers, tops = ctx.saved_tensors
        if torch.is_grad_enabled():
            given = (scores, v, sums, top)
            return differentiable(fast.attend, given, (grad_y, grad_last))
        return (*_backward(scores, v, top, y, lowers, tops, grad_y, grad_last), None)


def _cut(v: Tensor) -> tuple[int, int, tuple[int, ...], dict[str, Any]]:
    """Return chunks, blocks of elements, the numbers and the constants of both kernels' launches.

    Programs are rows x chunks x heads x blocks.
    """
    n_rows, n_steps, heads, width = v.shape
    block = min(_BLOCK, triton_support.power_of_two(width, 16))
    n_blocks = triton.cdiv(width, block)
    n_chunks = min(triton.cdiv(_PROGRAMS, n_rows * heads * n_blocks), triton.cdiv(n_steps, _CHUNK))
    steps = triton.cdiv(triton.cdiv(n_steps, n_chunks), _TILE) * _TILE
    n_chunks = triton.cdiv(n_steps, steps)
    options = triton_support.product_options(v) | {"TILE": _TILE, "BLOCK": block}
    return n_chunks, n_blocks, (n_steps, n_chunks, steps, heads, width), options


def _forward(scores: Tensor, v: Tensor, sums: Tensor, top: Tensor) -> tuple[Tensor, ...]:
    """Return y, the last sums and top, and the lower sums and tops of all steps (B, T, H)."""
    scores, v = scores.contiguous(), v.contiguous()
    n_chunks, n_blocks, numbers, options = _cut(v)
    n_rows, _, heads, width = v.shape
    programs = n_rows * n_chunks * heads * n_blocks
    y, lowers, tops = torch.empty_like(v), torch.empty_like(scores), torch.empty_like(scores)
    uppers = v.new_empty(n_rows, n_chunks, heads, width)
    ends = (uppers, *(v.new_empty(n_rows, n_chunks, heads) for _ in range(2)))

    def run(starts: Tensor, start_tops: Tensor, write: bool) -> tuple[Tensor, Tensor]:
        given = (scores, v, starts[..., :-1].contiguous(), starts[..., -1].contiguous())
        tensors = (*given, start_tops.contiguous(), y, lowers, tops, *ends)
        triton_support.launch(_average, programs, *tensors, *numbers, **options, WRITE=write)
        return torch.cat([uppers, ends[1].unsqueeze(-1)], dim=-1), ends[2]

    starts, start_tops = sums.unsqueeze(1), top.unsqueeze(1)
    if n_chunks > 1:
        nothing = starts.new_zeros(n_rows, n_chunks, heads, width + 1)
        lowest = torch.full_like(ends[2], torch.finfo(v.dtype).min)
        added, highest = run(nothing, lowest, False)
        higher = torch.cat([start_tops, highest], dim=1).cummax(dim=1).values
        decay = torch.exp(higher[:, :-1] - higher[:, 1:]).unsqueeze(-1)
        added = torch.exp(highest - higher[:, 1:]).unsqueeze(-1) * added
        with torch.no_grad():
            after, _ = linear_scan.scan(decay, added, sums, False)
        starts, start_tops = torch.cat([starts, after[:, :-1]], dim=1), higher[:, :-1]
    last, last_top = run(starts, start_tops, True)
    return y, last[:, -1], last_top[:, -1], lowers, tops


def _backward(
    scores: Tensor,
    v: Tensor,
    top: Tensor,
    y: Tensor,
    lowers: Tensor,
    tops: Tensor,
    grad_y: Tensor,
    grad_last: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients to the scores, to v and to the sums before."""
    scores, v, grad_y = scores.contiguous(), v.contiguous(), grad_y.contiguous()
    n_chunks, n_blocks, numbers, options = _cut(v)
    n_rows, n_steps, heads, width = v.shape
    programs = n_rows * n_chunks * heads * n_blocks
    # Each block of elements has its part of what is summed over them; they are added at the end.
    grad_scores = v.new_empty(n_rows, n_steps, heads, n_blocks)
    grad_v = torch.empty_like(v)
    uppers = v.new_empty(n_rows, n_chunks, heads, width)
    parts = v.new_empty(n_rows, n_chunks, heads, n_blocks)

    def run(starts: Tensor, write: bool) -> Tensor:
        given = (starts[..., :width].contiguous(), starts[..., width:].contiguous())
        tensors = (scores, v, y, grad_y, lowers, tops, *given, grad_scores, grad_v, uppers, parts)
        triton_support.launch(_carry_back, programs, *tensors, *numbers, **options, WRITE=write)
        return torch.cat([uppers, parts], dim=-1)

    others = grad_last.new_zeros(n_rows, heads, n_blocks - 1)
    end = torch.cat([grad_last, others], dim=-1)
    starts = end.unsqueeze(1)
    if n_chunks > 1:
        added = run(starts.new_zeros(n_rows, n_chunks, heads, width + n_blocks), False)
        steps = numbers[2]
        after = torch.cat([tops[:, steps::steps], tops[:, -1:]], dim=1)
        decay = torch.exp(tops[:, ::steps] - after).unsqueeze(-1)
        h, _ = linear_scan.scan(decay, added, end, True)
        starts = torch.cat([h[:, 1:], starts], dim=1)
    first = run(starts, True)[:, 0] * torch.exp(top - tops[:, 0]).unsqueeze(-1)
    lower = first[..., width:].sum(-1, keepdim=True)
    return grad_scores.sum(-1), grad_v, torch.cat([first[..., :width], lower], dim=-1)


@triton.jit
def _place(n_chunks, heads, width, BLOCK: tl.constexpr):
    """Return this program's row, chunk, head and block, and its place among those of (B, n, H)."""
    n_blocks = tl.cdiv(width, BLOCK)
    place = tl.program_id(0) // n_blocks
    row = (place // heads // n_chunks).to(tl.int64)
    return row, place // heads % n_chunks, place % heads, tl.program_id(0) % n_blocks, place


@triton.jit(do_not_specialize=_RUNTIME)
def _average(
    scores,
    v,
    start_upper,
    start_lower,
    start_top,
    y,
    lowers,
    tops,
    end_upper,
    end_lower,
    end_top,
    n_steps,
    n_chunks,
    steps,
    heads,
    width,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    WRITE: tl.constexpr,
):
    """Carry a chunk's sums from its start to its end; with WRITE, write y and what backward needs.

    The first block of a head's elements writes what has no elements.
    """
    row, chunk, head, block, place = _place(n_chunks, heads, width, BLOCK)
    e = block * BLOCK + tl.arange(0, BLOCK)
    state_at = place.to(tl.int64) * width + e
    upper = tl.load(start_upper + state_at, mask=e < width, other=0.0).to(tl.float32)
    lower = tl.load(start_lower + place).to(tl.float32)
    top = tl.load(start_top + place).to(tl.float32)
    i = tl.arange(0, TILE)
    start = chunk * steps
    end = tl.minimum(start + steps, n_steps)
    while start < end:
        exists = start + i < end
        at = (row * n_steps + start + i) * heads + head
        mask = exists[:, None] & (e < width)[None, :]
        score = tl.load(scores + at, mask=exists, other=float("-inf")).to(tl.float32)
        value = tl.load(v + at[:, None] * width + e[None, :], mask=mask, other=0.0).to(tl.float32)
        seen = i[:, None] >= i[None, :]
        highest = tl.max(tl.where(seen, score[None, :], float("-inf")), axis=1)
        highest = tl.maximum(highest, top)
        weight = tl.exp(tl.where(seen, score[None, :] - highest[:, None], float("-inf")))
        decay = tl.exp(top - highest)
        tile_upper = tl.dot(weight, value, input_precision=PRECISION)
        tile_upper += decay[:, None] * upper[None, :]
        tile_lower = tl.sum(weight, axis=1) + decay * lower
        if WRITE:
            divisor = tl.where(tile_lower == 0, 1.0, tile_lower)
            y_at = y + at[:, None] * width + e[None, :]
            tl.store(y_at, tile_upper / divisor[:, None], mask=mask)
            tl.store(lowers + at, tile_lower, mask=exists & (block == 0))
            tl.store(tops + at, highest, mask=exists & (block == 0))
        upper = tl.sum(tl.where((i == TILE - 1)[:, None], tile_upper, 0.0), axis=0)
        lower = tl.sum(tl.where(i == TILE - 1, tile_lower, 0.0), axis=0)
        top = tl.max(highest, axis=0)
        start += TILE
    tl.store(end_upper + state_at, upper, mask=e < width)
    tl.store(end_lower + place, lower, mask=block == 0)
    tl.store(end_top + place, top, mask=block == 0)


@triton.jit(do_not_specialize=_RUNTIME)
def _carry_back(
    scores,
    v,
    y,
    grad,
    lowers,
    tops,
    start_upper,
    start_part,
    grad_scores,
    grad_v,
    end_upper,
    end_part,
    n_steps,
    n_chunks,
    steps,
    heads,
    width,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    WRITE: tl.constexpr,
):
    """Carry G from a chunk's last step to its first; with WRITE, write the gradients on the way."""
    row, chunk, head, block, place = _place(n_chunks, heads, width, BLOCK)
    n_blocks = tl.cdiv(width, BLOCK)
    e = block * BLOCK + tl.arange(0, BLOCK)
    state_at = place.to(tl.int64) * width + e
    upper = tl.load(start_upper + state_at, mask=e < width, other=0.0).to(tl.float32)
    part = tl.load(start_part + place * n_blocks + block).to(tl.float32)
    i = tl.arange(0, TILE)
    first = chunk * steps
    end = tl.minimum(first + steps, n_steps)
    start = first + (end - first - 1) // TILE * TILE
    while start >= first:
        exists = start + i < end
        at = (row * n_steps + start + i) * heads + head
        mask = exists[:, None] & (e < width)[None, :]
        both = at[:, None] * width + e[None, :]
        g = tl.load(grad + both, mask=mask, other=0.0).to(tl.float32)
        average = tl.load(y + both, mask=mask, other=0.0).to(tl.float32)
        lower = tl.load(lowers + at, mask=exists, other=1.0).to(tl.float32)
        top = tl.load(tops + at, mask=exists, other=0.0).to(tl.float32)
        after_at = (row * n_steps + tl.minimum(start + TILE, n_steps - 1)) * heads + head
        after = tl.load(tops + after_at).to(tl.float32)
        decay = tl.exp(tl.where(exists, top - after, float("-inf")))
        lower = tl.where(lower == 0, 1.0, lower)
        ahead = (i[:, None] <= i[None, :]) & exists[None, :]
        weight = tl.exp(tl.where(ahead, top[:, None] - top[None, :], float("-inf")))
        tile_upper = tl.dot(weight, g / lower[:, None], input_precision=PRECISION)
        tile_upper += decay[:, None] * upper[None, :]
        error = -tl.sum(g * average, axis=1) / lower
        tile_part = tl.sum(weight * error[None, :], axis=1) + decay * part
        if WRITE:
            score = tl.load(scores + at, mask=exists, other=float("-inf")).to(tl.float32)
            value = tl.load(v + both, mask=mask, other=0.0).to(tl.float32)
            own = tl.exp(score - top)
            to_score = own * (tl.sum(value * tile_upper, axis=1) + tile_part)
            tl.store(grad_v + both, own[:, None] * tile_upper, mask=mask)
            tl.store(grad_scores + at * n_blocks + block, to_score, mask=exists)
        upper = tl.sum(tl.where((i == 0)[:, None], tile_upper, 0.0), axis=0)
        part = tl.sum(tl.where(i == 0, tile_part, 0.0), axis=0)
        start -= TILE
    tl.store(end_upper + state_at, upper, mask=e < width)
    tl.store(end_part + place * n_blocks + block, part)
