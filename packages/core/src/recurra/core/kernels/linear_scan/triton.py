"""The GPU form of `linear_scan`: each thread carries one element through a chunk of the steps.

Where rows and elements alone do not fill a GPU, the steps are cut into chunks: a first pass gives
each chunk's product of decays and its end from a zero state, a scan over the chunks their starts,
and a last pass the states. The choice depends on shapes only, so that repeats are equal to the bit.
The gradient is the same run in the other direction. To be differentiated twice, it is made of
differentiable pieces instead, those of the portable form.

Roofline: with a decay for each element, a run without chunks moves 12 bytes and does 2 FLOPs for
each element and step (reads a and b, writes h), with chunks 20 bytes and 5 FLOPs; backward 20 and
28 bytes (reads a, grad and h, writes two gradients). It is bound by memory on every chip: (8, 4096,
2048) moves 0.8 GB forward, 0.24 ms at the 3.35 TB/s of an H100. A decay that many elements share
stays in the cache. No GPU was at hand when this was written: these are counts, not measurements.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recurra.core.kernels import triton_support
from recurra.core.kernels.linear_scan import fast

_BLOCK = 128  # elements of a program, one a thread
_PROGRAMS = 512  # enough for about four on each of an H100's 132 multiprocessors
_CHUNK = 128  # steps of a chunk at least: the scan over the chunks is as long as one at T = 16k
_RUNTIME = ["n_steps", "n_chunks", "steps", "width", "a_row", "a_step", "a_repeat", "a_count"]


def scan(a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """Run h = a * h + b over axis 1 from h0: a (1 or B, T, ...), b (B, T, ...), h0 (B, ...)."""
    if b.numel() == 0:
        return fast.scan(a, b, h0, reverse)
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad or h0.requires_grad):
        h, last = _Scan.apply(a, b, h0, reverse)  # type: ignore[no-untyped-call]
        return h, last
    h, last, _ = _scan(a, b, h0, reverse)
    return h, last


class _Scan(torch.autograd.Function):
    """The scan, whose backward is the scan in the other direction."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
        h, last, _ = _scan(a, b, h0, reverse)
        ctx.reverse = reverse
        ctx.save_for_backward(a, *((h0, h) if ctx.needs_input_grad[0] else ()))
        return h, last

    @staticmethod
    def backward(
        ctx: Any, grad_h: Tensor, grad_last: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, None]:
        if torch.is_grad_enabled():
            return fast.gradients(ctx, grad_h, grad_last)
        a, *states = ctx.saved_tensors
        grad_b, end, grad_a = _scan(a, grad_h, grad_last, not ctx.reverse, states)
        first = a[:, -1] if ctx.reverse else a[:, 0]
        if grad_a is not None:
            grad_a = grad_a.sum_to_size(a.shape)
        return grad_a, grad_b, end * first, None


def _scan(
    a: Tensor, b: Tensor, start: Tensor, reverse: bool, states: list[Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run the scan; with `states` (none, or h0 and h of the scan whose gradient this is) backwards.

    Backwards, each step meets the decay of the step that was run before it, the first meets 1, and
    the third result is the gradient to the decays, element by element, if there are states.
    """
    n_rows, n_steps = b.shape[:2]
    width = b[0, 0].numel()
    decays, *pattern = _narrowed(a, b.shape[2:])
    block = triton_support.power_of_two(min(width, _BLOCK), 32)
    n_blocks = triton.cdiv(width, block)
    n_chunks = min(triton.cdiv(_PROGRAMS, n_rows * n_blocks), triton.cdiv(n_steps, _CHUNK))
    steps = triton.cdiv(n_steps, n_chunks)
    n_chunks = triton.cdiv(n_steps, steps)
    options: dict[str, Any] = {"REVERSE": reverse, "BACKWARD": states is not None}
    options |= {"BLOCK": block, "num_warps": block // 32}
    numbers = (n_steps, n_chunks, steps, width, *pattern)

    b, starts = b.contiguous(), start.contiguous().unsqueeze(1)
    if n_chunks > 1:
        products, ends = (b.new_empty(n_rows, n_chunks, *b.shape[2:]) for _ in range(2))
        programs = n_rows * n_chunks * n_blocks
        triton_support.launch(_summary, programs, decays, b, products, ends, *numbers, **options)
        after, _, _ = _scan(products, ends, start, False)
        starts = torch.cat([starts, after[:, :-1]], dim=1)
    h, last = torch.empty_like(b), torch.empty_like(starts[:, 0])
    grad_a = torch.empty_like(b) if states else None
    kept = [x.contiguous() for x in states] if states else [last, h]
    triton_support.launch(
        _run,
        n_rows * n_chunks * n_blocks,
        decays,
        b,
        starts,
        h,
        last,
        *kept,
        h if grad_a is None else grad_a,
        *numbers,
        **options,
        GRAD_A=grad_a is not None,
    )
    return h, last, grad_a


def _narrowed(a: Tensor, shape: torch.Size) -> tuple[Tensor, int, int, int, int]:
    """Return the decays without copies of them, and how to find that of row i, step t, element e.

    It lies at i * a_row + t * a_step + e // a_repeat % a_count. A decay for all steps, channels or
    heads, which the front does not repeat in memory, is read again from where it lies. `shape` is
    that of one step of b.
    """
    if a.stride(1) == 0:
        a = a[:, :1]
    own = [i for i, (n, m) in enumerate(zip(a.shape[2:], shape, strict=True)) if n == m != 1]
    inner = slice(own[0], own[-1] + 1) if own else slice(0, 0)
    if a.shape[2:][inner] != shape[inner]:  # shared by axes between those that it has
        a, inner = a.expand(*a.shape[:2], *shape), slice(0, len(shape))
    a = a.contiguous()
    count, repeat = math.prod(shape[inner]), math.prod(shape[inner.stop :])
    row = 0 if a.shape[0] == 1 else a.stride(0)
    return a, row, 0 if a.shape[1] == 1 else count, repeat, count


# Below, s counts steps in the order in which they are run and t is where they lie in memory.


@triton.jit
def _time(s, n_steps, REVERSE: tl.constexpr):
    return ((n_steps - 1 - s) if REVERSE else s).to(tl.int64)


@triton.jit
def _decay(a_at, a_step, s, end, n_steps, inside, REVERSE: tl.constexpr, BACKWARD: tl.constexpr):
    """Load the decay of step s, or the identity beyond the end."""
    met = s - 1 if BACKWARD else s
    at = a_at + _time(met, n_steps, REVERSE) * a_step
    return tl.load(at, mask=inside & (s < end) & (met >= 0), other=1.0).to(tl.float32)


@triton.jit
def _added(b_at, width, s, end, n_steps, inside, REVERSE: tl.constexpr):
    """Load what step s adds, or zero beyond the end."""
    at = b_at + _time(s, n_steps, REVERSE) * width
    return tl.load(at, mask=inside & (s < end), other=0.0).to(tl.float32)


@triton.jit
def _place(n_chunks, width, BLOCK: tl.constexpr):
    """Return which row, chunk and elements this program has, and which of these exist."""
    n_blocks = tl.cdiv(width, BLOCK)
    program = tl.program_id(0)
    e = program % n_blocks * BLOCK + tl.arange(0, BLOCK)
    chunk = program // n_blocks % n_chunks
    return (program // n_blocks // n_chunks).to(tl.int64), chunk, e, e < width


@triton.jit(do_not_specialize=_RUNTIME)
def _summary(
    a,
    b,
    products,
    ends,
    n_steps,
    n_chunks,
    steps,
    width,
    a_row,
    a_step,
    a_repeat,
    a_count,
    REVERSE: tl.constexpr,
    BACKWARD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write each chunk's product of decays and its end from a zero state: (B, n_chunks, width)."""
    row, chunk, e, inside = _place(n_chunks, width, BLOCK)
    a_at = a + row * a_row + e // a_repeat % a_count
    b_at = b + row * n_steps * width + e
    s = chunk * steps
    end = tl.minimum(s + steps, n_steps)
    product = tl.full((BLOCK,), 1.0, tl.float32)
    state = tl.zeros((BLOCK,), tl.float32)
    while s < end:
        # Two steps are loaded before either is needed.
        a0 = _decay(a_at, a_step, s, end, n_steps, inside, REVERSE, BACKWARD)
        a1 = _decay(a_at, a_step, s + 1, end, n_steps, inside, REVERSE, BACKWARD)
        b0 = _added(b_at, width, s, end, n_steps, inside, REVERSE)
        b1 = _added(b_at, width, s + 1, end, n_steps, inside, REVERSE)
        state = a1 * (a0 * state + b0) + b1
        product = product * a0 * a1
        s += 2
    at = (row * n_chunks + chunk) * width + e
    tl.store(products + at, product, mask=inside)
    tl.store(ends + at, state, mask=inside)


@triton.jit(do_not_specialize=_RUNTIME)
def _run(
    a,
    b,
    starts,
    h,
    last,
    forward_start,
    forward_h,
    grad_a,
    n_steps,
    n_chunks,
    steps,
    width,
    a_row,
    a_step,
    a_repeat,
    a_count,
    REVERSE: tl.constexpr,
    BACKWARD: tl.constexpr,
    GRAD_A: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the states h (B, T, width) of each chunk from its start, and the last (B, width).

    With GRAD_A, h are gradients, and the gradient to a decay is h times the state that the forward
    scan had before this step: it is the one after the step that comes next here.
    """
    row, chunk, e, inside = _place(n_chunks, width, BLOCK)
    a_at = a + row * a_row + e // a_repeat % a_count
    first = row * n_steps * width + e
    s = chunk * steps
    end = tl.minimum(s + steps, n_steps)
    start_at = starts + (row * n_chunks + chunk) * width + e
    state = tl.load(start_at, mask=inside, other=0.0).to(tl.float32)
    while s < end:
        # Four steps are loaded before any is needed, and stored after: a load takes much longer.
        a0 = _decay(a_at, a_step, s, end, n_steps, inside, REVERSE, BACKWARD)
        a1 = _decay(a_at, a_step, s + 1, end, n_steps, inside, REVERSE, BACKWARD)
        a2 = _decay(a_at, a_step, s + 2, end, n_steps, inside, REVERSE, BACKWARD)
        a3 = _decay(a_at, a_step, s + 3, end, n_steps, inside, REVERSE, BACKWARD)
        b0 = _added(b + first, width, s, end, n_steps, inside, REVERSE)
        b1 = _added(b + first, width, s + 1, end, n_steps, inside, REVERSE)
        b2 = _added(b + first, width, s + 2, end, n_steps, inside, REVERSE)
        b3 = _added(b + first, width, s + 3, end, n_steps, inside, REVERSE)
        h0 = a0 * state + b0
        h1 = a1 * h0 + b1
        h2 = a2 * h1 + b2
        state = a3 * h2 + b3
        for k in tl.static_range(4):
            now = h0 if k == 0 else (h1 if k == 1 else (h2 if k == 2 else state))
            at = first + _time(s + k, n_steps, REVERSE) * width
            mask = inside & (s + k < end)
            tl.store(h + at, now, mask=mask)
            if GRAD_A:
                to = s + k + 1
                later = forward_h + first + _time(to, n_steps, REVERSE) * width
                before = tl.load(later, mask=mask & (to < n_steps), other=0.0).to(tl.float32)
                begin_at = forward_start + row * width + e
                begin = tl.load(begin_at, mask=mask & (to == n_steps), other=0.0).to(tl.float32)
                tl.store(grad_a + at, now * (before + begin), mask=mask)
        s += 4
    if chunk == n_chunks - 1:
        tl.store(last + row * width + e, state, mask=inside)
