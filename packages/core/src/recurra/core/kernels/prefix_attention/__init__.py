"""Attention as a recurrence: one query a head, over every prefix of the sequence at once."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.lengths import check_lengths
from recurra.core.kernels.prefix_attention import fast, reference
from recurra.core.kernels.triton_support import wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]


def prefix_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    scale: float | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Attend with a fixed query to the steps up to each step, softmax over the prefix.

        y_t = sum over i <= t of e^(s_i) v_i / sum over i <= t of e^(s_i),   s_i = scale * q . k_i.

    It costs O(T), and a stream keeps E + 2 numbers a head however long it runs. Scores, sums and
    state are in float32, or in float64 where an argument is; scores of any size are exact.
    Gradients reach q, k, v and the state, any number of times.

    Source: Feng et al. 2024, "Attention as an RNN" (arXiv 2405.13956, sections 3.1 and 3.2), whose
    (m, u, w) are the largest score, the lower and the upper sum. Their prefix scan is replaced: the
    running maximum is known beforehand, and the rest is a `linear_scan`.

    Args:
        q: (H, D), one query a head for all rows, or (B, H, D).
        k: (B, T, H, D), any floating dtype; T and B may be 0; any strides.
        v: (B, T, H, E).
        state: (B, H, E + 2), what an earlier call returned; zeros, like None, are an empty prefix.
        mask: (B, T) booleans: False leaves the step out of all prefixes. While a prefix is empty,
            its y is zero.
        lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the row
            changes nothing, and its y is zero.
        scale: what the products are multiplied by; the default is D ** -0.5.
        backend: "fast" is made of one cumulative maximum and one `linear_scan`; "triton" is for
            GPUs, in float32; "reference" is the plain loop; "auto" is "triton" where that can run,
            else "fast".

    Returns:
        y (B, T, H, E) in the dtype of v, and the next state (B, H, E + 2) in float32 or float64:
        the upper sum, the lower sum, and the largest score, which they are relative to. The largest
        score carries no gradient; the two sums carry all of it.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """
    _check(q, k, v, state, mask, lengths)
    dtype = torch.float32
    for x in (q, k, v) if state is None else (q, k, v, state):
        dtype = torch.promote_types(dtype, x.dtype)
    counted, inside = mask, None
    if lengths is not None:
        inside = torch.arange(k.shape[1], device=k.device) < lengths[:, None]  # (B, T)
        counted = inside if mask is None else inside & mask
    if counted is not None:  # Chosen, not multiplied: what is left out may be NaN.
        k, v = (torch.where(counted[:, :, None, None], x, 0) for x in (k, v))
    query = q.to(dtype) * (q.shape[-1] ** -0.5 if scale is None else scale)
    with torch.autocast(k.device.type, enabled=False):  # which would round the scores to 16 bits
        equation = "bthd,bhd->bth" if q.dim() == 3 else "bthd,hd->bth"
        scores = torch.einsum(equation, k.to(dtype), query)
    if counted is not None:
        scores = torch.where(counted.unsqueeze(-1), scores, -torch.inf)
    if state is None:
        state = v.new_zeros(v.shape[0], *v.shape[2:-1], v.shape[-1] + 2, dtype=dtype)
    sums, top = _unpack(state.to(dtype))
    one_step = k.shape[1] == 1  # of a stream: no scan, and what ONNX has no cummax for
    run = reference.attend if backend == "reference" or one_step else fast.attend
    if wants_triton(backend, v, dtype):
        from recurra.core.kernels.prefix_attention import triton

        run = triton.attend
    y, sums, top = run(scores, v.to(dtype), sums, top)
    if inside is not None:
        y = torch.where(inside[:, :, None, None], y, 0)
    empty = sums[..., -1] == 0
    top = torch.where(empty, 0, top)
    return y.to(v.dtype), torch.cat([sums, top.unsqueeze(-1)], dim=-1)


def _unpack(state: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums and the score that they are relative to, which is the lowest while empty."""
    sums, top = state[..., :-1], state[..., -1]
    # As far as it is an input, a higher top means larger sums; from here on it is a constant.
    sums = sums * torch.exp(top - top.detach()).unsqueeze(-1)
    return sums, torch.where(sums[..., -1] == 0, torch.finfo(top.dtype).min, top.detach())


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None,
    mask: Tensor | None,
    lengths: Tensor | None,
) -> None:
    if k.dim() != 4 or v.dim() != 4 or k.shape[:3] != v.shape[:3]:
        raise ValueError(
            "prefix_attention takes k (B, T, H, D) and v (B, T, H, E), "
            f"not {tuple(k.shape)} and {tuple(v.shape)}"
        )
    rows, steps, heads, width = k.shape
    if q.shape not in ((heads, width), (rows, heads, width)):
        raise ValueError(
            f"q must be (H, D) = {(heads, width)} or (B, H, D), not {tuple(q.shape)}: "
            "a query for each step is another operation"
        )
    if state is not None and state.shape != (rows, heads, v.shape[3] + 2):
        raise ValueError(
            f"state must be (B, H, E + 2) = {(rows, heads, v.shape[3] + 2)}, "
            f"not {tuple(state.shape)}"
        )
    for name, x in {"q": q, "k": k, "v": v, "state": state}.items():
        if x is not None and not x.is_floating_point():
            raise ValueError(f"{name} is {x.dtype}: prefix_attention takes floating dtypes")
    if mask is not None and (mask.shape != (rows, steps) or mask.dtype != torch.bool):
        raise ValueError(
            f"mask must be (B, T) = {(rows, steps)} booleans, not {tuple(mask.shape)} {mask.dtype}"
        )
    check_lengths(lengths, k)
