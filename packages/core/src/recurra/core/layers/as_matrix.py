"""A linear layer as the matrix that it is, to look at and to compare with others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def as_matrix(layer: Callable[..., Any], x: Tensor, *others: Tensor) -> Tensor:
    """Return the map from all steps of x to all steps of y, each step's y to a unit impulse.

    Attention with its weights held, state spaces and linear recurrences are all such maps: their
    matrices show what a layer remembers. A causal one is lower triangular in time; one whose state
    has n numbers has blocks below the diagonal of rank n at most. It costs T * C backward passes.

    Source: Sieber et al. 2024, "Understanding the differences in Foundation Models" (arXiv
    2405.15731, section 3: the dynamical systems framework).

    Args:
        layer: a layer that declares `is_linear`, or a function that is linear in x, such as
            `lambda x: ssd(x, log_a, b, c)`; if it returns a pair, as layers and kernels do, y is
            the first.
        x: (1, T, ...), which gives shape and dtype; float64 makes an exact matrix. Its values are
            used only to see that the map is linear.
        others: further arguments after x that are held.

    Returns:
        (T, ..., T, ...), the axes of y, then those of x, without the row:
        y[t, c] = sum over s and k of matrix[t, c, s, k] x[s, k].

    Raises:
        ValueError: x has not one row; a layer that says it is not linear, or a map that is not.
    """
    if isinstance(layer, nn.Module) and not getattr(layer, "is_linear", True):
        raise ValueError(f"{type(layer).__name__} is not linear in x, so it has no matrix")
    if x.dim() < 2 or x.shape[0] != 1:
        raise ValueError(f"x must be one row, (1, T, ...), not {tuple(x.shape)}")

    def run(steps: Tensor) -> Tensor:
        result = layer(steps[None], *others)
        y: Tensor = result[0] if isinstance(result, tuple) else result
        return y[0]

    steps = x.detach()[0]
    at = torch.zeros_like(steps)
    jacobian = torch.autograd.functional.jacobian(run, at)  # type: ignore[no-untyped-call]
    matrix: Tensor = jacobian.detach()
    with torch.no_grad():
        expected = run(steps)
        found = torch.tensordot(matrix, steps, dims=steps.dim())
    # Rounding is far below this, and a bias or a gate far above.
    bound = 1e3 * torch.finfo(x.dtype).eps * max(1.0, float(expected.abs().max()))
    error = float((found - expected).abs().max())
    if not error <= bound:
        raise ValueError(
            f"the map is not linear in x: its matrix times x is {error:.3g} away from y, more than "
            f"rounding ({bound:.1g})"
        )
    return matrix
