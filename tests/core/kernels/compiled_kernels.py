"""Compile the Triton kernels for GPUs that are not here, and say what they need of them.

`resources` compiles one launch as the GPU would get it; `recorded` runs a kernel's Python side
with a launcher that only writes down its launches. TRITON_INTERPRET must not be set.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from recurra.core.kernels import triton_support

DTYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.bool: "*i1",
}


@dataclass(frozen=True)
class Chip:
    """A GPU's target, and what one program may use of it at most."""

    target: GPUTarget
    shared: int  # bytes
    registers: int  # 32-bit, of a thread


# CUDA C programming guide, technical specifications by compute capability; CDNA3 instruction set
# architecture, section 3 (512 vector registers of a lane, half of them accumulators).
CHIPS = {
    "sm_80": Chip(GPUTarget("cuda", 80, 32), shared=166_912, registers=255),
    "sm_90": Chip(GPUTarget("cuda", 90, 32), shared=232_448, registers=255),
    "gfx942": Chip(GPUTarget("hip", "gfx942", 64), shared=65_536, registers=512),
}


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments and constants."""

    kernel: Any
    arguments: tuple[Tensor | int | float, ...]
    constants: dict[str, Any]


@dataclass(frozen=True)
class Resources:
    """What a kernel needs: registers of a thread, those spilled, bytes of shared memory."""

    registers: int
    spills: int
    shared: int


@contextmanager
def recorded(chip: str) -> Iterator[list[Launch]]:
    """Write down launches instead of making them, as they would be for a chip."""
    launches: list[Launch] = []

    def write_down(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
        launches.append(Launch(kernel, arguments, constants))

    with (
        patch.object(triton_support, "launch", write_down),
        patch.object(triton_support, "chip", lambda x: chip),
    ):
        yield launches


def resources(launch: Launch, chip: Chip) -> Resources:
    """Compile a launch with the specialisation that it would get, and read what it needs."""
    signature, constants, attributes = {}, {}, {}
    options = {"num_warps": launch.constants["num_warps"]}
    given = iter(launch.arguments)
    for parameter in launch.kernel.params:
        name, place = parameter.name, (parameter.num,)
        value = launch.constants[name] if parameter.is_constexpr else next(given)
        fixed = (
            parameter.is_constexpr or (value == 1 and not parameter.do_not_specialize)
            if not isinstance(value, Tensor)
            else False
        )
        if fixed:
            signature[name], constants[name] = "constexpr", value
            continue
        signature[name] = (
            DTYPES[value.dtype]
            if isinstance(value, Tensor)
            else ("fp32" if isinstance(value, float) else "i32")
        )
        even = isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0)
        if even and not parameter.do_not_specialize:
            attributes[place] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constants, attributes)
    compiled = triton.compile(source, target=chip.target, options=options)
    read = _of_ptx if "ptx" in compiled.asm else _of_amdgcn
    return read(compiled)


def _of_ptx(compiled: Any) -> Resources:
    assembler = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    architecture = re.search(r"^\.target (\w+)", compiled.asm["ptx"], re.MULTILINE)[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(compiled.asm["ptx"])
        command = [assembler, "-v", f"-arch={architecture}", path, "-o", path.with_suffix(".cubin")]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return Resources(
        registers=int(re.search(r"Used (\d+) registers", report)[1]),
        spills=int(re.search(r"(\d+) bytes spill stores", report)[1]) // 4,
        shared=compiled.metadata.shared,
    )


def _of_amdgcn(compiled: Any) -> Resources:
    def number(name: str) -> int:
        return int(re.search(rf"\.{name}:\s+(\d+)", compiled.asm["amdgcn"])[1])

    return Resources(
        registers=number("vgpr_count"),
        spills=number("vgpr_spill_count"),
        shared=max(number("group_segment_fixed_size"), compiled.metadata.shared),
    )
