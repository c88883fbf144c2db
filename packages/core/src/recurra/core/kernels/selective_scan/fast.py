"""The portable fast form of `selective_scan`: `linear_scan` over each element of the state.

Every channel and element has a decay of its own, so that nothing becomes a product of matrices. A
piece of time is taken at once: what is N times as large as the inputs then lies in the processor's
cache, and without gradients never exists for all of T.

On a GPU the scan is the Triton form of `linear_scan`, and the rest PyTorch's operations. Roofline,
for each row, step and channel with N numbers: 32 N bytes for about 7 N FLOPs. The products with
`a`, their exponentials and what is added take 16 N, the scan 12 N, what is read of its states 4 N.
It is bound by memory: (8, 4096, 2048) with N = 16 moves 34 GB, 10 ms at the 3.35 TB/s of an H100. A
kernel with the states on the chip would move 0.8 GB, the inputs and y. No GPU was at hand when this
was written: these are counts, not measurements.
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
