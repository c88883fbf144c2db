"""Dropout that draws its random numbers four at once on a CPU."""

import torch
from torch import Tensor, nn

DRAWS = 2**16  # of a number's 16 random bits


class Dropout(nn.Dropout):
    """Zero each number with probability p in training, and scale the others by 1 / (1 - p).

    On a CPU torch draws a number for each, one after another, which takes longer than the matrix
    products of a narrow network. Here one draw of 64 bits is for four numbers, so that p is a
    multiple of 2 ** -16, the nearest one above 0; other devices have torch's own way.

    Source: Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting" (JMLR 15).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop from x of any shape."""
        if not self.training or self.p in (0.0, 1.0) or x.device.type != "cpu":
            return super().forward(x)
        kept = min(round((1 - self.p) * DRAWS), DRAWS - 1)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        return x * (bits < kept - DRAWS // 2).to(x.dtype).mul_(DRAWS / kept)
