"""Layers: modules on the kernels, one a file, that train in parallel and stream step by step.

The streaming contract: `forward(x, state=None, lengths=None) -> (y, state)`. A state is a flat dict
of tensors whose first axis is the row of the batch; it is never changed in place. One call on the
whole sequence, calls on chunks and calls on single steps give the same outputs and the same state.
A layer that looks L steps ahead gives y delayed by L, and `flush(state)` gives the last L steps.
"""

from recurra.core.layers.fsmn import Fsmn
from recurra.core.layers.rnn import RNN

__all__ = ["RNN", "Fsmn"]
