"""What a kernel or a layer is to the laws: how to call it, and what it declares about itself."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Result = tuple[Tensor, Tensors]
Length = Tensor | None


@dataclass(frozen=True)
class Size:
    """How large inputs are drawn; `width` is the head's or the layer's."""

    rows: int = 2
    steps: int = 7
    width: int = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kernel or a layer, how to call it, and what it declares about itself.

    `run(inputs, state, lengths, backend)` gives (y, state). `module(inputs)` is the same as a
    module that holds the weights: `module({along time}, state)`. `begin(inputs)` is the state that
    a stream starts from, `flush(inputs, state)` the steps that a look-ahead left over.
    """

    name: str
    draw: Callable[[Size], Tensors]
    run: Callable[[Tensors, Tensors | None, Length, str], Result]
    module: Callable[[Tensors], nn.Module]
    along_time: tuple[str, ...]
    begin: Callable[[Tensors], Tensors | None]
    causal: bool
    streams: bool
    linear_in: tuple[str, ...]  # y is linear in these (and the state) together
    look_ahead: int = 0
    flush: Callable[[Tensors, Tensors], Tensor] | None = None  # what a look-ahead calls for
    state_size: Callable[[Size], int] | None = None  # numbers a row keeps
    kernel: bool = False  # has a backend="reference", and works on 16-bit inputs
    keeps_inputs: bool = False  # its state is past inputs, in their dtype, not an accumulation
    mask: str | None = None  # the boolean input that says which steps are attended to
    decay: str | None = None  # the input that may not have 16 bits; a logarithm of decays may
    held: Callable[[Tensors, float], Tensors] | None = None  # inputs with that decay throughout
    loops: bool = False  # a loop over the steps, which exports at a fixed T only
    compiles: bool = True  # torch.compile does not trace nn.LSTM and its kin

    def inputs(self, size: Size, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensors:
        """Draw inputs; where `dtype` has 16 bits, the decay is in float32."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.cast(self.draw(size), dtype)

    def cast(self, inputs: Tensors, dtype: torch.dtype) -> Tensors:
        """Return the inputs in `dtype`; the decay of a kernel is never in 16 bits."""
        wide = torch.promote_types(dtype, torch.float32)
        return {
            name: x.to(wide if name == self.decay else dtype) if x.is_floating_point() else x
            for name, x in inputs.items()
        }

    def state(self, size: Size, seed: int = 9, dtype: torch.dtype = torch.float64) -> Tensors:
        """Return a state that is not zero: the one after other inputs."""
        inputs = self.inputs(Size(size.rows, 11, size.width), seed, dtype)
        with torch.no_grad():
            return self.run(inputs, self.begin(inputs), None, "auto")[1]

    def window(self, inputs: Tensors, steps: slice, rows: slice = slice(None)) -> Tensors:
        """Return some steps of some rows."""
        return {k: v[rows, steps] if k in self.along_time else v for k, v in inputs.items()}
