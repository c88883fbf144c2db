"""What the laws measure with: errors against the largest value, and gradients."""

import pytest
import torch
from tests.core.laws.case import Tensors
from tests.core.laws.cases import cases
from torch import Tensor

Result = tuple[Tensor, Tensors, Tensors]


def law(name: str | None = None, *, slow_for_layers: bool = False) -> pytest.MarkDecorator:
    """Run a test on every case that calls for a law, or on all."""
    marked = [
        pytest.param(case, marks=pytest.mark.slow if slow_for_layers and not case.kernel else ())
        for case in cases(name)
    ]
    return pytest.mark.parametrize("case", marked, ids=[case.name for case in cases(name)])


def assert_near(got: Tensor, expected: Tensor, bound: float = 1e-12) -> None:
    """Hold the largest error against max(1, largest value)."""
    assert got.shape == expected.shape
    if expected.numel():
        scale = max(1.0, float(expected.detach().abs().max()))
        error = float((got.double() - expected.double()).detach().abs().max())
        assert error <= bound * scale, f"error {error:.3g}, largest value {scale:.3g}"


def assert_states_near(got: Tensors, expected: Tensors, bound: float = 1e-12) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert_near(got[name], value, bound)


def assert_results_near(expected: Result, got: Result, bound: float = 1e-12) -> None:
    """Hold two runs against each other: y, the last state and the gradients."""
    assert_near(got[0], expected[0], bound)
    assert_states_near(got[1], expected[1], bound)
    assert_states_near(got[2], expected[2], bound)


def floating(tensors: Tensors) -> Tensors:
    return {name: x for name, x in tensors.items() if x.is_floating_point()}


def gradients(y: Tensor, state: Tensors, leaves: Tensors) -> Tensors:
    """Return the gradients of a fixed random projection of y and the state; unused leaves get 0."""
    generator = torch.Generator().manual_seed(5)

    def projected(x: Tensor) -> Tensor:
        weights = torch.randn(x.shape, dtype=torch.float64, generator=generator)
        return (x * weights.to(x)).double().sum()

    total = projected(y) + sum(projected(x) for x in state.values() if x.requires_grad)
    leaf = list(leaves.values())
    found = torch.autograd.grad(total, leaf, retain_graph=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def leaves_of(tensors: Tensors) -> Tensors:
    return {
        k: v.detach().clone().requires_grad_() if v.is_floating_point() else v
        for k, v in tensors.items()
    }
