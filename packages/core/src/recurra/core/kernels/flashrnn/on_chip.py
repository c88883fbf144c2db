"""Which heads' recurrent matrices stay on a GPU's chip.

A head's matrices lie in the registers of one program. A thread has 255 of them on NVIDIA's chips
and 512 on AMD's: heads of 64 with every option put up to 25 aside there, the next power of two
hundreds. Where a head does not fit, `flashrnn` runs its portable form. The table is what
`tests/core/kernels/test_triton_compiled.py` compiles.
"""

import torch

# The widest head that fits.
LARGEST_HEAD = {
    "sm_80": 64,
    "sm_90": 64,
    "gfx942": 128,
    "cpu": 1 << 30,  # the interpreter
}
# The same registers and instructions under other numbers.
LARGEST_HEAD |= {name: LARGEST_HEAD["sm_80"] for name in ("sm_86", "sm_87", "sm_89")}


def fits(arch: str, dtype: torch.dtype, head: int) -> bool:
    """Say whether the Triton form runs heads of a width on a chip.

    Args:
        arch: as `triton_support.chip` names it.
        dtype: of the states and sums: float32. The matrices are in it whatever the inputs are in.
        head: D, the units of a head.
    """
    return dtype == torch.float32 and head <= LARGEST_HEAD.get(arch, 0)
