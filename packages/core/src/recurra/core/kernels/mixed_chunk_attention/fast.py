"""The portable fast form of `mixed_chunk_attention`: products of matrices, a group at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


def attend(
    q: Tensor, k: Tensor, q_linear: Tensor, memory: Tensor, v: Tensor, causal: bool, dropout: float
) -> Tensor:
    """Return relu(q k^T / G)^2 v + q_linear memory within each group.

    q and k (B, n, G, N), q_linear (B, n, G, M) and v (B, n, G, P) give (B, n, G, P); memory is
    (B, n, M, P), or (B, 1, M, P) for all groups.
    """
    weights = torch.relu(q @ k.mT / q.shape[2]).square()  # (B, n, G, G)
    within = functional.dropout(weights.tril() if causal else weights, dropout) @ v
    if causal:
        return within + q_linear @ memory
    return within + torch.unflatten(q_linear.flatten(1, 2) @ memory.squeeze(1), 1, q.shape[1:3])


def both_ways(
    q: Tensor,
    k: Tensor,
    q_linear: Tensor,
    k_linear: Tensor,
    v: Tensor,
    group: int,
    dropout: float,
    lengths: Tensor | None,
    attend: Callable[..., Tensor] = attend,
) -> Tensor:
    """Attend to all steps of each row: (B, T, N), (B, T, M) and (B, T, P) give (B, T, P).

    `attend` is the work within groups: the one above, or a GPU's form of it.
    """
    counts = v.new_full(v.shape[:1], v.shape[1]) if lengths is None else lengths.to(v)
    memory = k_linear.mT @ v / counts.clamp(min=1)[:, None, None]  # (B, M, P)
    groups = [_into_groups(x, group) for x in (q, k, q_linear, v)]
    y = attend(*groups[:3], memory[:, None], groups[3], False, dropout)
    return _resized(y.flatten(1, 2), v.shape[1])


def causal(
    q: Tensor,
    k: Tensor,
    q_linear: Tensor,
    k_linear: Tensor,
    v: Tensor,
    group: int,
    dropout: float,
    state: State | None,
    lengths: Tensor | None,
    attend: Callable[..., Tensor] = attend,
) -> tuple[Tensor, State]:
    """Put the steps behind those kept of the unfinished group, and run on whole groups."""
    n_rows, n_steps, _ = v.shape
    steps = v.new_full((n_rows,), n_steps, dtype=torch.int64)
    if lengths is not None:
        steps = lengths.to(steps)
    filled = torch.zeros_like(steps) if state is None else state["position"] % group  # (B,)
    memory = v.new_zeros(n_rows, k_linear.shape[2], v.shape[2])
    if state is not None:
        memory = state["memory"]
        q, q_linear = (_behind(x.new_zeros(1, 1, 1), x, filled, group) for x in (q, q_linear))
        kept = (state["k"], state["k_linear"], state["v"])
        k, k_linear, v = (
            _behind(old, x, filled, group) for old, x in zip(kept, (k, k_linear, v), strict=True)
        )
    groups = [_into_groups(x, group) for x in (q, k, q_linear, k_linear, v)]
    q, k, q_linear, k_linear, v = groups  # (B, n, G, .)
    sums = torch.cat([memory[:, None], k_linear.mT @ v], dim=1).cumsum(1)  # (B, n + 1, M, P)
    y = attend(q, k, q_linear, sums[:, :-1] / group, v, True, dropout).flatten(1, 2)
    if state is None:
        y = _resized(y, n_steps)
    else:
        y = _picked(y, filled[:, None] + torch.arange(n_steps, device=y.device))
    reached = filled + steps  # slots, counted from the group that was unfinished
    full = reached // group
    slots = (full * group)[:, None] + torch.arange(group - 1, device=y.device)  # (B, G - 1)
    taken = (slots < reached[:, None])[..., None]
    last = {
        name: torch.where(taken, _picked(x.flatten(1, 2), slots), 0)
        for name, x in {"k": k, "k_linear": k_linear, "v": v}.items()
    }
    position = reached if state is None else state["position"] + steps
    memory = sums[torch.arange(n_rows, device=y.device), full]
    return y, {"position": position, "memory": memory, **last}


def _into_groups(x: Tensor, group: int) -> Tensor:
    """Cut x (B, S, N) into (B, n, G, N), with zeros after the end."""
    n_groups = -(-x.shape[1] // group)
    return torch.unflatten(_resized(x, n_groups * group), 1, (n_groups, group))


def _resized(x: Tensor, n_steps: int) -> Tensor:
    """Cut x (B, S, N) to n_steps, or fill it up with zeros."""
    if not torch.compiler.is_exporting():
        return functional.pad(x, (0, 0, 0, n_steps - x.shape[1]))
    # An export takes a pad or a slice that does nothing in its example for no operation, and would
    # then hold for whole groups only.
    line = functional.pad(x, (0, 0, 0, 1))
    return line.index_select(1, torch.arange(n_steps, device=x.device).clamp(max=x.shape[1]))


def _behind(kept: Tensor, x: Tensor, filled: Tensor, group: int) -> Tensor:
    """Put x (B, T, N) behind the first `filled` (B,) of kept (B, G - 1, N): (B, G - 1 + T, N)."""
    kept = kept.expand(x.shape[0], group - 1, x.shape[2])
    slots = torch.arange(group - 1 + x.shape[1], device=x.device)
    before = slots < filled[:, None]
    source = torch.where(before, slots, group - 1 - filled[:, None] + slots)  # (B, S)
    # Zeros follow x where less than G - 1 steps were kept.
    line = functional.pad(torch.cat([kept, x], dim=1), (0, 0, 0, group - 1))
    return _picked(line, source)


def _picked(line: Tensor, steps: Tensor) -> Tensor:
    """Return the steps (B, K) of line (B, S, N), the last of them where they lie beyond."""
    rows = torch.arange(line.shape[0], device=line.device)[:, None]
    return line[rows, steps.clamp(max=line.shape[1] - 1)]
