"""On a GPU, where kernels choose their Triton form, they give what the references give on a CPU."""

import pytest
import torch
from tests.core.laws.case import Case, Size, Tensors
from tests.core.laws.checks import (
    Result,
    assert_near,
    assert_results_near,
    floating,
    gradients,
    law,
    leaves_of,
)

DEVICE = "cuda"


def on(device: str, tensors: Tensors) -> Tensors:
    return {name: x.to(device) for name, x in tensors.items()}


def run(case: Case, inputs: Tensors, state: Tensors, backend: str, device: str) -> Result:
    """Return y, the last state and all gradients, on the CPU."""
    inputs, state = leaves_of(on(device, inputs)), leaves_of(on(device, state))
    y, last = case.run(inputs, state, None, backend)
    leaves = floating(inputs) | {f"state {k}": v for k, v in floating(state).items()}
    return y.cpu(), on("cpu", last), on("cpu", gradients(y, last, leaves))


@pytest.mark.gpu
@pytest.mark.parametrize("width", [5, 64])
@pytest.mark.parametrize("steps", [1, 65, 257])
@law("reference")
def test_a_kernel_in_float32_is_the_reference(case: Case, steps: int, width: int) -> None:
    size = Size(steps=steps, width=width)
    inputs, state = (draw(size, dtype=torch.float32) for draw in (case.inputs, case.state))
    exact = [case.cast(tensors, torch.float64) for tensors in (inputs, state)]
    expected = run(case, *exact, "reference", "cpu")
    assert_results_near(expected, run(case, inputs, state, "auto", DEVICE), 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@law("16 bits")
def test_a_kernel_on_16_bit_inputs_is_the_reference(case: Case, dtype: torch.dtype) -> None:
    inputs = case.inputs(Size(steps=130), dtype=dtype)
    expected, _ = case.run(case.cast(inputs, torch.float64), None, None, "reference")
    y, _ = case.run(on(DEVICE, inputs), None, None, "auto")
    assert_near(y.cpu(), expected, 1e-2)
