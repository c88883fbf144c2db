"""Retention: linear attention whose decay is a constant of the head."""

import torch
from torch import Tensor

from recurra.core.kernels.chunks import accumulation_dtype, check_attention
from recurra.core.kernels.ssd import Backend, ssd


def retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    log_gamma: Tensor | None = None,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    chunk: int = 64,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run S_t = gamma_h S_{t-1} + v_t k_t^T and y_t = S_t q_t: `ssd` with a fixed decay a head.

    Rotation of q and k, the scale N ** -0.5 and the norm of the output are the caller's.

    Source: Sun et al. 2023, "Retentive Network" (arXiv 2307.08621, eq. 6 and 8).

    Args:
        q, k: (B, T, H, N), any floating dtype.
        v: (B, T, H, P).
        log_gamma: (H,), the logarithm of each head's decay; None is the paper's
            gamma_h = 1 - 2 ** (-5 - h).
        state: (B, H, P, N), before the first step; None is zeros.
        lengths: (B,) integers from 0 to T, as in `ssd`.
        chunk: steps taken at once, as in `ssd`.
        backend: as in `ssd`.

    Returns:
        y (B, T, H, P) in the dtype of v, and the last state (B, H, P, N), as in `ssd`.

    Raises:
        ValueError: shapes that do not fit together.
    """
    check_attention(q, k, v, state, chunk)
    heads = v.shape[2]
    if log_gamma is not None and log_gamma.shape != (heads,):
        raise ValueError(f"log_gamma must be (H,) = {(heads,)}, not {tuple(log_gamma.shape)}")
    if log_gamma is None:
        log_gamma = retention_log_gamma(heads).to(v.device, accumulation_dtype(q, k, v))
    return ssd(
        v,
        log_gamma.expand(*v.shape[:2], heads),
        k,
        q,
        state=state,
        lengths=lengths,
        chunk=chunk,
        backend=backend,
    )


def retention_log_gamma(heads: int) -> Tensor:
    """Return log(1 - 2 ** (-5 - h)) for h = 0 ... H - 1, (H,) in float64 (eq. 8).

    In float64 because 1 - 2 ** (-5 - h) is 1 in float32 from the twentieth head on.
    """
    return torch.log1p(-torch.exp2(-5.0 - torch.arange(heads, dtype=torch.float64)))
