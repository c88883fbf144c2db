"""Attention that is quadratic within a group of steps and linear from group to group: FLASH's."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.chunks import accumulation_dtype
from recurra.core.kernels.lengths import check_lengths, zero_beyond
from recurra.core.kernels.mixed_chunk_attention import fast, reference
from recurra.core.kernels.triton_support import wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]
State = dict[str, Tensor]


def mixed_chunk_attention(
    q: Tensor,
    k: Tensor,
    q_linear: Tensor,
    k_linear: Tensor,
    v: Tensor,
    *,
    group: int = 256,
    causal: bool = False,
    dropout: float = 0.0,
    state: State | None = None,
    lengths: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, State]:
    """Attend to the steps of the own group by squared ReLU, and to all groups by sums of k v^T.

    Groups are `group` = G steps each from the first on; a step of a row with n counted steps gets

        y_t = sum over j in its group of relu(q_t . k_j / G)^2 v_j
              + q_linear_t . (sum over all j of k_linear_j v_j^T) / n.

    A causal one takes j <= t in the first sum and only the groups before in the second, which is
    then divided by G: the number of steps to come is not known. It costs O(T (G + N) (N + P)).

    Source: Hua et al. 2022, "Transformer Quality in Linear Time" (arXiv 2202.10447, section 3.2 and
    code 6); the divisors are those of MossFormer2's code (`FLASH_ShareA_FFConvM` of
    ClearerVoice-Studio).

    Args:
        q, k: (B, T, N), any floating dtype, as all others; T and B may be 0; any strides.
        q_linear, k_linear: (B, T, M), the queries and keys of the second sum.
        v: (B, T, P).
        group: G, at least 1.
        causal: whether only the steps up to each are attended to.
        dropout: the share of the weights within a group that is dropped, at random.
        state: what a causal call returned before; None is the beginning.
        lengths: (B,) integers from 0 to T: how many steps of each row count. The others change
            nothing: their y and their gradients are zero, even where the inputs are NaN.
        backend: "fast" is products of matrices a group at a time; "triton" the same in a kernel for
            GPUs, in float32 and without dropout; "reference" is the plain loop; "auto" is "triton"
            where that can run, else "fast", for one causal step the loop.

    Returns:
        y (B, T, P) in the dtype of v, and the state after each row's last counted step, empty if
        not causal: "position" (B,), the steps so far; "memory" (B, M, P), the sum over the groups
        that are full; "k", "k_linear", "v" (B, G - 1, .), the steps of the group that is not, then
        zeros. All is computed and kept in float32, or in float64 where an input is, under autocast
        too.

    Raises:
        ValueError: shapes that do not fit together, lengths that are no integers, group below 1, a
            state for attention that is not causal, dropout in the Triton form.
    """
    _check(q, k, q_linear, k_linear, v, group)
    check_lengths(lengths, v)
    if state and causal:
        _check_state(state, k, k_linear, v, group)
    dtype = accumulation_dtype(q, k, q_linear, k_linear, v)
    inputs = zero_beyond(lengths, q, k, q_linear, k_linear, v)
    qs, ks, q_linears, k_linears, values = (x.to(dtype) for x in inputs)
    heads = (qs, ks, q_linears, k_linears, values)
    if backend == "triton" and dropout:
        raise ValueError(f'backend="triton" has no dropout, not {dropout}: take backend="auto"')
    attend = fast.attend
    if wants_triton(backend, v, dtype) and v.numel() and not dropout:
        from recurra.core.kernels.mixed_chunk_attention import triton

        attend = triton.attend
    by_steps = backend == "reference" or v.shape[1] <= 1  # one step of a stream is no group
    with torch.autocast(v.device.type, enabled=False):
        if not causal:
            if state:
                raise ValueError("only causal attention goes on from a state: call it on all steps")
            last: State = {}
            if backend == "reference":
                y = reference.both_ways(*heads, group, dropout, lengths)
            else:
                y = fast.both_ways(*heads, group, dropout, lengths, attend)
        elif by_steps:
            before = state or initial_state(k, k_linear, v, group)
            y, last = reference.causal(*heads, group, dropout, before, lengths)
        else:
            y, last = fast.causal(*heads, group, dropout, state, lengths, attend)
    return zero_beyond(lengths, y)[0].to(v.dtype), last


def initial_state(k: Tensor, k_linear: Tensor, v: Tensor, group: int) -> State:
    """Return the state before the first step, for rows shaped and typed as (B, T, .)."""
    dtype = accumulation_dtype(k, k_linear, v)
    rows = v.shape[0]
    kept = {"k": k, "k_linear": k_linear, "v": v}
    return {
        "position": torch.zeros(rows, dtype=torch.int64, device=v.device),
        "memory": v.new_zeros(rows, k_linear.shape[2], v.shape[2], dtype=dtype),
        **{n: x.new_zeros(rows, group - 1, x.shape[2], dtype=dtype) for n, x in kept.items()},
    }


def _check(q: Tensor, k: Tensor, q_linear: Tensor, k_linear: Tensor, v: Tensor, group: int) -> None:
    if q.dim() != 3 or q.shape != k.shape or q_linear.shape != k_linear.shape:
        raise ValueError(
            "q and k must be (B, T, N), q_linear and k_linear (B, T, M), not "
            f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(q_linear.shape)}, {tuple(k_linear.shape)}"
        )
    for name, x in {"q_linear": q_linear, "v": v}.items():
        if x.dim() != 3 or x.shape[:2] != q.shape[:2]:
            raise ValueError(f"{name} must be {tuple(q.shape[:2])} + (.,), not {tuple(x.shape)}")
    if group < 1:
        raise ValueError(f"group must be at least 1, not {group}")


def _check_state(state: State, k: Tensor, k_linear: Tensor, v: Tensor, group: int) -> None:
    for name, expected in initial_state(k, k_linear, v, group).items():
        if name not in state or state[name].shape != expected.shape:
            found = tuple(state[name].shape) if name in state else "nothing"
            raise ValueError(f'state["{name}"] must be {tuple(expected.shape)}, not {found}')
