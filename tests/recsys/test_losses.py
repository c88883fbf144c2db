import pytest
import torch
from torch.nn import functional

from recurra.recsys.losses import BLOCK, blockwise_cross_entropy


@pytest.mark.parametrize("positions", [1, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_the_loss_and_its_gradients_are_those_of_the_whole_matrix(positions):
    torch.manual_seed(0)
    hidden, table = torch.randn(positions, 6).double(), torch.randn(11, 6).double()
    bias, targets = torch.randn(11).double(), torch.randint(11, (positions,))
    found = []
    for whole in (True, False):
        leaves = [x.clone().requires_grad_() for x in (hidden, table, bias)]
        if whole:
            scores = functional.linear(*leaves)
            loss = functional.cross_entropy(scores, targets)
        else:
            loss = blockwise_cross_entropy(*leaves, targets)
        found.append([loss.detach(), *torch.autograd.grad(3 * loss, leaves)])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


def test_scores_beyond_the_range_of_exp_give_finite_numbers():
    hidden = torch.tensor([[1000.0, 0.0]], requires_grad=True)
    table = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss = blockwise_cross_entropy(hidden, table, torch.zeros(2), torch.tensor([1]))
    loss.backward()
    assert loss == 2000
    assert hidden.grad.isfinite().all()


def test_no_position_costs_nothing_and_moves_nothing():
    hidden, table = torch.randn(0, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = blockwise_cross_entropy(
        hidden, table, torch.zeros(5, requires_grad=True), torch.empty(0, dtype=torch.int64)
    )
    loss.backward()
    assert loss == 0
    assert not table.grad.any()
