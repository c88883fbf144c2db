"""Memory: what a stream of softmax attention keeps, and what a step costs, as it goes on.

`PrefixAttention` has one query a head, so its softmax over the past is a recurrence: a stream keeps
two sums and a maximum. The usual way keeps all keys and values. It is given the same ones and the
same query here, and has to find the same numbers; only the usual way can ask anew at each step.

Source: Feng et al. 2024, "Attention as an RNN" (arXiv 2405.13956).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from recurra.core.layers import PrefixAttention

WIDTH = 64
HEADS = 4
REPEATS = 15  # steps over the cache that are timed at each mark


@dataclass
class Kept:
    """What a way of streaming keeps at each mark, what a step costs there, and how far it errs."""

    n_bytes: list[int] = field(default_factory=list)
    step_ms: list[float] = field(default_factory=list)  # CPU time of one thread
    error: float = 0.0  # the largest difference to the parallel form

    def add(self, n_bytes: int, step_ms: float, y: Tensor, whole: Tensor) -> None:
        """Enter a mark; y and whole (1, ., C) are of steps up to it."""
        self.n_bytes.append(n_bytes)
        self.step_ms.append(step_ms)
        self.error = max(self.error, float((y - whole).abs().max()))


@torch.no_grad()
def memory(
    seed: int, steps: int = 10_000, advance: Callable[[], None] = lambda: None
) -> tuple[list[int], Kept, Kept]:
    """Stream random steps; return ten marks, and what the state and the cache were at each."""
    torch.manual_seed(seed)
    layer = PrefixAttention(WIDTH, HEADS)
    x = torch.randn(1, steps, WIDTH)
    whole, _ = layer(x)
    parts = x.split(steps // 10, dim=1)
    marks, of_state, of_cache = [], Kept(), Kept()
    state = layer.initial_state(x)
    for part in parts:
        begun = time.process_time()
        outputs = []
        for now in part.split(1, dim=1):
            y, state = layer(now, state)
            outputs.append(y)
            advance()
        step_ms = 1e3 * (time.process_time() - begun) / part.shape[1]
        before = marks[-1] if marks else 0
        marks.append(before + part.shape[1])
        n_bytes = sum(tensor.nbytes for tensor in state.values())
        of_state.add(n_bytes, step_ms, torch.cat(outputs, dim=1), whole[:, before : marks[-1]])
        of_cache.add(
            *attend_to_cache(layer, x[:, : marks[-1]]), whole[:, marks[-1] - 1 : marks[-1]]
        )
    return marks, of_state, of_cache


def attend_to_cache(layer: PrefixAttention, x: Tensor) -> tuple[int, float, Tensor]:
    """Take the last step of x (1, T, C) with the keys and values of all steps before it kept.

    Returns:
        Bytes that are kept, CPU milliseconds of the step, and its output (1, 1, C).
    """
    heads = (HEADS, WIDTH // HEADS)
    keys, values = (
        matrix(x).unflatten(2, heads).transpose(1, 2).contiguous()  # (1, H, T, D)
        for matrix in (layer.key, layer.value)
    )
    now, query = x[:, -1:], layer.query[None, :, None]  # (1, H, 1, D)
    begun = time.process_time()
    for _ in range(REPEATS):
        for cache, matrix in ((keys, layer.key), (values, layer.value)):
            cache[:, :, -1:] = matrix(now).unflatten(2, heads).transpose(1, 2)
        y = scaled_dot_product_attention(query, keys, values)
        y = layer.out(y.transpose(1, 2).flatten(2))
    return keys.nbytes + values.nbytes, 1e3 * (time.process_time() - begun) / REPEATS, y
