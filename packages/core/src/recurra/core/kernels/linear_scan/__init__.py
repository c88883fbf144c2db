"""The elementwise linear recurrence: moving averages, diagonal state spaces, prefix attention."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.lengths import check_lengths, steps_inside
from recurra.core.kernels.linear_scan import fast, reference
from recurra.core.kernels.triton_support import wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]


def linear_scan(
    a: Tensor,
    b: Tensor,
    h0: Tensor | None = None,
    *,
    reverse: bool = False,
    lengths: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run h_t = a_t * h_{t-1} + b_t along axis 1, each element by itself.

    The state and all sums are in float32, or in float64 where an argument is. Gradients reach a, b
    and h0, any number of times.

    Source: the recurrence is written down in many papers; cut into blocks it is the two-level scan
    of Blelloch 1990, "Prefix Sums and Their Applications" (CMU-CS-90-190, section 1.2). Here the
    second level is a plain loop.

    Args:
        a: the decays, of a shape that broadcasts to that of b: (B, T, H, 1) is one decay a head,
            (D,) one decay a channel for all steps. float32 or float64; any value, also 0.
        b: (B, T, ...), any floating dtype; T and B may be 0; any strides.
        h0: (B, ...), the state before the first step (with `reverse`, after the last); None is 0.
        reverse: run from the last step to the first, h_t = a_t * h_{t+1} + b_t.
        lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the row
            changes nothing, and its h is zero.
        backend: "fast" takes about 4 sqrt(T) operations; "triton" is for GPUs, in float32;
            "reference" is the plain loop; "auto" is "triton" where that can run, else "fast".

    Returns:
        h (B, T, ...) in the dtype of b, and the state after the last step that was run, (B, ...) in
        float32 or float64.

    Raises:
        ValueError: shapes that do not fit; a, b, h0 that are not floating; a in 16 bits, where
            a decay such as 0.999 cannot be told from 1.
    """
    _check(a, b, h0, lengths)
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    if h0 is not None:
        dtype = torch.promote_types(dtype, h0.dtype)
    state = b.new_zeros(b.shape[0], *b.shape[2:], dtype=dtype) if h0 is None else h0.to(dtype)
    # Axes of size 1 stay, so that a head's decay is multiplied and saved once.
    decay = a.to(dtype).reshape((1,) * (b.dim() - a.dim()) + a.shape)
    decay = decay.expand(-1, b.shape[1], *decay.shape[2:])
    added = b.to(dtype)
    if lengths is not None:
        inside = steps_inside(lengths, b)
        decay, added = torch.where(inside, decay, 1), torch.where(inside, added, 0)
    run = reference.scan if backend == "reference" else fast.scan
    if wants_triton(backend, b, dtype):
        from recurra.core.kernels.linear_scan import triton

        run = triton.scan
    h, last = run(decay, added, state, reverse)
    if lengths is not None:
        h = torch.where(inside, h, 0)
    return h.to(b.dtype), last


def _check(a: Tensor, b: Tensor, h0: Tensor | None, lengths: Tensor | None) -> None:
    if b.dim() < 2:
        raise ValueError(f"linear_scan takes b (B, T, ...), not {tuple(b.shape)}")
    if a.dim() > b.dim() or any(
        n not in (1, m) for n, m in zip(a.shape[::-1], b.shape[::-1], strict=False)
    ):
        raise ValueError(f"a {tuple(a.shape)} does not broadcast to b {tuple(b.shape)}")
    if a.dtype in (torch.bfloat16, torch.float16):
        raise ValueError(
            f"a is {a.dtype}, which rounds decays near 1 to 1: give a in float32 "
            "(b may stay in 16 bits), computed in float32 from its logarithm or logit"
        )
    for name, x in {"a": a, "b": b, "h0": h0}.items():
        if x is not None and not x.is_floating_point():
            raise ValueError(f"{name} is {x.dtype}: linear_scan takes floating dtypes")
    if h0 is not None and h0.shape != (b.shape[0], *b.shape[2:]):
        raise ValueError(
            f"h0 must be (B, ...) = {(b.shape[0], *b.shape[2:])}, not {tuple(h0.shape)}"
        )
    check_lengths(lengths, b)
