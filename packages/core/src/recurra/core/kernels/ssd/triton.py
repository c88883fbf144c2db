"""The GPU form of `ssd`: chunks of 64 steps at once, products of matrices in each.

A first kernel gives what each chunk adds to the state, `linear_scan` the states before the chunks,
and a second kernel the outputs. The gradients to x, b and c are runs of the same two kernels, with
the parts of the arguments exchanged: with dS the gradient to a state,

    dS_t = dy_t c_t^T + a_(t+1) dS_(t+1),
    dx_t = dS_t b_t,   db_t = dS_t^T x_t,   dc_t = S_t^T dy_t.

That to log_a follows from them without the states. From dlog_a_t = <a_t S_(t-1), dS_t> and the two
recurrences, dlog_a_t = dlog_a_(t+1) + <y_t, dy_t> - <x_t, dx_t>. Its error is that of a sum over
time. To be differentiated twice, the portable form is differentiated instead.

Source: Dao & Gu 2024 (arXiv 2405.21060, section 6); the gradient to the decay is Yang et al. 2024,
"Gated linear attention" (arXiv 2312.06635, appendix), for one decay a head.

Roofline, for each row, step and head, with P = N = D: 4 (4 D + 1) bytes in and out and 8 D D / 64
bytes for each of three passes over the chunks' states; about 4 * 64 D + 4 D^2 FLOPs and, as c b^T
is made anew for every 32 of P, 2 * 64 D (D / 32 - 1) more: 41,000 at D = 64, against some 2,600
bytes, 16 FLOPs a byte. In three TF32 products for each (165 TFLOP/s of an H100's 495) it is bound
by memory: (8, 4096, 32, 64) moves 2.7 GB, 0.8 ms at 3.35 TB/s. Backward is three such runs. No GPU
was at hand when this was written: these are counts, not measurements.
"""

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recurra.core.kernels import triton_support
from recurra.core.kernels.linear_scan import triton as linear_scan
from recurra.core.kernels.second_derivatives import differentiable
from recurra.core.kernels.ssd import fast

_CHUNK = 64
_BLOCK = 32  # of P and of N: with 64, three TF32 products do not find room in the registers
_RUNTIME = ["n_steps", "x_repeat", "b_repeat", "c_repeat"]


def ssd(x: Tensor, log_a: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run x (B, T, H, P), log_a (B, T, H), b and c (B, T, G, N) from state (B, H, P, N)."""
    given = (x, log_a, b, c, state)
    if torch.is_grad_enabled() and any(z.requires_grad for z in given):
        y, last = _Ssd.apply(*given)  # type: ignore[no-untyped-call]
        return y, last
    return _run(*given)


class _Ssd(torch.autograd.Function):
    """The chunked run, whose backward is three of them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, log_a: Tensor, b: Tensor, c: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        y, last = _run(x, log_a, b, c, state)
        ctx.save_for_backward(x, log_a, b, c, state, y, last)
        return y, last

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        *given, y, last = ctx.saved_tensors
        if torch.is_grad_enabled():
            portable = partial(fast.ssd, chunk=min(_CHUNK, given[0].shape[1]))
            return differentiable(portable, given, (grad_y, grad_last))
        x, log_a, b, c, state = given
        split = (b.shape[2], -1)  # (G, R): R heads share a group's b and c
        grad_x, end = _run(grad_y, log_a, c, b, grad_last, backward=True)
        grad_b, _ = _run(c, log_a, grad_y, x, grad_last.mT, backward=True)
        grad_c, _ = _run(b, log_a, x, grad_y, state.mT)
        change = (y * grad_y).sum(-1) - (x * grad_x).sum(-1)
        later = change.flip(1).cumsum(1).flip(1)
        return (
            grad_x,
            later + (last * grad_last).sum((-2, -1)).unsqueeze(1),
            torch.unflatten(grad_b, 2, split).sum(3),
            torch.unflatten(grad_c, 2, split).sum(3),
            end * log_a[:, 0, :, None, None].exp(),
        )


def _run(
    x: Tensor, log_a: Tensor, b: Tensor, c: Tensor, state: Tensor, *, backward: bool = False
) -> tuple[Tensor, Tensor]:
    """Run S_t = a_t S_(t-1) + x_t b_t^T, y_t = S_t c_t for the H heads of log_a, from `state`.

    Each of x, b and c is (B, T, heads or groups, width). With `backward`, from the last step to the
    first, each with the decay of the one after it, the last with 1.
    """
    n_rows, n_steps, heads = log_a.shape
    n_chunks = triton.cdiv(n_steps, _CHUNK)
    x, log_a, b, c, state = (z.contiguous() for z in (x, log_a, b, c, state))
    p, n = x.shape[3], b.shape[3]
    repeats = [heads // z.shape[2] for z in (x, b, c)]
    block_p, block_n = (min(_BLOCK, triton_support.power_of_two(width, 16)) for width in (p, n))
    options: dict[str, Any] = {
        "BACKWARD": backward,
        "CHUNK": _CHUNK,
        "BLOCK_P": block_p,
        "BLOCK_N": block_n,
    }
    options |= triton_support.product_options(x)
    programs = n_rows * n_chunks * heads * triton.cdiv(p, block_p)

    decays = x.new_empty(n_rows, n_chunks, heads, 1, 1)
    added = x.new_empty(n_rows, n_chunks, heads, p, n)
    triton_support.launch(
        _add,
        programs * triton.cdiv(n, block_n),
        *(x, log_a, b, decays, added),
        *(n_steps, heads, p, n, *repeats[:2]),
        **options,
    )
    with torch.no_grad():
        after, last = linear_scan.scan(decays, added, state, False)
    before = torch.cat([state.unsqueeze(1), after[:, :-1]], dim=1)
    y = x.new_empty(n_rows, n_steps, heads, p)
    triton_support.launch(
        _read,
        programs,
        *(x, log_a, b, c, before, y),
        *(n_steps, heads, p, n, *repeats),
        **options,
    )
    return y, last


# Below, s counts steps in the order in which they are run and t is where they lie in memory.


@triton.jit
def _log_decays(
    log_a, row, head, first, n_steps, heads, CHUNK: tl.constexpr, BACKWARD: tl.constexpr
):
    """Load the logarithms of a chunk's decays (CHUNK,): zero, which keeps, beyond the end."""
    s = first + tl.arange(0, CHUNK)
    if BACKWARD:
        at = n_steps - s  # the decay of the step that was run before
        mask = (s < n_steps) & (s > 0)
    else:
        at = s
        mask = s < n_steps
    at = log_a + (row * n_steps + at) * heads + head
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def steps(row, group, groups, first, n_steps, width, CHUNK: tl.constexpr, BACKWARD: tl.constexpr):
    """Return where a chunk's steps lie in (B, T, groups, width), and which exist: (CHUNK,)."""
    s = first + tl.arange(0, CHUNK)
    t = (n_steps - 1 - s) if BACKWARD else s
    return ((row * n_steps + t) * groups + group) * width, s < n_steps


@triton.jit(do_not_specialize=_RUNTIME)
def _add(
    x,
    log_a,
    b,
    decays,
    added,
    n_steps,
    heads,
    p_width,
    n_width,
    x_repeat,
    b_repeat,
    BACKWARD: tl.constexpr,
    PRECISION: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write each chunk's decay (B, n, H), and what it adds to the state (B, n, H, P, N)."""
    program = tl.program_id(0)
    n_blocks, p_blocks = tl.cdiv(n_width, BLOCK_N), tl.cdiv(p_width, BLOCK_P)
    n = program % n_blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    p = program // n_blocks % p_blocks * BLOCK_P + tl.arange(0, BLOCK_P)
    place = program // n_blocks // p_blocks  # of this row, chunk and head
    head = place % heads
    chunk = place // heads % tl.cdiv(n_steps, CHUNK)
    row = (place // heads // tl.cdiv(n_steps, CHUNK)).to(tl.int64)

    first = chunk * CHUNK
    log_decay = _log_decays(log_a, row, head, first, n_steps, heads, CHUNK, BACKWARD)
    i = tl.arange(0, CHUNK)
    later = tl.where(i[:, None] > i[None, :], log_decay[:, None], 0.0)
    to_end = tl.exp(tl.sum(later, axis=0))  # of each step's part until the end of the chunk
    x_at, exists = steps(
        row, head // x_repeat, heads // x_repeat, first, n_steps, p_width, CHUNK, BACKWARD
    )
    b_at, _ = steps(
        row, head // b_repeat, heads // b_repeat, first, n_steps, n_width, CHUNK, BACKWARD
    )
    x_mask = (p < p_width)[:, None] & exists[None, :]
    b_mask = exists[:, None] & (n < n_width)[None, :]
    x_turned = tl.load(x + x_at[None, :] + p[:, None], mask=x_mask, other=0.0).to(tl.float32)
    keys = tl.load(b + b_at[:, None] + n[None, :], mask=b_mask, other=0.0).to(tl.float32)
    total = tl.dot(x_turned, keys * to_end[:, None], input_precision=PRECISION)

    place = place.to(tl.int64)
    at = added + (place * p_width + p[:, None]) * n_width + n[None, :]
    tl.store(at, total, mask=(p < p_width)[:, None] & (n < n_width)[None, :])
    # Every block of this chunk has the same decay; one of them writes it.
    tl.store(
        decays + place, tl.exp(tl.sum(log_decay, axis=0)), mask=program % (n_blocks * p_blocks) == 0
    )


@triton.jit(do_not_specialize=_RUNTIME)
def _read(
    x,
    log_a,
    b,
    c,
    before,
    y,
    n_steps,
    heads,
    p_width,
    n_width,
    x_repeat,
    b_repeat,
    c_repeat,
    BACKWARD: tl.constexpr,
    PRECISION: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write y (B, T, H, P) from the states before the chunks (B, n, H, P, N) and their steps."""
    program = tl.program_id(0)
    p_blocks = tl.cdiv(p_width, BLOCK_P)
    p = program % p_blocks * BLOCK_P + tl.arange(0, BLOCK_P)
    place = program // p_blocks
    head = place % heads
    chunk = place // heads % tl.cdiv(n_steps, CHUNK)
    row = (place // heads // tl.cdiv(n_steps, CHUNK)).to(tl.int64)

    first = chunk * CHUNK
    b_at, exists = steps(
        row, head // b_repeat, heads // b_repeat, first, n_steps, n_width, CHUNK, BACKWARD
    )
    c_at, _ = steps(
        row, head // c_repeat, heads // c_repeat, first, n_steps, n_width, CHUNK, BACKWARD
    )
    scores = tl.zeros((CHUNK, CHUNK), tl.float32)
    carried = tl.zeros((CHUNK, BLOCK_P), tl.float32)
    start = 0
    while start < n_width:
        n = start + tl.arange(0, BLOCK_N)
        inside = n < n_width
        query = tl.load(
            c + c_at[:, None] + n[None, :], mask=exists[:, None] & inside[None, :], other=0.0
        ).to(tl.float32)
        key = tl.load(
            b + b_at[None, :] + n[:, None], mask=exists[None, :] & inside[:, None], other=0.0
        ).to(tl.float32)
        state_at = before + (place.to(tl.int64) * p_width + p[None, :]) * n_width + n[:, None]
        state_mask = (p < p_width)[None, :] & inside[:, None]
        state = tl.load(state_at, mask=state_mask, other=0.0).to(tl.float32)
        scores += tl.dot(query, key, input_precision=PRECISION)
        carried += tl.dot(query, state, input_precision=PRECISION)
        start += BLOCK_N

    # The decay between steps j < i is made of sums of logarithms, never of their differences, which
    # would be inf - inf after a decay of zero.
    log_decay = _log_decays(log_a, row, head, first, n_steps, heads, CHUNK, BACKWARD)
    i = tl.arange(0, CHUNK)
    after = tl.where(i[:, None] > i[None, :], log_decay[:, None], 0.0)
    between = tl.where(i[:, None] >= i[None, :], tl.exp(tl.cumsum(after, axis=0)), 0.0)
    x_at, _ = steps(
        row, head // x_repeat, heads // x_repeat, first, n_steps, p_width, CHUNK, BACKWARD
    )
    mask = exists[:, None] & (p < p_width)[None, :]
    values = tl.load(x + x_at[:, None] + p[None, :], mask=mask, other=0.0).to(tl.float32)
    result = tl.dot(scores * between, values, input_precision=PRECISION)
    result += carried * tl.exp(tl.cumsum(log_decay, axis=0))[:, None]
    y_at, _ = steps(row, head, heads, first, n_steps, p_width, CHUNK, BACKWARD)
    tl.store(y + y_at[:, None] + p[None, :], result, mask=mask)
