"""The portable fast form of `linear_scan`: two levels of blocks, about 4 sqrt(T) small operations.

The steps are cut into n blocks of C, and step c of all blocks is one operation. A first pass
carries each block's product of decays and its end from a zero state; n operations then give the
state that each block begins with, and a second pass runs the recurrence itself from there. Nothing
is taken to a logarithm, so decays may be zero or negative, and nothing as large as the inputs is
kept besides the outputs.

The gradient is the same scan in the other direction. The operation is registered with PyTorch
rather than written as an `autograd.Function`: `torch.compile` and `torch.export` then see one node
whatever T is, not a loop of a fixed length.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def scan(a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """Run h = a * h + b over axis 1 from h0: a (1 or B, T, ...), b (B, T, ...), h0 (B, ...)."""
    if b.shape[1] == 1:  # A step of a stream is two plain operations, in an exported graph too.
        h = a * h0.unsqueeze(1) + b
        return h, h.squeeze(1).clone()
    if b.shape[1] == 0:
        return b, h0.clone()
    h, last = torch.ops.recurra.linear_scan(a, b, h0, reverse)
    return h, last


# `torch.library.custom_op` would do in one line, but its first call imports the whole compiler.
torch.library.define(
    "recurra::linear_scan", "(Tensor a, Tensor b, Tensor h0, bool reverse) -> (Tensor, Tensor)"
)


@torch.library.impl("recurra::linear_scan", "CompositeExplicitAutograd")
def _blocked_scan(a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    n_steps = b.shape[1]
    h = torch.empty_like(b, memory_format=torch.contiguous_format)
    if b.numel() == 0:
        return h, h0.clone()
    size = 2 ** round(math.log2(n_steps) / 2)
    n_blocks = n_steps // size
    rest = n_steps - n_blocks * size  # the steps after the last whole block

    def blocks(x: Tensor) -> Tensor:  # (B, T, ...) -> (B, n, C, ...)
        whole = x.narrow(1, rest if reverse else 0, n_blocks * size)
        return whole.view(x.shape[0], n_blocks, size, *x.shape[2:])

    starts, last = _block_starts(blocks(a), blocks(b), h0, reverse)
    _run(blocks(a).unbind(2), blocks(b).unbind(2), blocks(h).unbind(2), starts, reverse)
    if rest:
        a, b, end = (x.narrow(1, 0 if reverse else n_steps - rest, rest) for x in (a, b, h))
        last = _run(a.unbind(1), b.unbind(1), end.unbind(1), last, reverse)
    return h, last.clone()


def _block_starts(a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """Return the state before each block of a, b (B, n, C, ...), and the one after the last."""
    decay, end = torch.ones_like(a[:, :, 0]), torch.zeros_like(b[:, :, 0])
    for a_c, b_c in _in_order(zip(a.unbind(2), b.unbind(2), strict=True), reverse):
        decay.mul_(a_c)
        torch.addcmul(b_c, a_c, end, out=end)
    starts = torch.empty_like(end)
    state = h0
    for start, decay_i, end_i in _in_order(
        zip(starts.unbind(1), decay.unbind(1), end.unbind(1), strict=True), reverse
    ):
        start.copy_(state)
        state = torch.addcmul(end_i, decay_i, state)
    return starts, state


def _run(
    a: tuple[Tensor, ...],
    b: tuple[Tensor, ...],
    h: tuple[Tensor, ...],
    state: Tensor,
    reverse: bool,
) -> Tensor:
    """Write each step's state into h, and return the last one."""
    for a_t, b_t, h_t in _in_order(zip(a, b, h, strict=True), reverse):
        state = torch.addcmul(b_t, a_t, state, out=h_t)
    return state


def _in_order(steps: Iterable[tuple[Tensor, ...]], reverse: bool) -> Iterable[tuple[Tensor, ...]]:
    return reversed(list(steps)) if reverse else steps


@torch.library.register_fake("recurra::linear_scan")  # type: ignore[untyped-decorator]
def _shapes(a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(b, memory_format=torch.contiguous_format), torch.empty_like(h0)


def _keep(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, bool], output: tuple[Tensor, ...]
) -> None:
    a, _, h0, ctx.reverse = inputs
    # A decay that is a constant, as in prefix attention, needs no states for its gradient.
    ctx.save_for_backward(a, *((h0, output[0]) if ctx.needs_input_grad[0] else ()))


def gradients(
    ctx: Any, grad_h: Tensor, grad_last: Tensor
) -> tuple[Tensor | None, Tensor, Tensor, None]:
    """Carry the gradient back: grad_b = grad_h + (decay of the step after) * (grad_b after it)."""
    a, *states = ctx.saved_tensors
    one = torch.ones_like(a[:, :1])
    later = [one, a[:, :-1]] if ctx.reverse else [a[:, 1:], one]
    grad_b, _ = scan(torch.cat(later, dim=1), grad_h, grad_last, not ctx.reverse)
    grad_a = None
    if ctx.needs_input_grad[0]:
        first, h = states[0].unsqueeze(1), states[1]
        before = torch.cat([h[:, 1:], first] if ctx.reverse else [first, h[:, :-1]], dim=1)
        grad_a = (grad_b * before).sum_to_size(a.shape)
    start = -1 if ctx.reverse else 0
    return grad_a, grad_b, grad_b[:, start] * a[:, start], None


torch.library.register_autograd("recurra::linear_scan", gradients, setup_context=_keep)
