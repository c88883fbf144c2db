import pytest
import torch

from recurra.core.kernels import linear_scan

A = torch.tensor([[2.0, 0.5, 0.0, -1.0]])
B = torch.tensor([[1.0, 4.0, 3.0, 10.0]])


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_four_steps_worked_by_hand(backend):
    h, last = linear_scan(A, B, torch.tensor([3.0]), backend=backend)
    assert h.tolist() == [[7.0, 7.5, 3.0, 7.0]]
    assert last.tolist() == [7.0]


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_in_reverse_each_row_begins_at_its_own_last_step(backend):
    h, last = linear_scan(
        A.expand(2, 4),
        B.expand(2, 4),
        torch.tensor([3.0, 3.0]),
        reverse=True,
        lengths=torch.tensor([4, 2]),
        backend=backend,
    )
    assert h.tolist() == [[12.0, 5.5, 3.0, 7.0], [12.0, 5.5, 0.0, 0.0]]
    assert last.tolist() == [12.0, 12.0]


def test_decays_of_one_are_a_cumulative_sum():
    b = random(2, 100, 3)
    h, _ = linear_scan(torch.ones(()), b)
    torch.testing.assert_close(h, b.cumsum(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (3,), (4, 1), (50, 1, 1), (1, 50, 4, 1), (2, 1, 4, 3)])
def test_a_decay_broadcasts_and_its_gradient_is_summed_back(shape):
    a, b, grad = random(*shape).sigmoid().requires_grad_(), random(2, 50, 4, 3, seed=1), random(1)
    wide = a.detach().expand(2, 50, 4, 3).clone().requires_grad_()
    found = linear_scan(a, b)[0], linear_scan(wide, b, backend="reference")[0]
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
    (narrow,) = torch.autograd.grad((found[0] * grad).sum(), a)
    (expected,) = torch.autograd.grad((found[1] * grad).sum(), wide)
    torch.testing.assert_close(narrow, expected.sum_to_size(shape), rtol=1e-12, atol=1e-12)


def test_decays_that_vanish_in_a_product_do_no_harm():
    a, b = torch.full((1, 5000, 2), 1e-3, requires_grad=True), torch.ones(1, 5000, 2)
    h, _ = linear_scan(a, b)
    torch.testing.assert_close(h[:, 10:], torch.full((1, 4990, 2), 1 / 0.999))
    (grad,) = torch.autograd.grad(h.sum(), a)
    assert grad.isfinite().all()


def test_for_the_gradient_only_the_output_and_the_narrow_decay_are_kept():
    a, b = torch.rand(2, 64, 4, 1, requires_grad=True), torch.randn(2, 64, 4, 16)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()), list):
        linear_scan(a, b)
    assert sorted(kept) == [2 * 4 * 16, 2 * 64 * 4, 2 * 64 * 4 * 16]


def test_a_wider_argument_widens_the_state_and_not_the_output():
    h, last = linear_scan(torch.ones(3, dtype=torch.float64), torch.ones(1, 2, 3).half())
    assert (h.dtype, last.dtype) == (torch.float16, torch.float64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": torch.ones(1, 4, 2)}, "does not broadcast"),
        ({"a": torch.ones(1, 1, 4, 3)}, "does not broadcast"),
        ({"a": torch.ones(3, dtype=torch.int64)}, "a is torch.int64"),
        ({"b": torch.ones(3)}, r"b \(B, T, ...\)"),
        ({"h0": torch.ones(3)}, r"h0 must be \(B, ...\) = \(1, 3\)"),
        ({"lengths": torch.ones(1)}, "lengths must be"),
        ({"lengths": torch.ones(2, dtype=torch.int64)}, "lengths must be"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        linear_scan(**{"a": torch.ones(3), "b": torch.ones(1, 4, 3), **change})
