"""The portable fast form of `delta_rule`: a triangular system a chunk instead of a step at a time.

Let u_i = beta_i (v_i - S k_i) be what step i writes, so that S_i is the decayed start of the chunk
plus the decayed u_j k_j^T of its steps. Within a chunk, with d_ij the decay from j to i and d_i
that from the start S_0,

    u_i + beta_i sum over j < i of d_ij (k_j . k_i) u_j = beta_i v_i - beta_i d_i S_0 k_i :

a unit lower triangular system. Its right sides without S_0 are solved for all chunks at once (W and
U of the WY form, arXiv 2406.06484, section 3.2); the loop over chunks puts S_0 in.
"""

import torch
from torch import Tensor

from recurra.core.kernels.chunks import decay_between, from_chunks, into_chunks


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_a: Tensor, state: Tensor, *, chunk: int
) -> tuple[Tensor, Tensor]:
    """Run in chunks: q and k (B, T, H, N), v (B, T, H, P), beta and log_a (B, T, H)."""
    n_steps, width = v.shape[1], v.shape[3]
    q, k, v, beta, log_a = (into_chunks(z, chunk) for z in (q, k, v, beta, log_a))
    between = decay_between(log_a)  # (B, n, H, L, L)
    since_start = log_a.cumsum(-1).exp()[..., None]  # (B, n, H, L, 1)

    k_beta = k * beta[..., None]
    system = ((k_beta @ k.mT) * between).tril(-1)  # its unit diagonal is not written
    sides = torch.cat([v * beta[..., None], k_beta * since_start], dim=-1)
    solved = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True)
    written, erased = solved.split([width, k.shape[-1]], dim=-1)  # (B, n, H, L, P), (.., L, N)

    weights = (q @ k.mT) * between  # what step i reads of the u that step j wrote
    queries = q * since_start
    kept_keys = k * between[..., -1, :, None]
    outputs = []
    chunks = (written, erased, weights, queries, kept_keys, since_start[..., -1:, :])
    for u, w, weight, query, key, decay in zip(*(z.unbind(1) for z in chunks), strict=True):
        u = u - w @ state.mT  # (B, H, L, P)
        outputs.append(query @ state.mT + weight @ u)
        state = decay * state + u.mT @ key
    return from_chunks(torch.stack(outputs, dim=1), n_steps), state
