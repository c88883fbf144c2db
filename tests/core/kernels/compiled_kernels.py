"""Compile the Triton kernels for GPUs that are not here, and say what they need of them.

Run by `test_triton_compiled.py`. The Python side of each kernel runs with a launcher that only
writes down its launches; these are compiled with the specialisation that a GPU would get. The exit
code is not 0 if one needs more than its chip has. TRITON_INTERPRET must not be set.
"""

import re
import subprocess
import sys
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
from recurra.core.kernels.delta_rule import triton as delta_rule
from recurra.core.kernels.fir import triton as fir
from recurra.core.kernels.flashrnn import CELLS
from recurra.core.kernels.flashrnn import triton as flashrnn
from recurra.core.kernels.flashrnn.on_chip import LARGEST_HEAD, fits
from recurra.core.kernels.gated_linear_attention import triton as gated_linear_attention
from recurra.core.kernels.linear_cross_entropy import triton as linear_cross_entropy
from recurra.core.kernels.linear_scan import triton as linear_scan
from recurra.core.kernels.mixed_chunk_attention import triton as mixed_chunk_attention
from recurra.core.kernels.prefix_attention import triton as prefix_attention
from recurra.core.kernels.selective_scan import triton as selective_scan
from recurra.core.kernels.ssd import triton as ssd

DTYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.bool: "*i1",
    torch.int64: "*i64",
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


SPILLS = 32  # registers that a kernel may put aside; what does not fit on a chip puts away hundreds


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


def specialisation(launch: Launch) -> tuple[dict[str, str], dict[str, Any], dict[Any, Any]]:
    """Return types, constants and attributes of the arguments: what Triton compiles anew for."""
    types, constants, attributes = {}, {}, {}
    given = iter(launch.arguments)
    for parameter in launch.kernel.params:
        name = parameter.name
        value = launch.constants[name] if parameter.is_constexpr else next(given)
        if isinstance(value, Tensor):
            types[name] = DTYPES[value.dtype]
        elif parameter.is_constexpr or (value == 1 and not parameter.do_not_specialize):
            types[name], constants[name] = "constexpr", value
            continue
        else:
            types[name] = "fp32" if isinstance(value, float) else "i32"
        if not parameter.do_not_specialize and (isinstance(value, Tensor) or value % 16 == 0):
            attributes[(parameter.num,)] = [["tt.divisibility", 16]]
    return types, constants, attributes


def resources(launch: Launch, chip: Chip) -> Resources:
    """Compile a launch and read what it needs."""
    source = ASTSource(launch.kernel, *specialisation(launch))
    options = {"num_warps": launch.constants["num_warps"]}
    compiled = triton.compile(source, target=chip.target, options=options)
    return _of_ptx(compiled) if "ptx" in compiled.asm else _of_amdgcn(compiled)


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


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, requires_grad=True, dtype=dtype)


def scan_launches(rows: int, steps: int, heads: int = 2, width: int = 64) -> None:
    """Run the scan forward and backward, with a decay for each element."""
    h, last = linear_scan.scan(
        leaf(rows, steps, heads, width),
        leaf(rows, steps, heads, width),
        leaf(rows, heads, width),
        False,
    )
    (h.sum() + last.sum()).backward()


def selective_launches(rows: int, steps: int, channels: int = 64, width: int = 32) -> None:
    """Run a selective scan forward and backward, in two blocks of the state, and in chunks."""
    y, last = selective_scan.selective_scan(
        leaf(rows, 2 * steps, channels),
        leaf(rows, 2 * steps, channels),
        leaf(channels, width),
        leaf(rows, 2 * steps, width),
        leaf(rows, 2 * steps, width),
        leaf(rows, channels, width),
    )
    (y.sum() + last.sum()).backward()


def cell_launches(cell: str, rows: int, steps: int, width: int, heads: int = 2) -> None:
    """Run a cell forward and backward, with all that may be asked of it."""
    kind = CELLS[cell]
    sequences, last = flashrnn.run(
        kind,
        leaf(rows, steps, kind.n_input, heads, width),
        leaf(kind.n_recurrent, heads, width, width),
        leaf(kind.n_gates, heads, width),
        leaf(rows, len(kind.states), heads, width),
        leaf(3, heads, width) if kind.takes_peephole else None,
        torch.zeros(steps, rows, 1, 1, dtype=torch.bool),
        reverse=False,
        all_states=True,
    )
    (sum(sequence.sum() for sequence in sequences) + last.sum()).backward()


def ssd_launches(rows: int, steps: int, heads: int = 4, width: int = 128) -> None:
    """Run state-space duality forward and backward, in two groups."""
    y, last = ssd.ssd(
        leaf(rows, steps, heads, width),
        leaf(rows, steps, heads),
        leaf(rows, steps, 2, width),
        leaf(rows, steps, 2, width),
        leaf(rows, heads, width, width),
    )
    (y.sum() + last.sum()).backward()


def gated_launches(rows: int, steps: int, heads: int = 4, width: int = 128) -> None:
    """Run gated linear attention forward and backward."""
    y, last = gated_linear_attention.gated_linear_attention(
        *(leaf(rows, steps, heads, width) for _ in range(4)), leaf(rows, heads, width, width)
    )
    (y.sum() + last.sum()).backward()


def mixed_launches(rows: int, steps: int, causal: bool, width: int = 128) -> None:
    """Run attention within groups of 128 steps forward and backward."""
    n = -(-steps // 128)
    mixed_chunk_attention.attend(
        *(leaf(rows, n, 128, width) for _ in range(3)),
        leaf(rows, n if causal else 1, width, 2 * width),
        leaf(rows, n, 128, 2 * width),
        causal,
        0.0,
    ).sum().backward()


def fir_launches(rows: int, steps: int, channels: int = 256, group: int = 2) -> None:
    """Run a filter with five taps, two channels each, forward and backward."""
    fir.fir_valid(
        leaf(rows, steps + 8, channels * group), leaf(5, channels, group), 2
    ).sum().backward()


def attention_launches(rows: int, steps: int, heads: int = 2, width: int = 128) -> None:
    """Run prefix attention forward and backward, in two blocks of elements, and in chunks."""
    y, last, _ = prefix_attention.attend(
        leaf(rows, 2 * steps, heads),
        leaf(rows, 2 * steps, heads, width),
        leaf(rows, heads, width + 1),
        torch.zeros(rows, heads),
    )
    (y.sum() + last.sum()).backward()


def loss_launches(positions: int, items: int, dtype: torch.dtype, width: int = 128) -> None:
    """Run the cross-entropy forward and backward, in blocks of channels as wide as they come."""
    linear_cross_entropy.linear_cross_entropy(
        leaf(positions, width, dtype=dtype),
        leaf(items, width, dtype=dtype),
        leaf(items),
        torch.zeros(positions, dtype=torch.int64),
    ).backward()


def delta_launches(rows: int, steps: int, width: int, heads: int = 2) -> None:
    """Run the delta rule's loop over the chunks forward and backward."""
    n, length = -(-steps // delta_rule.CHUNK), delta_rule.CHUNK
    u, before, last = delta_rule.carry(
        *(leaf(rows, n, heads, length, width) for _ in range(3)),
        leaf(rows, n, heads, 1, 1),
        leaf(rows, heads, width, width),
    )
    (u.sum() + before.sum() + last.sum()).backward()


def launches_of(chip: str, rows: int, steps: int) -> Iterator[tuple[str, list[Launch]]]:
    """Yield all launches with the widest heads that are said to fit, by the kernel's name."""
    with recorded(chip) as launches:
        scan_launches(rows, steps)
    yield "linear_scan", launches
    with recorded(chip) as launches:
        selective_launches(rows, steps)
    yield "selective_scan", launches
    with recorded(chip) as launches:
        ssd_launches(rows, steps)
    yield "ssd", launches
    with recorded(chip) as launches:
        gated_launches(rows, steps)
    yield "gated_linear_attention", launches
    for causal in (True, False):
        with recorded(chip) as launches:
            mixed_launches(rows, steps, causal)
        yield f"mixed_chunk_attention, causal {causal}", launches
    with recorded(chip) as launches:
        fir_launches(rows, steps)
    yield "fir", launches
    with recorded(chip) as launches:
        attention_launches(rows, steps)
    yield "prefix_attention", launches
    for dtype in (torch.float32, torch.bfloat16):
        with recorded(chip) as launches:
            loss_launches(rows, steps, dtype)
        yield f"linear_cross_entropy, {dtype}", launches
    for width in (n for n in (64, 128) if delta_rule.fits(chip, torch.float32, n)):
        with recorded(chip) as launches:
            delta_launches(rows, steps, width)
        yield f"delta_rule, keys of {width}", launches
    width = LARGEST_HEAD[chip]
    for cell in CELLS:
        with recorded(chip) as launches:
            cell_launches(cell, rows, steps, width)
        yield f"flashrnn {cell}, heads of {width}", launches


def too_much(chip: str, rows: int = 2, steps: int = 256) -> Iterator[str]:
    """Compile for a chip, print what each kernel needs, yield those that need too much."""
    limit = CHIPS[chip]
    print(f"{chip}: {limit.registers} registers, {limit.shared} bytes of shared memory")
    done = []
    for name, launches in launches_of(chip, rows, steps):
        for launch in launches:
            kind = (launch.kernel, specialisation(launch))
            if kind in done:
                continue
            done.append(kind)
            needs = resources(launch, limit)
            line = f"{name}: {launch.kernel.__name__} {needs}"
            print(" ", line, flush=True)
            if needs.registers > limit.registers or needs.shared > limit.shared:
                yield f"{chip}, {line}: over the limit"
            if needs.spills > SPILLS:
                yield f"{chip}, {line}: spills"


def recompiled(chip: str) -> Iterator[str]:
    """Yield kernels that are compiled anew for another number of steps or rows."""
    sizes = [(rows, steps) for rows in (1, 2, 16) for steps in (1, 7, 256)]
    kinds: dict[str, list[Any]] = {}
    for rows, steps in sizes:
        for name, launches in launches_of(chip, rows, steps):
            for launch in launches:
                known = kinds.setdefault(f"{name}: {launch.kernel.__name__}", [])
                if specialisation(launch) not in known:
                    known.append(specialisation(launch))
    # A scan's kernels run forward and backward, in chunks and over the chunks.
    yield from (name for name, known in kinds.items() if len(known) > 3)


def main() -> int:
    """Compile everything for every chip; return whether something is wrong."""
    wrong = list(recompiled("sm_90"))
    heads = [16, 32, 64, 96, 128, 256]
    for chip in CHIPS:
        fitting = [str(head) for head in heads if fits(chip, torch.float32, head)]
        print(f"{chip}: flashrnn fits heads of {', '.join(fitting)} of {heads}")
        fitting = [str(head) for head in heads if delta_rule.fits(chip, torch.float32, head)]
        print(f"{chip}: delta_rule fits keys of {', '.join(fitting)} of {heads}")
        wrong += too_much(chip)
    print("\n".join(wrong))
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
