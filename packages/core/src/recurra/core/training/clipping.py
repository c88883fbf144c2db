"""Gradients clipped by the norm of all of them, also those of which only some rows are there."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale all gradients so that their norm is at most `limit`.

    torch's own clipping takes no sparse gradients. Here those are coalesced first, so that a row
    that was looked up twice counts as its sum; the rest is torch's to the bit.

    Source: Pascanu, Mikolov and Bengio 2013 (arXiv 1211.5063, section 3.2).

    Args:
        parameters: those without a gradient do not count.
        limit: infinity never clips.

    Returns:
        the norm before that, a scalar.
    """
    found = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            found.append(parameter.grad._values())
        else:
            found.append(parameter.grad)
    norm = torch.nn.utils.get_total_norm(found)
    share = torch.clamp(limit / (norm + 1e-6), max=1.0)
    for gradient in found:
        gradient.mul_(share.to(gradient.device))
    return norm
