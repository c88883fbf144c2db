"""The portable fast form of `ssd`: products of matrices in chunks, a loop over the chunks' states.

Inside a chunk, step i meets step j <= i with weight (c_i . b_j) times the decay between them; what
came before the chunk meets it through the state. The products c . b are made once a group of heads.

On one core with AVX2 (`benchmarks/kernels.py ssd`), the loop over steps takes 12 to 16 times as
long forward and 18 to 20 times with gradients for 4 heads of 64 x 64 over 4096 steps.
"""

import torch
from torch import Tensor

from recurra.core.kernels.chunks import carry, decay_between, from_chunks, into_chunks, is_free

# Elements of the largest tensor of a piece: with more, fresh memory costs more than the products.
_CACHED = 131_072


def ssd(
    x: Tensor, log_a: Tensor, b: Tensor, c: Tensor, state: Tensor, *, chunk: int
) -> tuple[Tensor, Tensor]:
    """Run in chunks: x (B, T, H, P), log_a (B, T, H), b and c (B, T, G, N), state (B, H, P, N)."""
    if x.device.type != "cpu" or is_free(x.shape[1]):
        return _in_chunks(x, log_a, b, c, state=state, chunk=chunk)
    rows, _, heads, width = x.shape
    in_a_chunk = max(1, rows * heads * chunk * max(chunk, width, b.shape[3]))
    steps = chunk * max(1, _CACHED // in_a_chunk)
    outputs = []
    pieces = (torch.split(z, steps, dim=1) for z in (x, log_a, b, c))
    for piece in zip(*pieces, strict=True):
        y, state = _in_chunks(*piece, state=state, chunk=chunk)
        outputs.append(y)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1), state


def _in_chunks(
    x: Tensor, log_a: Tensor, b: Tensor, c: Tensor, *, state: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    n_steps, heads, width = x.shape[1:]
    groups = b.shape[2]
    split = (groups, heads // groups)  # (G, R): R heads share a group's b and c
    x = torch.unflatten(into_chunks(x, chunk), 2, split)  # (B, n, G, R, L, P)
    log_a = torch.unflatten(into_chunks(log_a, chunk), 2, split)  # (B, n, G, R, L)
    b, c = into_chunks(b, chunk), into_chunks(c, chunk)  # (B, n, G, L, N)

    between = decay_between(log_a)  # (B, n, G, R, L, L)
    since_start = log_a.cumsum(-1).exp()  # (B, n, G, R, L)
    inside = ((c @ b.mT)[:, :, :, None] * between) @ x  # (B, n, G, R, L, P)

    kept = (x * between[..., -1, :, None]).mT.flatten(3, 4)  # (B, n, G, R * P, L)
    added = torch.unflatten(kept @ b, 3, (split[1], width)).flatten(2, 3)  # (B, n, H, P, N)
    decay = since_start[..., -1].flatten(2)[..., None, None]
    before, state = carry(added, decay, state)

    before = torch.unflatten(before, 2, split).flatten(3, 4)  # (B, n, G, R * P, N)
    carried = torch.unflatten(c @ before.mT, -1, (split[1], width))  # (B, n, G, L, R, P)
    y = torch.addcmul(inside, since_start[..., None], carried.movedim(4, 3))
    return from_chunks(y.flatten(2, 3), n_steps), state
