"""The definition of `prefix_attention`: a plain loop that carries the maximum and the two sums."""

import torch
from torch import Tensor


def attend(scores: Tensor, v: Tensor, sums: Tensor, top: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum e^(score - top) * [v, 1] over each prefix, where top is the largest score of the prefix.

    scores (B, T, H), v (B, T, H, E), sums (B, H, E + 1) relative to top (B, H). Returns the sums at
    each step (B, T, H, E + 1), the last ones and the last top.
    """
    added = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    lowest = torch.finfo(scores.dtype).min
    every = []
    for s, x in zip(scores.unbind(1), added.unbind(1), strict=True):
        # The sums are relative to the top: whatever it is, the output is the same. So no gradient.
        higher = torch.maximum(top, s).detach().clamp(min=lowest)
        decay, weight = torch.exp(top - higher), torch.exp(s - higher)
        sums = decay.unsqueeze(-1) * sums + weight.unsqueeze(-1) * x
        top = higher
        every.append(sums)
    return (torch.stack(every, dim=1) if every else added), sums, top
