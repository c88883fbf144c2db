"""The portable fast form of `prefix_attention`: one cumulative maximum and one `linear_scan`.

Relative to the running maximum the sums obey sums_t = e^(top_{t-1} - top_t) * sums_{t-1} +
e^(score_t - top_t) * [v_t, 1], a linear recurrence with one decay a head. No exponent is positive,
so scores of any size are exact, and the decay needs no gradient: the output does not depend on it.
"""

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.kernels.linear_scan import linear_scan

# Elements of a piece's values: with more, fresh memory costs more than the arithmetic.
_CACHED = 524_288


def attend(scores: Tensor, v: Tensor, sums: Tensor, top: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Average v with the weights e^score over each prefix.

    scores (B, T, H), v (B, T, H, E), sums (B, H, E + 1) of the weights times [v, 1] so far,
    relative to top (B, H), the largest score. Returns the averages (B, T, H, E), 0 where all
    weights are, and the last sums and top.
    """
    # An export keeps the number of steps open, so that there it is one piece.
    whole = scores.device.type != "cpu" or torch.compiler.is_compiling()
    steps = scores.shape[1] if whole else max(1, _CACHED // max(1, v[:, :1].numel()))
    if scores.shape[1] <= steps:
        return _attend(scores, v, sums, top)
    outputs = []
    for scores_here, v_here in zip(
        *(torch.split(z, steps, dim=1) for z in (scores, v)), strict=True
    ):
        y, sums, top = _attend(scores_here, v_here, sums, top)
        outputs.append(y)
    return torch.cat(outputs, dim=1), sums, top


def _attend(scores: Tensor, v: Tensor, sums: Tensor, top: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    tops = torch.cat([top.unsqueeze(1), scores.detach()], dim=1).cummax(dim=1).values
    tops = tops.clamp(min=torch.finfo(scores.dtype).min)  # minus their difference, never infinite
    decay = torch.exp(tops[:, :-1] - tops[:, 1:]).unsqueeze(-1)  # (B, T, H, 1)
    weight = torch.exp(scores - tops[:, 1:]).unsqueeze(-1)
    every, last = linear_scan(decay, functional.pad(v, (0, 1), value=1.0).mul_(weight), sums)
    upper, lower = every[..., :-1], every[..., -1:]
    return upper / torch.where(lower == 0, 1, lower), last, tops[:, -1]
