"""Kernels: functions on tensors, one folder an operation.

Each has a `reference` (the definition, a plain loop) and a `fast` form, and a front that chooses.
"""

from recurra.core.kernels.fir import fir
from recurra.core.kernels.linear_scan import linear_scan
from recurra.core.kernels.prefix_attention import prefix_attention

__all__ = ["fir", "linear_scan", "prefix_attention"]
