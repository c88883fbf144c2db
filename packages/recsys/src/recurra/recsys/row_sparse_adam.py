"""Adam for a network with one large table, of which an update moves only the rows that it met."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer, SparseAdam


class RowSparseAdam(Optimizer):
    """torch's SparseAdam for a table whose gradient is sparse, and its AdamW for the rest.

    A row that every update meets moves as under Adam without weight decay; the moments of one that
    is not met stay as they are, where Adam's would fade, and so does the row itself. SparseAdam has
    epsilon beside the root before it is corrected, which only gradients below 1e-5 notice. An
    update takes as long as the rows that it met, however many there are.

    Args:
        table: a parameter with sparse gradients, such as that of `nn.Embedding(sparse=True)`.
        groups: of all other parameters, as AdamW takes them.
        lr: the rate of both.
    """

    def __init__(self, table: nn.Parameter, groups: Iterable[dict[str, Any]], lr: float) -> None:
        self._dense = AdamW(groups, lr=lr)
        self._sparse = SparseAdam([table], lr=lr)
        super().__init__([*self._dense.param_groups, *self._sparse.param_groups], {"lr": lr})
        self._share()

    def _share(self) -> None:
        """Let both see the groups and states that are those of the whole."""
        *self._dense.param_groups, last = self.param_groups
        self._sparse.param_groups = [last]
        self._dense.state = self._sparse.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of an earlier one."""
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; a closure is evaluated before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._dense.step()
        self._sparse.step()
        return loss
