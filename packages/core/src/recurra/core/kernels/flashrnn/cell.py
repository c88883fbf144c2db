"""What a recurrent cell states about itself: its gates, its states, its step and the step back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor


class Cell(ABC):
    """One step of a recurrence, element by element, on its G gates' pre-activations.

    The recurrent product is not the cell's: a loop gives it `pre`, which is

        bias (all G gates) + input (the last n_input gates) + R h (the first n_recurrent gates).

    All arrays may have more axes in front. `pre` is (..., B, H, G, D), a state (..., B, H, D), and
    `peephole` (3, H, D) or None. The state at index 0 is h, the only one that R sees.
    """

    states: ClassVar[tuple[str, ...]]
    n_gates: ClassVar[int] = 4
    n_input: ClassVar[int] = 4
    n_recurrent: ClassVar[int] = 4
    takes_peephole: ClassVar[bool] = False

    @abstractmethod
    def step(
        self, pre: Tensor, before: Sequence[Tensor], peephole: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return the next states: the definition of the cell, differentiable."""

    @abstractmethod
    def step_in_place(
        self,
        pre: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
    ) -> None:
        """Write the next states into `after`, and the gates that `slopes` takes over `pre`."""

    @abstractmethod
    def slopes(
        self,
        gates: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
        grad_pre: Tensor,
    ) -> tuple[Tensor, ...]:
        """Compute what of the derivative needs no gradient yet, for many steps at once.

        Writes into `grad_pre` (..., B, H, G, D) the factors that `step_back` finds there, and
        returns the others.
        """

    @abstractmethod
    def step_back(
        self, grad_pre: Tensor, slopes: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> None:
        """Turn the gradients to the states after a step into those before it, in place.

        `grad_pre` becomes the gradient to the pre-activations. What reaches h through R is not
        counted: the loop adds it.
        """
