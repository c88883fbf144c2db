"""What an app tells `fit`: the model, the data, one training step, how to validate."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


class Task(ABC):
    """A model together with what it is trained on and judged by.

    Attributes:
        model: trained in place, from whatever weights it has when `fit` begins (so a warm start is
            loading weights into it first).
        training_data: map-style over `Draw`, with a length; an item depends on (seed, epoch, index)
            only.
        collate: makes a batch of a list of items; None is torch's default.
        higher_is_better: whether the first value of `validate` improves upwards.
    """

    model: nn.Module
    training_data: Dataset[Any]
    collate: Callable[[list[Any]], Any] | None = None
    higher_is_better: ClassVar[bool] = True

    @abstractmethod
    def training_step(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            model: to be called for the forward pass in place of `self.model`; under several
                processes it is a wrapper around it, so that only its call is to be relied on.
            batch: what `collate` made, on the device.

        Returns:
            Scalars. "loss" is minimised, and must be the mean over the items of the batch if
            accumulation and several processes are to equal one large batch; the rest is logged.
        """

    @abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Judge a model that is in eval mode, without gradients.

        It must be deterministic. The first value decides which weights are the best.
        """

    def optimizer(
        self, parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """AdamW; only matrices and filters decay, not gains and biases (one dimension or none)."""
        parameters = list(parameters)
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, lr=learning_rate, fused=True)
