"""What all kernels' Triton forms share: when they can run, and the one place that starts them.

The modules `triton.py` are imported only where Triton is, so this one does not import it. On a CPU
they run through Triton's interpreter, which is slow and for tests only: TRITON_INTERPRET=1 has to
be in the environment before the first of them is imported.
"""

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor


def wants_triton(backend: str, x: Tensor, dtype: torch.dtype) -> bool:
    """Say whether the Triton form is to run: it is asked for, or "auto" and x is on a GPU.

    Args:
        backend: the argument of the kernel's front.
        x: one of the tensors; all others are on its device.
        dtype: what the kernel accumulates in. The Triton forms do so in float32 only, so that
            "auto" leaves float64 to the portable form, as it does what torch.compile traces.

    Raises:
        ValueError: backend="triton" where it cannot run.
    """
    if backend == "auto":
        single = dtype == torch.float32
        return x.is_cuda and single and not torch.compiler.is_compiling() and _is_installed()
    if backend != "triton":
        return False
    if not _is_installed():
        raise ValueError('backend="triton" needs the package triton; backend="fast" does not')
    if dtype != torch.float32:
        raise ValueError(f'backend="triton" computes in float32, not {dtype}: take backend="fast"')
    if not x.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f'backend="triton" takes tensors on a GPU, not on {x.device}: take backend="auto" '
            "(or set TRITON_INTERPRET=1 beforehand, to test the kernels on a CPU)"
        )
    return True


def _is_installed() -> bool:
    return find_spec("triton") is not None


def launch(kernel: Any, programs: int, *arguments: Tensor | int | float, **constants: Any) -> None:
    """Start a kernel on the device of its first argument.

    Args:
        kernel: a function under `triton.jit`.
        programs: how many run. They lie on the grid's first axis, the only one that may be longer
            than 65,535.
        arguments: contiguous tensors and numbers.
        constants: the kernel's constexpr arguments, and num_warps.
    """
    first = arguments[0]
    assert isinstance(first, Tensor)
    with torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
        kernel[(programs,)](*arguments, **constants)


def chip(x: Tensor) -> str:
    """Name the GPU's architecture as compilers do, such as "sm_90"; "cpu" is the interpreter."""
    if not x.is_cuda:
        return "cpu"
    properties = torch.cuda.get_device_properties(x.device)
    if torch.version.hip:
        return str(properties.gcnArchName).split(":")[0]
    return f"sm_{properties.major}{properties.minor}"


def power_of_two(n: int, least: int = 1) -> int:
    """Return the smallest power of two that is at least n and `least`: the size of a block."""
    return max(least, 1 << max(0, n - 1).bit_length())


def product_options(x: Tensor) -> dict[str, Any]:
    """Return the constants of a kernel that multiplies float32 matrices, for the GPU of x.

    Each program has 256 threads. "tf32x3" is three products of NVIDIA's matrix units since sm_80,
    which keep 21 bits; AMD's, whose threads come in groups of 64, multiply float32 as it is.
    """
    maker, _, version = chip(x).partition("_")
    if maker == "sm":
        return {"PRECISION": "tf32x3" if int(version) >= 80 else "ieee", "num_warps": 8}
    return {"PRECISION": "ieee", "num_warps": 4}
