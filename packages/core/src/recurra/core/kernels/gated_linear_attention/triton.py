"""The GPU form of `gated_linear_attention`: chunks of 32 steps at once, products of matrices.

As in `ssd`, a first kernel gives what each chunk adds to the state, `linear_scan` the states before
the chunks, and another kernel the outputs. Within a chunk, weights between steps are sums over
channels of products with a decay each: as in the portable form, blocks of 2, 4, ... 32 steps are
halved, and a block's second half meets its first with the decay split in the middle, so that no
factor grows.

With S the states, run forward, and dS their gradients, run backward, where the decay of a step is
the one after it,

    dS_t = dy_t q_t^T + dS_(t+1) diag(a_(t+1)),
    dv_t = dS_t k_t,   dk_t = dS_t^T v_t,   dq_t = S_t^T dy_t.

The first is the forward pass with the parts exchanged; the others read the state from its other
side, where the decay is that of the outputs' channels: a third kernel. From the two recurrences,
dlog_a_t = dlog_a_(t+1) + q_t dq_t - k_t dk_t in each channel. Its error is that of a sum over time.
To be differentiated twice, the portable form is differentiated instead.

Source: Yang et al. 2023 (arXiv 2312.06635, section 4 and appendix).

Roofline, for each row, step and head, with P = N = D: 4 * 5 D bytes in and out (q, k, v, log_a, y)
and 8 D D / 32 bytes for each of three passes over the chunks' states; 2 * 32 D FLOPs for each of
the five halvings, made anew for every 32 of P, 2 * 32 D for the values and 4 D^2 for the states:
61,000 at D = 64, against some 4,400 bytes, 14 FLOPs a byte. In three TF32 products for each (165
TFLOP/s of an H100's 495) it is bound by memory: (8, 4096, 32, 64) moves 4.6 GB, 1.4 ms at 3.35
TB/s. Chunks of 64 would move 2.9 GB, but six halvings of them do not find room in the registers.
Backward is three reads, on two passes over states. No GPU was at hand when this was written: these
are counts, not measurements.
"""

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recurra.core.kernels import triton_support
from recurra.core.kernels.gated_linear_attention import fast
from recurra.core.kernels.linear_scan import triton as linear_scan
from recurra.core.kernels.second_derivatives import differentiable
from recurra.core.kernels.ssd.triton import steps

_LEVELS = 5
_CHUNK = 2**_LEVELS
_BLOCK = 32  # of P and of N
_RUNTIME = ["n_steps"]


def gated_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, log_a: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Run q, k and log_a (B, T, H, N), v (B, T, H, P) from state (B, H, P, N)."""
    given = (q, k, v, log_a, state)
    if torch.is_grad_enabled() and any(z.requires_grad for z in given):
        y, last = _Attention.apply(*given)  # type: ignore[no-untyped-call]
        return y, last
    before, last = _states(v, k, log_a, state)
    return _read(v, k, q, log_a, before), last


class _Attention(torch.autograd.Function):
    """The chunked run, whose backward is one from the last step to the first."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, log_a: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        before, last = _states(v, k, log_a, state)
        ctx.save_for_backward(q, k, v, log_a, state, before, last)
        return _read(v, k, q, log_a, before), last

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        *given, before, last = ctx.saved_tensors
        q, k, v, log_a, _ = given
        if torch.is_grad_enabled():
            chunk = min(_CHUNK, triton_support.power_of_two(q.shape[1]))
            portable = partial(fast.gated_linear_attention, chunk=chunk)
            return differentiable(portable, given, (grad_y, grad_last))
        after, end = _states(grad_y, q, log_a, grad_last, backward=True)
        grad_v = _read(grad_y, q, k, log_a, after, backward=True)
        grad_k = _read(grad_y, q, v, log_a, after, backward=True, turned=True)
        grad_q = _read(v, k, grad_y, log_a, before, turned=True)
        later = (q * grad_q - k * grad_k).flip(1).cumsum(1).flip(1)
        grad_log_a = later + (last * grad_last).sum(-2).unsqueeze(1)
        return grad_q, grad_k, grad_v, grad_log_a, end * log_a[:, 0, :, None].exp()


def _options(x: Tensor, b: Tensor, backward: bool) -> dict[str, Any]:
    """Return the constants of all kernels, for x (.., P) and b (.., N)."""
    p, n = (min(_BLOCK, triton_support.power_of_two(z.shape[-1], 16)) for z in (x, b))
    options = {"BACKWARD": backward, "CHUNK": _CHUNK, "LEVELS": _LEVELS}
    options |= {"BLOCK_P": p, "BLOCK_N": n}
    return options | triton_support.product_options(x)


def _states(
    x: Tensor, b: Tensor, log_a: Tensor, state: Tensor, *, backward: bool = False
) -> tuple[Tensor, Tensor]:
    """Run S_t = S_(t-1) diag(a_t) + x_t b_t^T: the S before each chunk (B, n, H, P, N), the last.

    With `backward`, from the last step to the first, each with the decay of the one after it, the
    last with 1.
    """
    n_rows, n_steps, heads, p = x.shape
    n, n_chunks = b.shape[3], triton.cdiv(n_steps, _CHUNK)
    options = _options(x, b, backward)
    blocks = triton.cdiv(p, options["BLOCK_P"]) * triton.cdiv(n, options["BLOCK_N"])
    decays = x.new_empty(n_rows, n_chunks, heads, 1, n)
    added = x.new_empty(n_rows, n_chunks, heads, p, n)
    tensors = (*(z.contiguous() for z in (x, b, log_a)), decays, added)
    triton_support.launch(
        _add, n_rows * n_chunks * heads * blocks, *tensors, n_steps, heads, p, n, **options
    )
    with torch.no_grad():
        after, last = linear_scan.scan(decays, added, state, False)
    return torch.cat([state.unsqueeze(1), after[:, :-1]], dim=1), last


def _read(
    x: Tensor,
    b: Tensor,
    c: Tensor,
    log_a: Tensor,
    before: Tensor,
    *,
    backward: bool = False,
    turned: bool = False,
) -> Tensor:
    """Return y_t = S_t c_t, or turned S_t^T c_t, for the S of `_states` with what it returned."""
    n_rows, n_steps, heads, p = x.shape
    n, n_chunks = b.shape[3], triton.cdiv(n_steps, _CHUNK)
    options = _options(x, b, backward)
    y = torch.empty_like(b if turned else x, memory_format=torch.contiguous_format)
    blocks = triton.cdiv(y.shape[3], options["BLOCK_N" if turned else "BLOCK_P"])
    given = (z.contiguous() for z in (x, b, c, log_a, before))
    triton_support.launch(
        _read_keys if turned else _read_values,
        n_rows * n_chunks * heads * blocks,
        *given,
        *(y, n_steps, heads, p, n),
        **options,
    )
    return y


# Below, s counts steps in the order in which they are run, and what is loaded of a chunk is in it.


@triton.jit
def _tile(x, at, exists, e, width):
    """Load the elements e of steps that lie `at` (CHUNK,): (CHUNK, block), zero where none are."""
    mask = exists[:, None] & (e < width)[None, :]
    return tl.load(x + at[:, None] + e[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _log_decays(
    log_a, row, head, heads, first, n_steps, n, width, CHUNK: tl.constexpr, BACKWARD: tl.constexpr
):
    """Load the logarithms of the decays of CHUNK steps (CHUNK, block): zero, which keeps, beyond.

    Backward, a step meets the decay of the one that was run before it.
    """
    s = first + tl.arange(0, CHUNK)
    if BACKWARD:
        at = n_steps - s
        exists = (s < n_steps) & (s > 0)
    else:
        at = s
        exists = s < n_steps
    return _tile(log_a, ((row * n_steps + at) * heads + head) * width, exists, n, width)


@triton.jit
def _since(now, HALF: tl.constexpr):
    """Return the decay from the start of each run of HALF steps to after each step."""
    runs = tl.reshape(now, (now.shape[0] // HALF, HALF, now.shape[1]))
    return tl.exp(tl.reshape(tl.cumsum(runs, axis=1), now.shape))


@triton.jit
def _until(later, HALF: tl.constexpr):
    """Return the decay from after each step to the end of its run of HALF steps.

    `later` are the logarithms of the decays that follow each step's own.
    """
    i = tl.arange(0, later.shape[0])
    inside = tl.where((i % HALF == HALF - 1)[:, None], 0.0, later)
    runs = tl.reshape(inside, (later.shape[0] // HALF, HALF, later.shape[1]))
    return tl.exp(tl.reshape(tl.cumsum(runs, axis=1, reverse=True), later.shape))


@triton.jit
def _second_meets_first(CHUNK: tl.constexpr, HALF: tl.constexpr):
    """Return whether step i is in the second half of a block and j in its first (CHUNK, CHUNK)."""
    i = tl.arange(0, CHUNK) // HALF
    return (i[:, None] == i[None, :] + 1) & (i % 2 == 1)[:, None]


@triton.jit
def _place(blocks, n_steps, heads, CHUNK: tl.constexpr):
    """Return the block of this program, its row, head and first step, and its row-chunk-head."""
    program = tl.program_id(0)
    place = program // blocks
    n_chunks = tl.cdiv(n_steps, CHUNK)
    row = (place // heads // n_chunks).to(tl.int64)
    return program % blocks, row, place % heads, place // heads % n_chunks * CHUNK, place


@triton.jit(do_not_specialize=_RUNTIME)
def _add(
    x,
    b,
    log_a,
    decays,
    added,
    n_steps,
    heads,
    p_width,
    n_width,
    BACKWARD: tl.constexpr,
    PRECISION: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write each chunk's decays (B, n, H, N), and what it adds to the state (B, n, H, P, N)."""
    n_blocks, p_blocks = tl.cdiv(n_width, BLOCK_N), tl.cdiv(p_width, BLOCK_P)
    block, row, head, first, place = _place(n_blocks * p_blocks, n_steps, heads, CHUNK)
    n = block % n_blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    p = block // n_blocks * BLOCK_P + tl.arange(0, BLOCK_P)
    x_at, exists = steps(row, head, heads, first, n_steps, p_width, CHUNK, BACKWARD)
    b_at, _ = steps(row, head, heads, first, n_steps, n_width, CHUNK, BACKWARD)
    later = _log_decays(log_a, row, head, heads, first + 1, n_steps, n, n_width, CHUNK, BACKWARD)
    keys = _tile(b, b_at, exists, n, n_width) * _until(later, CHUNK)
    values = _tile(x, x_at, exists, p, p_width)
    total = tl.dot(tl.trans(values), keys, input_precision=PRECISION)

    place = place.to(tl.int64)
    at = added + (place * p_width + p[:, None]) * n_width + n[None, :]
    tl.store(at, total, mask=(p < p_width)[:, None] & (n < n_width)[None, :])
    # Every block of P has the same decays; the first writes them.
    now = _log_decays(log_a, row, head, heads, first, n_steps, n, n_width, CHUNK, BACKWARD)
    mask = (n < n_width) & (block < n_blocks)
    tl.store(decays + place * n_width + n, tl.exp(tl.sum(now, axis=0)), mask=mask)


@triton.jit(do_not_specialize=_RUNTIME)
def _read_values(
    x,
    b,
    c,
    log_a,
    before,
    y,
    n_steps,
    heads,
    p_width,
    n_width,
    BACKWARD: tl.constexpr,
    PRECISION: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write S c (B, T, H, P) from the S before the chunks (B, n, H, P, N) and their steps."""
    block, row, head, first, place = _place(tl.cdiv(p_width, BLOCK_P), n_steps, heads, CHUNK)
    p = block * BLOCK_P + tl.arange(0, BLOCK_P)
    i = tl.arange(0, CHUNK)
    at, exists = steps(row, head, heads, first, n_steps, n_width, CHUNK, BACKWARD)
    scores = tl.zeros((CHUNK, CHUNK), tl.float32)
    result = tl.zeros((CHUNK, BLOCK_P), tl.float32)
    start = 0
    while start < n_width:
        n = start + tl.arange(0, BLOCK_N)
        query, key = _tile(c, at, exists, n, n_width), _tile(b, at, exists, n, n_width)
        now = _log_decays(log_a, row, head, heads, first, n_steps, n, n_width, CHUNK, BACKWARD)
        later = _log_decays(
            log_a, row, head, heads, first + 1, n_steps, n, n_width, CHUNK, BACKWARD
        )
        state_at = before + (place.to(tl.int64) * p_width + p[None, :]) * n_width + n[:, None]
        mask = (p < p_width)[None, :] & (n < n_width)[:, None]
        state = tl.load(state_at, mask=mask, other=0.0).to(tl.float32)
        result += tl.dot(query * _since(now, CHUNK), state, input_precision=PRECISION)
        scores += tl.where(i[:, None] == i[None, :], tl.sum(query * key, axis=1)[:, None], 0.0)
        for level in tl.static_range(LEVELS):
            queries = query * _since(now, 1 << level)
            keys = key * _until(later, 1 << level)
            found = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
            scores += tl.where(_second_meets_first(CHUNK, 1 << level), found, 0.0)
        start += BLOCK_N
    at, _ = steps(row, head, heads, first, n_steps, p_width, CHUNK, BACKWARD)
    result += tl.dot(scores, _tile(x, at, exists, p, p_width), input_precision=PRECISION)
    tl.store(y + at[:, None] + p[None, :], result, mask=exists[:, None] & (p < p_width)[None, :])


@triton.jit(do_not_specialize=_RUNTIME)
def _read_keys(
    x,
    b,
    c,
    log_a,
    before,
    y,
    n_steps,
    heads,
    p_width,
    n_width,
    BACKWARD: tl.constexpr,
    PRECISION: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write S^T c (B, T, H, N) from the S before the chunks (B, n, H, P, N) and their steps."""
    block, row, head, first, place = _place(tl.cdiv(n_width, BLOCK_N), n_steps, heads, CHUNK)
    n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    i = tl.arange(0, CHUNK)
    at, exists = steps(row, head, heads, first, n_steps, p_width, CHUNK, BACKWARD)
    scores = tl.zeros((CHUNK, CHUNK), tl.float32)
    carried = tl.zeros((CHUNK, BLOCK_N), tl.float32)
    start = 0
    while start < p_width:
        p = start + tl.arange(0, BLOCK_P)
        query, value = _tile(c, at, exists, p, p_width), _tile(x, at, exists, p, p_width)
        state_at = before + (place.to(tl.int64) * p_width + p[:, None]) * n_width + n[None, :]
        mask = (p < p_width)[:, None] & (n < n_width)[None, :]
        state = tl.load(state_at, mask=mask, other=0.0).to(tl.float32)
        carried += tl.dot(query, state, input_precision=PRECISION)
        scores += tl.dot(query, tl.trans(value), input_precision=PRECISION)
        start += BLOCK_P
    at, _ = steps(row, head, heads, first, n_steps, n_width, CHUNK, BACKWARD)
    key = _tile(b, at, exists, n, n_width)
    now = _log_decays(log_a, row, head, heads, first, n_steps, n, n_width, CHUNK, BACKWARD)
    later = _log_decays(log_a, row, head, heads, first + 1, n_steps, n, n_width, CHUNK, BACKWARD)
    own = tl.sum(tl.where(i[:, None] == i[None, :], scores, 0.0), axis=1)
    result = carried * _since(now, CHUNK) + own[:, None] * key
    for level in tl.static_range(LEVELS):
        met = tl.where(_second_meets_first(CHUNK, 1 << level), scores, 0.0)
        found = tl.dot(met, key * _until(later, 1 << level), input_precision=PRECISION)
        result += found * _since(now, 1 << level)
    tl.store(y + at[:, None] + n[None, :], result, mask=exists[:, None] & (n < n_width)[None, :])
