"""Layers: modules on the kernels, one a file, that train in parallel and stream step by step.

The streaming contract: `forward(x, state=None, lengths=None) -> (y, state)`. A state is a flat dict
of tensors whose first axis is the row of the batch; it is never changed in place. One call on the
whole sequence, calls on chunks and calls on single steps give the same outputs and the same state.
A layer that looks L steps ahead gives y delayed by L, and `flush(state)` gives the last L steps.
Each declares `causal`, `streams`, `is_linear` and `look_ahead`, and says its `state_size()`.
"""

from recurra.core.layers.as_matrix import as_matrix
from recurra.core.layers.dense_fsmn import DenseFsmn
from recurra.core.layers.fsmn import Fsmn
from recurra.core.layers.gated_attention import GatedAttention
from recurra.core.layers.gated_delta_net import GatedDeltaNet
from recurra.core.layers.gated_fsmn import GatedFsmn
from recurra.core.layers.mamba2 import Mamba2
from recurra.core.layers.ngram_head import NGramHead
from recurra.core.layers.prefix_attention import PrefixAttention
from recurra.core.layers.rnn import RNN
from recurra.core.layers.rotary_embedding import RotaryEmbedding
from recurra.core.layers.swiglu import SwiGLU

__all__ = [
    "RNN",
    "DenseFsmn",
    "Fsmn",
    "GatedAttention",
    "GatedDeltaNet",
    "GatedFsmn",
    "Mamba2",
    "NGramHead",
    "PrefixAttention",
    "RotaryEmbedding",
    "SwiGLU",
    "as_matrix",
]
