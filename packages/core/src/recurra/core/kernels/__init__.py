"""Kernels: functions on tensors, one folder an operation.

Each has a `reference` (the definition, a plain loop) and a `fast` form, and a front that chooses.
"""

from recurra.core.kernels.fir import fir
from recurra.core.kernels.flashrnn import flashrnn

__all__ = ["fir", "flashrnn"]
