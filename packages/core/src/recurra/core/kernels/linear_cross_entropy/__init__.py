"""Cross-entropy over many items, straight from the layer before: no matrix of all scores."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.chunks import accumulation_dtype
from recurra.core.kernels.linear_cross_entropy import fast, reference
from recurra.core.kernels.triton_support import wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]

# On a GPU "auto" takes the Triton form up to this C. Its gradients are made for 128 channels at a
# time, the scores anew for each: 10 M V C FLOPs at 128, 14 at 256, 22 at 512 against 6 of the
# portable form, which by these counts (no GPU was at hand) is ahead beyond 256.
WIDEST = 256


def linear_cross_entropy(
    hidden: Tensor,
    table: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Mean cross-entropy of softmax(hidden @ table.T + bias), exact.

    The M x V scores are never in memory at once, but in "reference" and where gradients are
    differentiated. Those reach hidden, table and bias any number of times.

    Source: the fusion of the last layer with its loss is that of Wijmans et al. 2024, "Cut Your
    Losses in Large-Vocabulary Language Models" (arXiv 2411.09009); nothing is left out here.

    Args:
        hidden: (M, C), any floating dtype, as table and bias; any strides; M may be 0.
        table: (V, C), a row for each item.
        bias: (V,), or None. -inf takes an item out.
        targets: (M,) int64, from 0 to V - 1.
        backend: "fast" makes all gradients in the forward pass, in blocks of 256 positions;
            "triton" is for GPUs, in float32, and keeps one number for each position; "reference"
            has all scores; "auto" is "triton" where that can run and C is at most 256, else "fast".

    Returns:
        scalar, in float32, or float64 where an input is, in which all is computed, under autocast
        too; 0 where M is 0.

    Raises:
        ValueError: shapes or dtypes that do not fit.
    """
    _check(hidden, table, bias, targets)
    if bias is None:
        bias = table.new_zeros(len(table))
    dtype = accumulation_dtype(hidden, table, bias)
    on_gpu = wants_triton(backend, hidden, dtype) and hidden.numel() > 0
    with torch.autocast(hidden.device.type, enabled=False):
        if on_gpu and (backend == "triton" or hidden.shape[1] <= WIDEST):
            from recurra.core.kernels.linear_cross_entropy import triton

            return triton.linear_cross_entropy(hidden, table, bias, targets)
        x, rows, offsets = (z.to(dtype) for z in (hidden, table, bias))
        if backend == "reference":
            return reference.linear_cross_entropy(x, rows, offsets, targets)
        return fast.linear_cross_entropy(x, rows, offsets, targets)


def _check(hidden: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor) -> None:
    if hidden.dim() != 2 or table.dim() != 2 or hidden.shape[1] != table.shape[1]:
        raise ValueError(
            "linear_cross_entropy takes hidden (M, C) and table (V, C), "
            f"not {tuple(hidden.shape)} and {tuple(table.shape)}"
        )
    if bias is not None and bias.shape != table.shape[:1]:
        raise ValueError(f"bias must be (V,) = {tuple(table.shape[:1])}, not {tuple(bias.shape)}")
    if targets.shape != hidden.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(
            f"targets must be (M,) = {tuple(hidden.shape[:1])} in int64, "
            f"not {tuple(targets.shape)} in {targets.dtype}"
        )
    for name, x in {"hidden": hidden, "table": table, "bias": bias}.items():
        if x is not None and not x.is_floating_point():
            raise ValueError(f"{name} is {x.dtype}: linear_cross_entropy takes floating dtypes")
