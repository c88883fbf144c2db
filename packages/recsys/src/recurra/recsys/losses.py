"""How wrong scores are: cross-entropy over all items or some, and gBCE.

The exact one never has the whole matrix of scores; the others look at the right items and at one
shared set of others.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.kernels import linear_cross_entropy

__all__ = ["gbce", "linear_cross_entropy", "sampled_softmax"]


def sampled_softmax(
    hidden: Tensor,
    embed: Callable[[Tensor], Tensor],
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    log_shares: Tensor,
) -> Tensor:
    """Mean cross-entropy of each target against one set of items that all positions share.

    The sum of exp(score) over the catalogue is estimated by that of the target and, for each other
    item drawn, exp(score) / (k q), where q is its chance in a draw: an unbiased estimate, whatever
    items are drawn more often. Drawn targets do not count against themselves.

    Source: Bengio and Senecal 2008, "Adaptive Importance Sampling to Accelerate Training of a
    Neural Probabilistic Language Model"; that the target takes no correction, which many
    implementations give it, Khrylchenko et al. 2025 (arXiv 2507.09331).

    Args:
        hidden: (M, C).
        embed: gives the vectors (n, C) of items (n,), such as `nn.Embedding`, whose gradient then
            has only the rows of targets and negatives, where it is a sparse one.
        bias: (V,) or None.
        targets: (M,) int64.
        negatives: (k,) int64, drawn independently, with replacement.
        log_shares: (k,), log q of each.

    Returns:
        scalar; 0 where M is 0.
    """
    right, others = _scores(hidden, embed, bias, targets, negatives)
    others = others - (log_shares + math.log(len(negatives)))
    others = others.masked_fill(targets[:, None] == negatives, -math.inf)
    total = torch.logsumexp(torch.cat([right[:, None], others], dim=1), dim=1)
    return (total - right).sum() / max(len(hidden), 1)


def gbce(
    hidden: Tensor,
    embed: Callable[[Tensor], Tensor],
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    calibration: float,
    *,
    n_items: int,
) -> Tensor:
    """Mean generalised binary cross-entropy of each target and one shared set of negatives.

    -(beta log sigmoid(s+) + sum log(1 - sigmoid(s-))) / (k + 1), where
    beta = a (t (1 - 1 / a) + 1 / a) and a = k / (items - 1): with t = 1 the probabilities that come
    out are those of all items, with t = 0 it is the plain loss, which is overconfident.

    Source: Petrov and Macdonald 2023, "gSASRec" (arXiv 2308.07192, section 5). There each position
    has negatives of its own; here they are shared, and a target is no negative of itself.

    Args:
        hidden, embed, bias, targets: as for `sampled_softmax`.
        negatives: (k,) int64, drawn uniformly.
        calibration: t, from 0 to 1.
        n_items: how many there are.

    Returns:
        scalar; 0 where M is 0.
    """
    k = len(negatives)
    alpha = k / max(n_items - 1, 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    right, others = _scores(hidden, embed, bias, targets, negatives)
    wrong = functional.logsigmoid(-others).masked_fill(targets[:, None] == negatives, 0.0)
    total = beta * functional.logsigmoid(right).sum() + wrong.sum()
    return -total / ((k + 1) * max(len(hidden), 1))


def _scores(
    hidden: Tensor,
    embed: Callable[[Tensor], Tensor],
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
) -> tuple[Tensor, Tensor]:
    """Scores (M,) of the targets and (M, k) of the negatives."""
    right = (hidden * embed(targets)).sum(dim=1)
    others = hidden @ embed(negatives).t()
    if bias is None:
        return right, others
    return right + bias[targets], others + bias[negatives]
