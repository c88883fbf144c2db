"""Which law calls for which kernels and layers: it follows from what they declare."""

from collections.abc import Callable

from tests.core.laws.case import Case
from tests.core.laws.kernel_cases import KERNELS
from tests.core.laws.layer_cases import LAYERS

CASES = [*KERNELS, *LAYERS]

# The laws that not every case calls for: what a case must have.
CALLED_FOR: dict[str, Callable[[Case], bool]] = {
    "reference": lambda case: case.kernel,
    "streaming": lambda case: case.streams,
    "masked": lambda case: case.mask is not None,
    "linearity": lambda case: bool(case.linear_in),
    "16 bits": lambda case: case.kernel,
    "layer": lambda case: not case.kernel,
    "decay": lambda case: case.decay is not None,
    "slow decay": lambda case: case.held is not None,
    "state size": lambda case: case.state_size is not None,
    "dynamic export": lambda case: not case.loops,
    "fixed export": lambda case: case.loops,
    "compile": lambda case: case.compiles,
}


def cases(law: str | None = None) -> list[Case]:
    """Return the cases that call for a law, or all."""
    return [case for case in CASES if law is None or CALLED_FOR[law](case)]


def summary() -> str:
    """Say in one line how many cases no law of a name was called for by."""
    left_out = {law: len(CASES) - len(cases(law)) for law in CALLED_FOR}
    counts = ", ".join(f"{law} {count}" for law, count in left_out.items() if count)
    return f"{len(CASES)} cases of kernels and layers; their declarations leave out: {counts}"
