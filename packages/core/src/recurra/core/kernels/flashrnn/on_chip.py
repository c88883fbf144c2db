"""Which heads' recurrent matrices stay on a GPU's chip, and how the Triton form is compiled there.

Four matrices of a head lie in the registers of one program. A thread has 255 of them on NVIDIA's
chips and 512 on AMD's; a wider head would spill. Where it does not fit, `flashrnn` runs its
portable form. The table is what `tests/core/kernels/test_triton_compiled.py` compiles without
spills and within the chip's shared memory.
"""

from typing import NamedTuple

import torch


class OnChip(NamedTuple):
    """How the kernels run on a chip.

    largest_head: the widest head that fits.
    warps: groups of threads of a program, 32 threads wide on NVIDIA and 64 on AMD.
    """

    largest_head: int
    warps: int


CHIPS = {
    "sm_80": OnChip(64, 8),
    "sm_90": OnChip(64, 8),
    "gfx942": OnChip(128, 4),
    "cpu": OnChip(1 << 30, 1),  # the interpreter
}
# The same registers and instructions under other numbers.
CHIPS |= {name: CHIPS["sm_80"] for name in ("sm_86", "sm_87", "sm_89")}


def fits(arch: str, dtype: torch.dtype, head: int) -> bool:
    """Say whether the Triton form runs heads of a width on a chip.

    Args:
        arch: as `triton_support.chip` names it.
        dtype: of the states and sums: float32. The matrices are in it whatever the inputs are in.
        head: D, the units of a head.
    """
    return dtype == torch.float32 and arch in CHIPS and head <= CHIPS[arch].largest_head
