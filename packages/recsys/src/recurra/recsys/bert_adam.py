"""Adam as BERT and BERT4Rec were trained with it."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class BertAdam(Optimizer):
    """Adam with decoupled weight decay and without the correction of its first steps.

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, p -= lr (m / (sqrt(v) + eps) + decay p). torch's
    AdamW divides m and v by 1 - b^t; without that the first updates are larger, up to
    (1 - b1) / sqrt(1 - b2), 3.2 rates in the first one, which a warm-up makes up for.

    Source: `AdamWeightDecayOptimizer` in FeiSun/BERT4Rec `optimization.py`, which is BERT's.

    Args:
        params: parameters, or groups of them.
        lr: the rate.
        betas: b1 and b2.
        eps: beside the root.
        weight_decay: decay.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; a closure is evaluated before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                    state["square"] = torch.zeros_like(parameter)
                grad, mean, square = parameter.grad, state["mean"], state["square"]
                mean.lerp_(grad, 1 - first)
                square.mul_(second).addcmul_(grad, grad, value=1 - second)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.addcdiv_(mean, square.sqrt().add_(group["eps"]), value=-group["lr"])
        return loss
