"""Time things on one thread of a CPU so that noise from other work cancels."""

import time
from collections.abc import Callable

import torch
from torch import Tensor


def timed(
    way: Callable[..., Tensor], inputs: tuple[Tensor, ...], backward: bool
) -> Callable[[], None]:
    """Return what is timed: a function of tensors, or it with its gradients."""

    @torch.no_grad()
    def forward() -> None:
        way(*inputs)

    def forward_and_backward() -> None:
        leaves = (x.detach().requires_grad_(x.is_floating_point()) for x in inputs)
        way(*leaves).sum().backward()

    return forward_and_backward if backward else forward


def cpu_seconds(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each repeat of each step; they take turns, the first left out."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 1):
        for name, run in steps.items():
            start = time.process_time()
            run()
            samples[name].append(time.process_time() - start)
    return {name: values[1:] for name, values in samples.items()}
