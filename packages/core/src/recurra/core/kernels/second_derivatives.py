"""Gradients that can be differentiated again, for kernels whose own backward pass cannot."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def differentiable(
    run: Callable[..., tuple[Tensor, ...]],
    given: Sequence[Tensor | None],
    cotangents: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """Return the gradients to what was given, as functions of it.

    Args:
        run: a form of the kernel that autograd can differentiate, from `given` to its results.
        given: what the kernel was given; the gradient to what requires none is None.
        cotangents: the gradients to the results, or to the first of them.
    """
    # Views: an argument may be computed from another one, and that path is not ours to count.
    views = [None if z is None else z.view_as(z) for z in given]
    taken = [z for z in views if z is not None and z.requires_grad]
    pairs = [(y, g) for y, g in zip(run(*views), cotangents, strict=False) if y.requires_grad]
    outputs, gradients = [y for y, _ in pairs], [g for _, g in pairs]  # of no steps perhaps none
    found = iter(
        torch.autograd.grad(outputs, taken, gradients, create_graph=True, materialize_grads=True)
    )
    return tuple(next(found) if z is not None and z.requires_grad else None for z in views)
