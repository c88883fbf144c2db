"""The definition of `mixed_chunk_attention`: every pair of steps, and causally step by step."""

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


def both_ways(
    q: Tensor,
    k: Tensor,
    q_linear: Tensor,
    k_linear: Tensor,
    v: Tensor,
    group: int,
    dropout: float,
    lengths: Tensor | None,
) -> Tensor:
    """Attend to all steps of each row: (B, T, N), (B, T, M) and (B, T, P) give (B, T, P)."""
    groups = torch.arange(v.shape[1], device=v.device) // group
    weights = torch.relu(q @ k.mT / group).square()  # (B, T, T)
    weights = torch.where(groups[:, None] == groups, weights, 0)
    counts = v.new_full(v.shape[:1], v.shape[1]) if lengths is None else lengths.to(v)
    linear = q_linear @ k_linear.mT / counts.clamp(min=1)[:, None, None]
    return (functional.dropout(weights, dropout) + linear) @ v


def causal(
    q: Tensor,
    k: Tensor,
    q_linear: Tensor,
    k_linear: Tensor,
    v: Tensor,
    group: int,
    dropout: float,
    state: State,
    lengths: Tensor | None,
) -> tuple[Tensor, State]:
    """Go through the steps with a list of the group's keys and values, cleared when it is full."""
    position, memory = state["position"], state["memory"]
    kept = [functional.pad(state[name], (0, 0, 0, 1)) for name in ("k", "k_linear", "v")]
    slots = torch.arange(group, device=v.device)
    outputs = []
    inputs = zip(*(x.unbind(1) for x in (q, k, q_linear, k_linear, v)), strict=True)
    for step, (q_t, k_t, q_linear_t, k_linear_t, v_t) in enumerate(inputs):
        counts = (lengths > step).to(position) if lengths is not None else 1
        slot = position % group  # (B,)
        here = (slots == slot[:, None])[..., None]  # (B, G, 1)
        new = (k_t, k_linear_t, v_t)
        kept = [torch.where(here, x[:, None], old) for x, old in zip(new, kept, strict=True)]
        keys, linear_keys, values = kept
        # Slots that are still empty hold zeros, which weigh nothing.
        weights = torch.relu((keys @ q_t[..., None]).squeeze(2) / group).square()  # (B, G)
        weights = functional.dropout(weights, dropout)
        linear = q_linear_t[:, None] @ memory / group  # (B, 1, P)
        outputs.append((weights[:, None] @ values + linear).squeeze(1))
        position = position + counts
        full = ((slot == group - 1) & (counts == 1))[:, None, None]
        memory = torch.where(full, memory + linear_keys.mT @ values, memory)
        kept = [torch.where(full, 0, x) for x in kept]
    last = {n: x[:, : group - 1] for n, x in zip(("k", "k_linear", "v"), kept, strict=True)}
    y = torch.stack(outputs, dim=1) if outputs else v.clone()
    return y, {"position": position, "memory": memory, **last}
