"""Hold a kernel's Triton form against its reference: outputs and gradients, twice, and repeats."""

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def results(run, arguments: Tensors, **options) -> list[Tensor]:
    """Outputs and gradients of a random linear loss of everything that is returned."""
    leaves = {k: x.detach().clone().requires_grad_() for k, x in arguments.items()}
    outputs = run(**leaves, **options)
    loss = sum((y * random(*y.shape, seed=9)).sum() for y in outputs)
    return [*outputs, *torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)]


def assert_near(found: list[Tensor], expected: list[Tensor], bound: float = 3e-6) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        largest = b.detach().abs().max().item() if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=bound * max(1.0, largest))


def assert_equals_reference(run, arguments: Tensors, **options) -> None:
    expected = results(run, arguments, **options, backend="reference")
    assert_near(results(run, arguments, **options, backend="triton"), expected)


def assert_second_derivatives_are_those_of_the_reference(run, problem: Tensors, **options) -> None:
    found = []
    for backend in ("reference", "triton"):
        leaves = [x.detach().clone().requires_grad_() for x in problem.values()]
        y, *last = run(**dict(zip(problem, leaves, strict=True)), **options, backend=backend)
        loss = y.square().sum() + sum(x.sum() for x in last)
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        loss = sum(x.square().sum() for x in first)
        found.append(list(torch.autograd.grad(loss, leaves, materialize_grads=True)))
    assert_near(*found)


def assert_repeats_are_equal_to_the_bit(run, problem: Tensors, **options) -> None:
    first, second = (results(run, problem, **options, backend="triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
