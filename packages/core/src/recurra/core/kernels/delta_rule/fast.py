"""The portable fast form of `delta_rule`: a triangular system a chunk instead of a step at a time.

Let u_i = beta_i (v_i - S k_i) be what step i writes, so that S_i is the decayed start of the chunk
plus the decayed u_j k_j^T of its steps. Within a chunk, with d_ij the decay from j to i and d_i
that from the start S_0,

    u_i + beta_i sum over j < i of d_ij (k_j . k_i) u_j = beta_i v_i - beta_i d_i S_0 k_i :

a unit lower triangular system. Its right sides without S_0 are solved for all chunks at once (W and
U of the WY form, arXiv 2406.06484, section 3.2); the loop over chunks puts S_0 in, and what is
read of the states is products of matrices of all chunks at once again.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recurra.core.kernels.chunks import decay_between, from_chunks, into_chunks


def carry(
    written: Tensor, erased: Tensor, keys: Tensor, decay: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run u = written - erased S, S = decay S + keys^T u over the chunks, axis 1.

    written (B, n, H, L, P), erased and keys (B, n, H, L, N), decay (B, n, H, 1, 1), and the state
    turned, (B, H, N, P). Returns u, the states before the chunks (B, n, H, N, P), and the last.
    """
    every, before = [], []
    chunks = (written, erased, keys, decay)
    for u, w, key, a in zip(*(z.unbind(1) for z in chunks), strict=True):
        before.append(state)
        u = u - w @ state
        every.append(u)
        state = a * state + key.mT @ u
    return torch.stack(every, dim=1), torch.stack(before, dim=1), state


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_a: Tensor,
    state: Tensor,
    *,
    chunk: int,
    run: Callable[..., tuple[Tensor, Tensor, Tensor]] = carry,
) -> tuple[Tensor, Tensor]:
    """Run in chunks: q and k (B, T, H, N), v (B, T, H, P), beta and log_a (B, T, H).

    `run` is the loop over them: `carry`, or a GPU's form of it.
    """
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
    u, before, last = run(written, erased, kept_keys, since_start[..., -1:, :], state.mT)
    return from_chunks(queries @ before + weights @ u, n_steps), last.mT
