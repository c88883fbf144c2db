"""The portable fast form of `selective_scan`: `linear_scan` over each element of the state.

Every channel and element has a decay of its own, so that nothing becomes a product of matrices. A
piece of time is taken at once: what is N times as large as the inputs then lies in the processor's
cache, and without gradients never exists for all of T.
"""

import torch
from torch import Tensor

from recurra.core.kernels.chunks import is_free
from recurra.core.kernels.linear_scan import linear_scan

_PIECE = 512  # steps; at D = 128 and N = 16 from 256 to 1024 are alike


def selective_scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Run in pieces: u and delta (B, T, D), a (D, N), b and c (B, T, N), state (B, D, N)."""
    outputs = []
    piece = u.shape[1] if is_free(u.shape[1]) else _PIECE
    pieces = (torch.split(z, piece, dim=1) for z in (u, delta, b, c))
    for u_piece, delta_piece, b_piece, c_piece in zip(*pieces, strict=True):
        decay = torch.exp(delta_piece[..., None] * a)  # (B, T, D, N)
        added = (delta_piece * u_piece)[..., None] * b_piece[:, :, None]
        states, state = linear_scan(decay, added, state)
        outputs.append((states @ c_piece[..., None]).squeeze(-1))
    return torch.cat(outputs, dim=1), state
