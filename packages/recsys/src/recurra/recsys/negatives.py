"""Items drawn to be told apart from the right ones."""

import numpy as np
import torch
from torch import Tensor


class NegativeSampler:
    """Draw items by their counts to some power, independently and with replacement.

    Args:
        counts: (V + 1,) events of each item; place 0 is no item and is never drawn.
        power: 0 draws all items alike, 1 as often as they occur.
    """

    def __init__(self, counts: np.ndarray, power: float) -> None:
        weights = np.maximum(counts, 1).astype(np.float64) ** power
        weights[0] = 0.0
        self._shares = torch.from_numpy(weights / weights.sum())
        self._edges = self._shares.cumsum(0)

    def draw(self, k: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Draw k items by torch's own generator: int64 (k,), and the log of each one's share."""
        at = torch.rand(k, dtype=torch.float64) * self._edges[-1]
        items = torch.searchsorted(self._edges, at, right=True).clamp(max=len(self._edges) - 1)
        return items.to(device), self._shares[items].log().float().to(device)
