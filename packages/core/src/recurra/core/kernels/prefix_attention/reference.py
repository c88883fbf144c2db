"""The definition of `prefix_attention`: a plain loop that carries the maximum and the two sums."""

import torch
from torch import Tensor


def attend(scores: Tensor, v: Tensor, sums: Tensor, top: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Average v with the weights e^score over each prefix.

    scores (B, T, H), v (B, T, H, E), sums (B, H, E + 1) of the weights times [v, 1] so far,
    relative to top (B, H), the largest score. Returns the averages (B, T, H, E), 0 where all
    weights are, and the last sums and top.
    """
    added = torch.cat([v, v.new_ones(*v.shape[:-1], 1)], dim=-1)
    lowest = torch.finfo(scores.dtype).min
    averages = []
    for s, x in zip(scores.unbind(1), added.unbind(1), strict=True):
        # The sums are relative to the top: whatever it is, the output is the same. So no gradient.
        higher = torch.maximum(top, s).detach().clamp(min=lowest)
        decay, weight = torch.exp(top - higher), torch.exp(s - higher)
        sums = decay.unsqueeze(-1) * sums + weight.unsqueeze(-1) * x
        top = higher
        upper, lower = sums[..., :-1], sums[..., -1:]
        averages.append(upper / torch.where(lower == 0, 1, lower))
    return (torch.stack(averages, dim=1) if averages else v), sums, top
