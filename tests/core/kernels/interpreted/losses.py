"""The loss that never has all its scores, in Triton's interpreter."""

from importlib import import_module

import pytest
import torch
from tests.core.kernels.interpreted.against_reference import (
    Tensors,
    assert_equals_reference,
    assert_near,
    assert_repeats_are_equal_to_the_bit,
    assert_second_derivatives_are_those_of_the_reference,
    random,
    results,
)
from torch import Tensor

from recurra.core.kernels import linear_cross_entropy


def problem(positions: int, items: int, width: int) -> Tensors:
    return {
        "hidden": random(positions, width),
        "table": random(items, width, seed=1),
        "bias": random(items, seed=2),
    }


def run(hidden: Tensor, table: Tensor, bias: Tensor | None = None, *, backend: str) -> list[Tensor]:
    """The sum over the positions, so that gradients are not small; some have the same target."""
    targets = torch.arange(len(hidden)) * 5 % 7 % len(table)
    loss = linear_cross_entropy(hidden, table, bias, targets, backend=backend)
    return [loss * len(hidden)]


@pytest.mark.parametrize(
    ("positions", "items", "width"),
    # Tiles of 64 and 32 of either, products of 32 and gradients of 128 channels.
    [(1, 1, 1), (3, 5, 2), (64, 32, 32), (66, 70, 33), (2, 33, 130)],
)
def test_the_loss_and_its_gradients_are_the_reference(positions, items, width) -> None:
    assert_equals_reference(run, problem(positions, items, width))


def test_programs_that_go_through_many_tiles(monkeypatch) -> None:
    triton = import_module("recurra.core.kernels.linear_cross_entropy.triton")
    monkeypatch.setattr(triton, "_PROGRAMS", 4)
    assert_equals_reference(run, problem(100, 150, 3))


def test_a_loss_without_a_bias_and_of_nothing() -> None:
    given = problem(5, 40, 3)
    del given["bias"]
    assert_equals_reference(run, given)
    for positions, width in [(0, 3), (2, 0)]:
        assert_equals_reference(run, problem(positions, 4, width))


def test_scores_beyond_the_range_of_exp_and_items_taken_out() -> None:
    """The largest score comes in a first or a later tile; the second tile is taken out whole."""
    given = problem(4, 100, 2)
    given["hidden"] *= 500
    given["bias"][32:64] = -torch.inf
    found = results(run, given, backend="triton")
    assert all(x.isfinite().all() for x in found)
    assert_near(found, results(run, given, backend="fast"), 1e-5)


def test_a_position_alone_has_the_loss_and_the_gradient_that_it_has_among_others() -> None:
    given, targets = problem(66, 40, 3), torch.arange(66) % 40

    def sum_of(*rows: int) -> list[Tensor]:
        hidden = given["hidden"][list(rows)].requires_grad_()
        at = (hidden, given["table"], given["bias"], targets[list(rows)])
        loss = linear_cross_entropy(*at, backend="triton") * len(rows)
        return [loss, *torch.autograd.grad(loss, hidden)]

    without, among, alone = sum_of(*range(65)), sum_of(*range(66)), sum_of(65)
    assert_near([among[0] - without[0], among[1][-1:]], alone, 2e-5)  # a difference of large sums


def test_rows_of_other_tensors_and_one_gradient_alone() -> None:
    """Neither strides nor an offset matter, and a table that learns nothing has no gradient."""
    given, wide = problem(5, 40, 3), random(50, 6, seed=3)
    hidden, table = wide[7:12, ::2].requires_grad_(), wide.T[:3, 10:50].T
    expected = run(hidden, table, given["bias"], backend="reference")[0]
    (wanted,) = torch.autograd.grad(expected, hidden)
    found = run(hidden, table, given["bias"], backend="triton")[0]
    assert_near([found, *torch.autograd.grad(found, hidden)], [expected, wanted])
    frozen, table = hidden.detach(), table.contiguous().requires_grad_()
    wanted = torch.autograd.grad(run(frozen, table, None, backend="reference")[0], table)
    assert_near(torch.autograd.grad(run(frozen, table, None, backend="triton")[0], table), wanted)


def test_half_precision_gives_a_loss_in_float32() -> None:
    given = problem(5, 40, 3)
    given |= {"hidden": given["hidden"].bfloat16(), "table": given["table"].half()}
    found = results(run, given, backend="triton")
    assert [x.dtype for x in found] == [
        torch.float32,
        torch.bfloat16,
        torch.float16,
        torch.float32,
    ]
    expected = results(run, given, backend="reference")
    assert_near(found[:1], expected[:1])
    assert_near(found[1:], expected[1:], 1e-2)


def test_a_target_that_is_no_item_is_refused() -> None:
    given = problem(2, 4, 3)
    for wrong in (4, -1):
        with pytest.raises(IndexError):
            linear_cross_entropy(**given, targets=torch.tensor([0, wrong]), backend="triton")


def test_triton_is_chosen_up_to_a_width(monkeypatch) -> None:
    front = import_module("recurra.core.kernels.linear_cross_entropy")
    monkeypatch.setattr(front, "wants_triton", lambda *arguments: True)  # as on a GPU
    monkeypatch.setattr(front.fast, "linear_cross_entropy", lambda *arguments: torch.tensor(-1.0))
    assert run(**problem(2, 4, front.WIDEST), backend="auto")[0] > 0
    assert run(**problem(2, 4, front.WIDEST + 1), backend="auto")[0] < 0
    assert run(**problem(2, 4, front.WIDEST + 1), backend="triton")[0] > 0


def test_second_derivatives_are_those_of_the_reference() -> None:
    assert_second_derivatives_are_those_of_the_reference(run, problem(3, 5, 2))


def test_repeats_are_equal_to_the_bit() -> None:
    assert_repeats_are_equal_to_the_bit(run, problem(70, 70, 3))
