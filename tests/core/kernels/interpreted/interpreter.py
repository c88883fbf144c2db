"""Run Triton kernels on a CPU, where no access beside their tensors goes unseen.

Triton's interpreter reads and writes any address without a word. So each launch gets copies of its
tensors between guards of NaN, and each address is held against the tensors before it is used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from triton.runtime import interpreter

from recurra.core.kernels import triton_support

GUARD = 64  # elements on either side


@contextmanager
def guards() -> Iterator[None]:
    """Guard the tensors of all launches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_support, "launch", guarded_launch)
        builder = interpreter.InterpreterBuilder
        for name in ("create_masked_load", "create_masked_store"):
            patch.setattr(builder, name, checked(getattr(builder, name), "load" in name))
        patch.setattr(interpreter.InterpretedFunction, "__call__", called)
        yield


_call = interpreter.InterpretedFunction.__call__
_patched: set[str] = set()


def called(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Call one function of a kernel from another: patch Triton's language once, not each time."""
    module = self.fn.__module__
    if module.startswith("recurra") or module in _patched:
        return self.rewrite()(*args, **kwargs)
    _patched.add(module)
    return _call(self, *args, **kwargs)


spans: list[tuple[int, int]] = []  # of the addresses that the running kernel may use


def checked(access: Any, mask_is_second: bool) -> Any:
    """Wrap a load or a store: the addresses that its mask lets through have to be the kernel's."""

    def wrapped(self: Any, pointers: Any, *rest: Any) -> Any:
        mask = rest[0] if mask_is_second else rest[1]
        used = pointers.data[np.broadcast_to(mask.data != 0, pointers.data.shape)]
        known = np.zeros(used.shape, dtype=bool)
        for start, end in spans:
            known |= (used >= start) & (used < end)
        if not known.all():
            raise IndexError(f"{np.count_nonzero(~known)} addresses outside the kernel's tensors")
        return access(self, pointers, *rest)

    return wrapped


def guarded_launch(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    """Launch a kernel on guarded copies of its tensors, and copy back what it wrote."""
    unique = {id(x): x for x in arguments if isinstance(x, Tensor)}
    buffers = {key: guarded(x) for key, x in unique.items()}
    inner = {key: buffer[GUARD:-GUARD].view(unique[key].shape) for key, buffer in buffers.items()}
    spans[:] = [(x.data_ptr(), x.data_ptr() + x.numel() * x.element_size()) for x in inner.values()]
    kernel[(programs,)](*(inner.get(id(x), x) for x in arguments), **constants)
    for key, buffer in buffers.items():
        for side in (buffer[:GUARD], buffer[-GUARD:]):
            assert (side.isnan() if side.is_floating_point() else side).all()
        unique[key].data.copy_(inner[key])  # unseen by autograd, as a kernel's writes are


def guarded(x: Tensor) -> Tensor:
    """Return the elements of x in a row, between NaN (or True)."""
    assert x.is_contiguous()
    worst = torch.nan if x.is_floating_point() else True
    side = torch.full((GUARD,), worst, dtype=x.dtype)
    return torch.cat([side, x.detach().flatten(), side])
