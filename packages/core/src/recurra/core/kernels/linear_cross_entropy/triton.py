"""The GPU form of `linear_cross_entropy`: tiles of scores that never leave the chip.

The forward pass keeps one number for each position, the logarithm of its sum of exponentials: a
program has a tile of positions, goes through tiles of items, and rescales its sum where a larger
score comes (an online softmax). Backward, the weights exp(score - logarithm), less one at the
target, are made anew from tiles of scores; the gradient to hidden is their product with the table,
that to the table theirs, turned, with hidden. It is one kernel, run once with a tile of positions
for each program and once with a tile of items.

So the scores are made anew twice, where one run would do that adds to one of the two gradients by
atomics. Those would be C additions in memory for each position and tile of items, 2 GB of them at
the size below, where the second scores are .4 ms of products; and their order, and with it the
sums, would change from run to run. Here each program owns its sums. Where the tiles alone do not
fill a GPU, what they go through is cut into parts, whose sums PyTorch adds, in an order that
depends on shapes only: repeats are equal to the bit. To be differentiated twice, the reference is
differentiated instead.

Source: Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models" (arXiv
2411.09009, section 4), which adds under locks and leaves out weights that 16 bits would round to
zero: here all count. The online softmax is that of Milakov and Gimelshein 2018 (arXiv 1805.02867).

Roofline, for M positions, V items and C up to 128: 2 M V C FLOPs forward and 8 M V C backward.
Memory holds hidden, the table, and sums as large as they are; each tile of positions reads the
table, and each tile of items hidden, from the caches, M V C / 16 bytes in each of three passes.
M = 5,120, V = 100,000 and C = 64, whose scores alone would be 2 GB, are 330 GFLOP: in three TF32
products for each 2 ms at 165 TFLOP/s (an H100's 495), and 2 GB a pass from the caches. No GPU was
at hand when this was written: these are counts, not measurements.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from recurra.core.kernels import triton_support
from recurra.core.kernels.linear_cross_entropy import fast

# With these no thread runs out of registers on any chip of `test_triton_compiled.py`; at twice the
# _OTHER one on sm_80 puts aside some 200 of them, even with half the _BLOCK.
_OWN = 64  # rows of a program: positions, or items
_OTHER = 32  # those that it goes through at once
_DEPTH = 32  # of C, in a product for scores
_BLOCK = 128  # of C, in a gradient
_PROGRAMS = 512  # enough for about four on each of an H100's 132 multiprocessors
_RUNTIME = ["n_own", "n_other", "part"]


def linear_cross_entropy(hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of hidden (M, C), table (V, C), bias (V,) and targets (M,), M and C > 0.

    All but the targets may have 16 bits, each by itself; their gradients have them too.
    """
    loss: Tensor = _Fused.apply(hidden, table, bias, targets)  # type: ignore[no-untyped-call]
    return loss


class _Fused(torch.autograd.Function):
    """The loss, whose backward makes the scores anew."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        log_sums = _log_sums(hidden, table, bias)
        ctx.save_for_backward(hidden, table, bias, targets, log_sums)
        # This also refuses targets that are no items, at which the kernels would not look.
        rows = functional.embedding(targets, table)
        right = (hidden.float() * rows.float()).sum(1) + bias[targets]
        return (log_sums - right).mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = hidden, table, bias, targets, _ = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*fast.differentiable_gradients(hidden, table, bias, targets, grad), None)
        share = grad / len(hidden)
        of_hidden = of_table = of_bias = None
        if ctx.needs_input_grad[0]:
            sums, _ = _gradients(*saved, of_items=False)
            of_hidden = (sums * share).to(hidden.dtype)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            sums, totals = _gradients(*saved, of_items=True)
            of_table, of_bias = (sums * share).to(table.dtype), (totals * share).to(bias.dtype)
        return of_hidden, of_table, of_bias, None


def _log_sums(hidden: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """Return log(sum over the items of exp(score)) of each position, (M,)."""
    part, n_parts = _parts(len(hidden), len(table))
    sums = hidden.new_empty(n_parts, len(hidden), dtype=torch.float32)
    triton_support.launch(
        _log_sum,
        triton.cdiv(len(hidden), _OWN) * n_parts,
        *(z.contiguous() for z in (hidden, table, bias)),
        *(sums, len(hidden), len(table), part, hidden.shape[1]),
        **_options(hidden, table),
    )
    return sums.logsumexp(0)


def _gradients(
    hidden: Tensor,
    table: Tensor,
    bias: Tensor,
    targets: Tensor,
    log_sums: Tensor,
    *,
    of_items: bool,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the sum of all losses to the table and the bias, or to hidden.

    Those to hidden come with what a bias for each position would have.
    """
    own, other = (table, hidden) if of_items else (hidden, table)
    part, n_parts = _parts(len(own), len(other))
    block = min(_BLOCK, triton_support.power_of_two(own.shape[1], 16))
    sums = own.new_empty(n_parts, *own.shape, dtype=torch.float32)
    totals = own.new_empty(n_parts, len(own), dtype=torch.float32)
    triton_support.launch(
        _weigh,
        triton.cdiv(own.shape[1], block) * triton.cdiv(len(own), _OWN) * n_parts,
        *(z.contiguous() for z in (own, other, bias, targets, log_sums)),
        *(sums, totals, len(own), len(other), part, own.shape[1]),
        OF_ITEMS=of_items,
        BLOCK=block,
        **_options(hidden, table),
    )
    return sums.sum(0), totals.sum(0)


def _parts(n_own: int, n_other: int) -> tuple[int, int]:
    """Return how many of the others a program goes through, whole tiles, and how many parts are."""
    wanted = triton.cdiv(_PROGRAMS, triton.cdiv(n_own, _OWN))
    part = triton.cdiv(triton.cdiv(n_other, _OTHER), wanted) * _OTHER
    return part, triton.cdiv(n_other, part)


def _options(hidden: Tensor, table: Tensor) -> dict[str, Any]:
    options = triton_support.product_options(hidden)
    if options["PRECISION"] == "tf32x3" and hidden.itemsize == table.itemsize == 2:
        # TF32 holds what has 16 bits exactly. It rounds the weights to 11 bits, as fine as the
        # gradients that come of them.
        options["PRECISION"] = "tf32"
    return options | {"OWN": _OWN, "OTHER": _OTHER, "DEPTH": _DEPTH}


@triton.jit
def _tile(x, i, c, count, width):
    """Load elements c of rows i of x (count, width), zeros beyond: (rows, elements)."""
    at = x + (i.to(tl.int64) * width)[:, None] + c[None, :]
    return tl.load(at, mask=(i < count)[:, None] & (c < width)[None, :], other=0.0).to(tl.float32)


@triton.jit
def _products(
    own, other, i, j, n_own, n_other, width, DEPTH: tl.constexpr, PRECISION: tl.constexpr
):
    """Return those of rows i of own (n_own, width) and j of other: (OWN, OTHER)."""
    found = tl.zeros((i.shape[0], j.shape[0]), tl.float32)
    start = 0
    while start < width:
        c = start + tl.arange(0, DEPTH)
        mine, theirs = _tile(own, i, c, n_own, width), _tile(other, j, c, n_other, width)
        found += tl.dot(mine, tl.trans(theirs), input_precision=PRECISION)
        start += DEPTH
    return found


@triton.jit
def _offsets(bias, item, n_items):
    """Load the bias of items; beyond them it is -inf, so that their weight is zero."""
    return tl.load(bias + item, mask=item < n_items, other=-float("inf")).to(tl.float32)


@triton.jit(do_not_specialize=_RUNTIME)
def _log_sum(
    hidden,
    table,
    bias,
    sums,
    n_own,
    n_other,
    part,
    width,
    PRECISION: tl.constexpr,
    OWN: tl.constexpr,
    OTHER: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Write the log-sum-exp of each position's scores of each part of the items, (n_parts, M)."""
    tiles = tl.cdiv(n_own, OWN)
    i = tl.program_id(0) % tiles * OWN + tl.arange(0, OWN)
    place = tl.program_id(0) // tiles
    # Finite: of scores that are all -inf the sum is zero, and no difference of infinities is made.
    largest = tl.full((OWN,), -1e38, tl.float32)
    total = tl.zeros((OWN,), tl.float32)
    start = place * part
    end = tl.minimum(start + part, n_other)
    while start < end:
        j = start + tl.arange(0, OTHER)
        scores = _products(hidden, table, i, j, n_own, n_other, width, DEPTH, PRECISION)
        scores += _offsets(bias, j, n_other)[None, :]
        larger = tl.maximum(largest, tl.max(scores, axis=1))
        total = total * tl.exp(largest - larger)
        total += tl.sum(tl.exp(scores - larger[:, None]), axis=1)
        largest = larger
        start += OTHER
    at = sums + place.to(tl.int64) * n_own + i
    tl.store(at, largest + tl.log(total), mask=i < n_own)


@triton.jit(do_not_specialize=_RUNTIME)
def _weigh(
    own,
    other,
    bias,
    targets,
    log_sums,
    sums,
    totals,
    n_own,
    n_other,
    part,
    width,
    OF_ITEMS: tl.constexpr,
    PRECISION: tl.constexpr,
    OWN: tl.constexpr,
    OTHER: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the sums over each part of the others of weight times row, (n_parts, n_own, width).

    And those of the weights, (n_parts, n_own). With OF_ITEMS a program's own rows are of the table
    and the others of hidden, else it is the other way round.
    """
    blocks, tiles = tl.cdiv(width, BLOCK), tl.cdiv(n_own, OWN)
    block = tl.program_id(0) % blocks
    i = tl.program_id(0) // blocks % tiles * OWN + tl.arange(0, OWN)
    place = tl.program_id(0) // blocks // tiles
    c = block * BLOCK + tl.arange(0, BLOCK)
    result = tl.zeros((OWN, BLOCK), tl.float32)
    total = tl.zeros((OWN,), tl.float32)
    start = place * part
    end = tl.minimum(start + part, n_other)
    while start < end:
        j = start + tl.arange(0, OTHER)
        scores = _products(own, other, i, j, n_own, n_other, width, DEPTH, PRECISION)
        if OF_ITEMS:
            item, position = i[:, None], j[None, :]
            exists = position < n_other
            scores += _offsets(bias, item, n_own)
        else:
            item, position = j[None, :], i[:, None]
            exists = position < n_own
            scores += _offsets(bias, item, n_other)
        # Beyond the positions no weight is left, and no item is the target.
        log_sum = tl.load(log_sums + position, mask=exists, other=float("inf")).to(tl.float32)
        is_target = tl.load(targets + position, mask=exists, other=-1) == item
        weights = tl.exp(scores - log_sum) - tl.where(is_target, 1.0, 0.0)
        rows = _tile(other, j, c, n_other, width)
        result += tl.dot(weights, rows, input_precision=PRECISION)
        total += tl.sum(weights, axis=1)
        start += OTHER
    row = place.to(tl.int64) * n_own + i
    at = sums + (row * width)[:, None] + c[None, :]
    tl.store(at, result, mask=(i < n_own)[:, None] & (c < width)[None, :])
    tl.store(totals + row, total, mask=(i < n_own) & (block == 0))
