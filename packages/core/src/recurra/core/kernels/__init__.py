"""Kernels: functions on tensors, one folder an operation.

Each has a `reference` (the definition, a plain loop) and a `fast` form, some one for GPUs
(`triton`), and a front that chooses.
"""

from recurra.core.kernels.delta_rule import delta_rule
from recurra.core.kernels.fft_conv import fft_conv
from recurra.core.kernels.fir import fir
from recurra.core.kernels.flashrnn import flashrnn
from recurra.core.kernels.gated_linear_attention import gated_linear_attention
from recurra.core.kernels.linear_cross_entropy import linear_cross_entropy
from recurra.core.kernels.linear_scan import linear_scan
from recurra.core.kernels.mixed_chunk_attention import mixed_chunk_attention
from recurra.core.kernels.prefix_attention import prefix_attention
from recurra.core.kernels.retention import retention
from recurra.core.kernels.selective_scan import selective_scan
from recurra.core.kernels.ssd import ssd

__all__ = [
    "delta_rule",
    "fft_conv",
    "fir",
    "flashrnn",
    "gated_linear_attention",
    "linear_cross_entropy",
    "linear_scan",
    "mixed_chunk_attention",
    "prefix_attention",
    "retention",
    "selective_scan",
    "ssd",
]
