"""The definition of `linear_cross_entropy`: the whole matrix of scores."""

import torch
from torch import Tensor


def linear_cross_entropy(hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean of log(sum of exp(scores)) - the target's score: hidden (M, C), table (V, C)."""
    scores = hidden @ table.t() + bias  # (M, V)
    right = scores.gather(1, targets[:, None]).squeeze(1)
    return (torch.logsumexp(scores, dim=1) - right).sum() / max(len(hidden), 1)
